/** Debug registers and #DB conditions (SDM chapter 18). */
import * as A from "../arena.ts";
import { type Core, EXIT_DR, INTERCEPT_DR, raise, VEC_DB, VEC_GP, VEC_UD } from "../core.ts";
import { FLAG_RF } from "../flags.ts";
import { newEpoch } from "../mmu/contexts.ts";
import { H_OK } from "../uops/uop.ts";
import { CR4_DE, cr4, is64 } from "./bits.ts";
import { exitAt, intercepts } from "./exits.ts";
import { hasCodeBreakpoint, hasDataBreakpoint, updateMode } from "./mode.ts";

const DR7: number = A.DR + 56;
const DR6_BD = 0x2000;
/** DR6: single step. */
export const DR6_BS = 0x4000;
const DR7_GD = 0x2000;
const DR6_FIXED: number = 0xffff0ff0 | 0;
const DR6_WRITABLE = 0xe00f;
const DR7_FIXED = 0x400;
/** Bytes by DR7.LENn. */
const BREAKPOINT_BYTES = [1, 2, 8, 4] as const;
const DR7_WRITABLE: number = 0xffff2bff | 0;

/** Register number after the aliasing of DR4 and DR5, or -1: #UD. */
function numberOf(core: Core, dr: number): number {
  if (dr !== 4 && dr !== 5) return dr;
  return cr4(core) & CR4_DE ? -1 : dr + 2;
}

function guard(core: Core, dr: number, gpr: number, from: boolean, length: number): number {
  const i = core.i32;
  if (numberOf(core, dr) < 0) return raise(core, VEC_UD);
  if (intercepts(core, INTERCEPT_DR)) return exitAt(core, EXIT_DR, length, dr | (from ? 0x10 : 0) | (gpr << 8));
  if (i[DR7 >>> 2]! & DR7_GD) {
    i[A.PENDING_DEBUG >>> 2]! |= DR6_BD;
    return raise(core, VEC_DB);
  }
  return H_OK;
}

/** MOV DRn, r. */
export function movToDr(core: Core, dr: number, gpr: number, lo: number, hi: number, length: number): number {
  const r = guard(core, dr, gpr, false, length);
  return r === H_OK ? writeDr(core, numberOf(core, dr), lo, hi) : r;
}

/** The bare write, also for hypervisors. `dr` 0..3, 6, 7. */
export function writeDr(core: Core, dr: number, lo: number, hi: number): number {
  const i = core.i32;
  if (dr >= 6 && hi !== 0) return raise(core, VEC_GP, 0);
  if (dr === 6) lo = (lo & DR6_WRITABLE) | DR6_FIXED;
  else if (dr === 7) lo = (lo & DR7_WRITABLE) | DR7_FIXED;
  i[(A.DR + dr * 8) >>> 2] = lo;
  i[(A.DR + dr * 8 + 4) >>> 2] = hi;
  if (dr === 6) return H_OK;
  const watched = core.mmu.watching;
  updateMode(core);
  // Pages with data breakpoints must leave the TLB.
  if (watched || hasDataBreakpoint(i[DR7 >>> 2]!)) newEpoch(core);
  return H_OK;
}

/** MOV r, DRn into slot `slot`. */
export function movFromDr(core: Core, dr: number, slot: number, gpr: number, length: number): number {
  const i = core.i32;
  const r = guard(core, dr, gpr, true, length);
  if (r !== H_OK) return r;
  const at = (A.DR + numberOf(core, dr) * 8) >>> 2;
  i[(A.SLOTS + slot) >>> 2] = i[at]!;
  i[(A.SLOTS + slot + 4) >>> 2] = is64(core) ? i[at + 1]! : 0;
  return H_OK;
}

/**
 * Code breakpoints at RIP, before the instruction: PENDING_DEBUG gets their bits and the result is true, unless RFLAGS.RF holds
 * them off. The caller then delivers #DB.
 */
export function hitsCodeBreakpoint(core: Core): boolean {
  const i = core.i32;
  const dr7 = i[DR7 >>> 2]!;
  if (!hasCodeBreakpoint(dr7) || i[A.RFLAGS_SYS >>> 2]! & FLAG_RF) return false;
  const lo = (i[A.RIP >>> 2]! + i[(A.SLOTS + A.S_CSBASE) >>> 2]!) | 0;
  const hi = is64(core) ? i[(A.RIP + 4) >>> 2]! : 0;
  let hits = 0;
  for (let n = 0; n < 4; n++) {
    if (!(dr7 & (3 << (n * 2))) || dr7 & (3 << (16 + n * 4))) continue;
    const at = (A.DR + n * 8) >>> 2;
    if (i[at] === lo && i[at + 1] === hi) hits |= 1 << n;
  }
  i[A.PENDING_DEBUG >>> 2]! |= hits;
  return hits !== 0;
}

/** DR7.RWn of an I/O breakpoint, with CR4.DE. */
const RW_IO = 2;

/** I/O breakpoints (SDM 18.2.4) that [port, port + size) touches: a trap after the instruction. */
export function checkPortBreakpoints(core: Core, port: number, size: number): void {
  const i = core.i32;
  const dr7 = i[DR7 >>> 2]!;
  if (!(dr7 & 0xff) || !(cr4(core) & CR4_DE)) return;
  let hits = 0;
  for (let n = 0; n < 4; n++) {
    if (!(dr7 & (3 << (n * 2))) || ((dr7 >>> (16 + n * 4)) & 3) !== RW_IO) continue;
    const length = BREAKPOINT_BYTES[(dr7 >>> (18 + n * 4)) & 3]!;
    const start = (i[(A.DR + n * 8) >>> 2]! & -length) >>> 0;
    if (port < start + length && port + size > start) hits |= 1 << n;
  }
  if (hits === 0) return;
  i[A.PENDING_DEBUG >>> 2]! |= hits;
  core.breakSlice();
}
