/** A core alone with some memory, in long mode, each address mapped onto itself: for the engine without a machine around it. */
import * as A from "../../cpu/arena.ts";
import { CoreGroup, Core as CpuCore } from "../../cpu/core.ts";
import { newEpoch } from "../../cpu/mmu/contexts.ts";
import { Engine, makeInterpreter, makeTranslator } from "../../cpu/run.ts";
import * as B from "../../cpu/system/bits.ts";
import { loadSegmentRaw, resetCore, updateMode } from "../../cpu/system/mode.ts";

const TABLES = 0x1000;
/** Memory from here on is the user's. */
export const FREE = 0x100000;

export interface Bare {
  core: CpuCore;
  arena: A.Arena;
  engine: Engine;
}

/** A core with `bytes` of memory (at most 1 GiB) that stands at `rip`. */
export function bareCore(bytes: number, rip: number, engine: "interpreter" | "translator"): Bare {
  const arena = new A.Arena(bytes);
  const core = new CpuCore(arena, 0, new CoreGroup());
  resetCore(core);
  const i = core.i32;
  const entry = (table: number, index: number, value: number): void => {
    i[(arena.ram + table + index * 8) >>> 2] = value;
  };
  entry(TABLES, 0, (TABLES + 0x1000) | 3);
  entry(TABLES + 0x1000, 0, (TABLES + 0x2000) | 3);
  // 2 MiB pages, writable.
  for (let n = 0; n < 512; n++) entry(TABLES + 0x2000, n, (n << 21) | 0x83);
  i[A.CR3 >>> 2] = TABLES;
  i[A.CR4 >>> 2] = B.CR4_PAE | B.CR4_OSFXSR | B.CR4_OSXMMEXCPT;
  i[A.EFER >>> 2] = B.EFER_LME | B.EFER_LMA;
  i[A.CR0 >>> 2] = B.CR0_PE | B.CR0_PG | B.CR0_WP | B.CR0_ET | B.CR0_NE | B.CR0_MP;
  for (let segment = 0; segment < 6; segment++) loadSegmentRaw(core, segment, 0x18, 0, 0, -1, 0xc093);
  loadSegmentRaw(core, 1, 0x10, 0, 0, -1, 0xa09b);
  core.setSlot(A.S_RSP, BigInt(FREE));
  B.setRip(core, rip, 0);
  updateMode(core);
  newEpoch(core);
  return { core, arena, engine: new Engine(core, engine === "translator" ? makeTranslator : makeInterpreter) };
}
