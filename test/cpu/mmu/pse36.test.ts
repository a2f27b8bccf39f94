import { expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { readSlow } from "../../../cpu/mmu/access.ts";
import * as B from "../../../cpu/system/bits.ts";
import { H_OK } from "../../../cpu/uops/uop.ts";
import { enterProtected, makeMachine, poke32 } from "./machine.ts";

const ROOT = 0x10000;

it("a 4 MiB page lies beyond 4 GiB by bits 20..13 of its entry", () => {
  const { core } = makeMachine();
  const seen: number[] = [];
  core.bus = {
    portRead: () => 0,
    portWrite: () => 0,
    memoryRead(c, address) {
      seen.push(address);
      c.i32[A.BUS_DATA >>> 2] = 5;
      return 0;
    },
    memoryWrite: () => 0,
  };
  // Physical bits 39..32 stand in bits 20..13 (SDM table 4-4).
  poke32(core, ROOT + 4, 0x00c00000 | (0x23 << 13) | 0x87);
  enterProtected(core, ROOT, 0, B.CR4_PSE);
  expect(readSlow(core, 0x412344, 0, 4, 0)).toBe(H_OK);
  expect(seen).toEqual([0x23_00c1_2344]);
});
