/**
 * A tiny kernel through the whole engine: protected mode to long mode, an APIC timer interrupt that wakes HLT, IRET to
 * user mode, SYSCALL and SYSRET, INT 80H, a page fault that is skipped, and CLI refused in user mode. Its source, for
 * `as` and `ld -Ttext=0x4000 --oformat binary`, stands beside it in kernel.s.
 */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { type Core, DELIVERY_NONROOT, EXIT_IDLE, NESTED_EPT } from "../../../cpu/core.ts";
import { Engine } from "../../../cpu/run.ts";
import { ApicBus, LocalApic } from "../../../cpu/system/apic.ts";
import { setPvhState } from "../../../cpu/system/mode.ts";
import { EventClock } from "../../support/event-clock.ts";
import { makeMachine, peek64, poke64, Tables } from "../mmu/machine.ts";

const CODE = [
  "fa0f0115984100000f20e083c8200f22e0b8000001000f22d8b9800000c00f320d010900000f300f20c00d000001800f22c0",
  "ea394000000800b8100000008ed08ed88ec0bc009000000f011c259e410000b8280000000f00d8b9810000c031c0ba080013",
  "000f30b9820000c0b8fd40000031d20f30b9840000c0b8000200000f30b91b0000000f320d000c00000f30b90f080000b8ff",
  "01000031d20f30b932080000b8400000000f30b938080000b8881300000f304d31fffbf44983ff01753b6a1b680088000068",
  "020200006a2368d540000048cf8ccbb8070000000f054883f8317517cd804883fb1b750f49c7c478563412498b04249c415e",
  "fa0f0b4989e2bc007f0000480fafc04c89d4480f07488b542418488b5c242048cf415d410f20d34c89dd488304240448cf49",
  "ffc7515052b90b08000031c031d20f305a585948cfb80d600000f4ebfdb8ad0b0000f4ebfd66662e0f1f8400000000000f1f",
  "40000000000000000000ffff0000009baf00ffff00000093cf00ffff000000f3cf00ffff000000fbaf006700006000890000",
  "0000000000000000370060410000ff0f00500000000000002b410000000000000f410000000000001b410000000000004141",
  "0000000000004941000000000000",
].join("");
const LOAD = 0x4000;
const SYMBOLS = 0x41a8;
const IDT = 0x5000;

function boot(nested: boolean): Core {
  const { core } = makeMachine();
  const engine = new Engine(core);
  const clock = new EventClock(core);
  // Under EPT guest-physical p is machine p + 1 MiB; the guest's own tables are written through that.
  const shift = nested ? 0x100000 : 0;
  const root = 0x10000;
  const tables = new Tables(core, root + shift);
  if (nested) {
    // Built at the machine address, then made to point at guest-physical addresses.
    for (let page = 0; page < 0x100; page++) tables.map(BigInt(page << 12), page << 12, 7n);
    for (const level of [0, 0x1000, 0x2000]) {
      const at = root + shift + level;
      poke64(core, at, peek64(core, at) - BigInt(shift));
    }
    const ept = new Tables(core, 0x800000);
    for (let page = 0; page < 0x100; page++) ept.map(BigInt(page << 12), (page << 12) + shift, 0x37n);
  } else for (let page = 0; page < 0x100; page++) tables.map(BigInt(page << 12), page << 12, 7n);
  for (let n = 0; n < CODE.length / 2; n++)
    core.u8[core.arena.ofPhysical(LOAD + shift) + n] = Number.parseInt(CODE.slice(n * 2, n * 2 + 2), 16);
  const vectors: [number, number][] = [
    [0x40, 0],
    [0x80, 1],
    [14, 2],
    [13, 3],
    [6, 4],
  ];
  for (const [vector, symbol] of vectors) {
    const offset = peek64(core, SYMBOLS + shift + symbol * 8);
    const dpl = vector === 0x80 ? 3n : 0n;
    poke64(core, IDT + shift + vector * 16, offset | (8n << 16n) | ((0x8e00n | (dpl << 13n)) << 32n));
  }
  poke64(core, 0x6004 + shift, 0n);
  core.u8[core.arena.ofPhysical(0x6005 + shift)] = 0x90;
  if (nested) {
    core.controls.delivery = DELIVERY_NONROOT;
    core.controls.nestedFormat = NESTED_EPT;
    core.controls.nestedRoot = 0x800000;
  }
  setPvhState(core, LOAD, 0);
  core.interrupts = new LocalApic(core, clock, new ApicBus(), { id: 0, cyclesPerTick: 1 });
  let halts = 0;
  for (let turn = 0; turn < 100; turn++) {
    const code = engine.run(core, core.now() + 100_000);
    if (code !== EXIT_IDLE) break;
    halts++;
    if (halts === 2) break;
    const cycle = clock.next();
    expect(cycle).toBeGreaterThan(0);
  }
  expect(halts).toBe(2);
  return core;
}

describe("a kernel from protected mode to user mode and back", () => {
  for (const nested of [false, true])
    it(nested ? "under EPT" : "on the bare machine", () => {
      const core = boot(nested);
      // The last fault was CLI's #GP in user mode.
      expect(core.slot(A.S_RAX)).toBe(0x600dn);
      expect(core.slot(A.S_RBX)).toBe(0x1bn);
      expect(core.slot(A.S_RDX)).toBe(0x8800n);
      // One timer interrupt; #PF at the address in R12, with a user read's error code.
      expect(core.slot(A.S_R8 + 7 * 8)).toBe(1n);
      expect(core.slot(A.S_RBP)).toBe(0x12345678n);
      expect(core.slot(A.S_R8 + 5 * 8)).toBe(4n);
      // Flags in user mode: IF was restored by SYSRET and IRET.
      expect(core.slot(A.S_R8 + 6 * 8) & 0x200n).toBe(0x200n);
      expect(core.f64[A.ACCOUNT_USER >>> 3]).toBeGreaterThan(5);
      expect(core.i32[A.COUNT_INTERRUPTS >>> 2]).toBe(1);
    });
});
