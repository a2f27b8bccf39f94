/**
 * The segment checks of a memory access in legacy modes when segments are not flat (SDM vol. 3, 5.3): present
 * and usable, readable or writable, offset within the limit. Flat and 64-bit code never comes here.
 *
 * Segment attributes are kept in the VMX access-rights format (SDM 25.4.1): bits 3..0 type, 4 S, 6..5 DPL, 7 P, 12 AVL,
 * 13 L, 14 D/B, 15 G, 16 unusable. Limits are in bytes, granularity applied.
 */
import { S_T7, SEG, SEG_ATTR, SEG_LIMIT, SEG_STRIDE, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_SS } from "../core.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";

export const ATTR_TYPE_MASK = 0xf;
export const ATTR_ACCESSED = 1;
/** Data: writable; code: readable. */
export const ATTR_RW = 2;
/** Data: expand-down; code: conforming. */
export const ATTR_DC = 4;
export const ATTR_CODE = 8;
export const ATTR_S = 0x10;
export const ATTR_DPL_SHIFT = 5;
export const ATTR_P = 0x80;
export const ATTR_L = 0x2000;
export const ATTR_DB = 0x4000;
export const ATTR_G = 0x8000;
export const ATTR_UNUSABLE = 0x10000;

export const SEGCHECK_WRITE = 0x100;

/** @returns true if `size` bytes at `offset` (uint32) of segment register `seg` may be read, or written. */
export function segmentAllows(core: Core, seg: number, offset: number, size: number, write: boolean): boolean {
  const at = SEG + seg * SEG_STRIDE;
  const attr = core.i32[(at + SEG_ATTR) >>> 2]!;
  if (attr & ATTR_UNUSABLE) return false;
  if (attr & ATTR_CODE) {
    if (write || !(attr & ATTR_RW)) return false;
  } else if (write && !(attr & ATTR_RW)) return false;
  const limit = core.u32[(at + SEG_LIMIT) >>> 2]!;
  const last = offset + size - 1;
  if (!(attr & ATTR_CODE) && attr & ATTR_DC) return offset > limit && last <= (attr & ATTR_DB ? 0xffffffff : 0xffff);
  return last <= limit;
}

/** U_HELPER: d = segment register, disp = size | SEGCHECK_WRITE; the offset is in S_T7. */
export const HELPER_SEGCHECK: number = defineHelper("segment check", (core, u) => {
  const seg = core.u8[u + 2]!;
  const disp = core.i32[(u + 8) >>> 2]!;
  const offset = core.u32[(SLOTS + S_T7) >>> 2]!;
  if (segmentAllows(core, seg, offset, disp & 0xff, (disp & SEGCHECK_WRITE) !== 0)) return H_OK;
  return raise(core, seg === 2 ? VEC_SS : VEC_GP, 0);
});
