/** A core over a small arena, and paging structures written by hand. */
import * as A from "../../../cpu/arena.ts";
import { Arena } from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import * as B from "../../../cpu/system/bits.ts";
import { loadSegmentRaw, resetCore, setCpl, updateMode } from "../../../cpu/system/mode.ts";

export const RAM_BYTES: number = 16 << 20;

export interface Machine {
  arena: Arena;
  group: CoreGroup;
  core: Core;
}

export function makeMachine(): Machine {
  const arena = new Arena(RAM_BYTES);
  const group = new CoreGroup();
  const core = new Core(arena, 0, group);
  resetCore(core);
  return { arena, group, core };
}

/** Writes a 64-bit word of physical memory. */
export function poke64(core: Core, physical: number, value: bigint): void {
  const at = core.arena.ofPhysical(physical);
  core.i32[at >>> 2] = Number(value & 0xffffffffn) | 0;
  core.i32[(at >>> 2) + 1] = Number((value >> 32n) & 0xffffffffn) | 0;
}

export function poke32(core: Core, physical: number, value: number): void {
  core.i32[core.arena.ofPhysical(physical) >>> 2] = value;
}

export function peek64(core: Core, physical: number): bigint {
  const at = core.arena.ofPhysical(physical);
  return BigInt(core.u32[at >>> 2]!) | (BigInt(core.u32[(at >>> 2) + 1]!) << 32n);
}

export function peek32(core: Core, physical: number): number {
  return core.i32[core.arena.ofPhysical(physical) >>> 2]!;
}

export function setWord(core: Core, register: number, value: number, high = 0): void {
  core.i32[register >>> 2] = value;
  core.i32[(register + 4) >>> 2] = high;
}

/** 64-bit mode at `cpl` with flat segments; CR3 at `root`. */
export function enterLong(core: Core, root: number, cpl = 0, cr4 = 0, efer: number = B.EFER_NXE): void {
  setWord(core, A.CR0, B.CR0_PE | B.CR0_ET | B.CR0_PG | B.CR0_WP);
  setWord(core, A.CR4, B.CR4_PAE | cr4);
  setWord(core, A.CR3, root);
  setWord(core, A.EFER, B.EFER_LME | B.EFER_LMA | efer);
  for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0x10 | cpl, 0, 0, -1, 0xc093 | (cpl << 5));
  loadSegmentRaw(core, 1, 0x8 | cpl, 0, 0, -1, 0xa09b | (cpl << 5));
  setCpl(core, cpl);
  updateMode(core);
}

/** 32-bit protected mode at `cpl`, paging on. */
export function enterProtected(core: Core, root: number, cpl = 0, cr4 = 0, efer = 0): void {
  setWord(core, A.CR0, B.CR0_PE | B.CR0_ET | B.CR0_PG | B.CR0_WP);
  setWord(core, A.CR4, cr4);
  setWord(core, A.CR3, root);
  setWord(core, A.EFER, efer);
  for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0x10 | cpl, 0, 0, -1, 0xc093 | (cpl << 5));
  loadSegmentRaw(core, 1, 0x8 | cpl, 0, 0, -1, 0xc09b | (cpl << 5));
  setCpl(core, cpl);
  updateMode(core);
}

/** Maps linear `address` to `physical` with 4-level tables below `root`, taking table pages from `next`. */
export class Tables {
  readonly core: Core;
  readonly root: number;
  private next: number;

  constructor(core: Core, root: number) {
    this.core = core;
    this.root = root;
    this.next = root + 0x1000;
  }

  /** `level` 1 maps 4 KiB, 2 maps 2 MiB, 3 maps 1 GiB. `flags` of the leaf; upper levels get `upper`. */
  map(address: bigint, physical: number, flags: bigint, level = 1, upper = 7n): number {
    let table = this.root;
    for (let l = 4; l > level; l--) {
      const at = table + Number((address >> BigInt(3 + 9 * l)) & 511n) * 8;
      let entry = peek64(this.core, at);
      if (!(entry & upper & 7n)) {
        entry = BigInt(this.next) | upper;
        this.next += 0x1000;
        poke64(this.core, at, entry);
      }
      table = Number(entry & 0xffffff000n);
    }
    const at = table + Number((address >> BigInt(3 + 9 * level)) & 511n) * 8;
    poke64(this.core, at, BigInt(physical) | flags | (level > 1 ? 0x80n : 0n));
    return at;
  }
}

export const faultOf = (core: Core): { vector: number; error: number; address: bigint } => ({
  vector: core.i32[A.FAULT_VECTOR >>> 2]!,
  error: core.i32[A.FAULT_ERROR >>> 2]!,
  address: BigInt(core.u32[A.EXIT_GLA >>> 2]!) | (BigInt(core.u32[(A.EXIT_GLA + 4) >>> 2]!) << 32n),
});
