// FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its four forms, and the registers after it (SDM volume 1, 8.1.10).

import { FPR, FPU_CS, FPU_CW, FPU_DP, FPU_DS, FPU_IP, FPU_OP, FPU_SW, FPU_TW } from "../arena.ts";
import { type Core, raise, VEC_AC } from "../core.ts";
import { isCanonical } from "../mmu/walker.ts";
import { H_OK } from "../uops/uop.ts";
import { image, imageView, probeImage, readImage, writeImage } from "./image-io.ts";
import { CW_ALWAYS, CW_WRITABLE, fullTagWord, initialize, refreshSummary, topOf } from "./x87-state.ts";

/** Form of an environment: operand size 16, and whether in real-address or virtual-8086 mode. */
export const ENV_16 = 1;
export const ENV_REAL = 2;

const REGISTER_BYTES = 80;

export function environmentBytes(form: number): number {
  return form & ENV_16 ? 14 : 28;
}

/** Fills the image with the environment. */
export function packEnvironment(core: Core, form: number): void {
  const cw = core.i32[FPU_CW >> 2] as number;
  const sw = core.i32[FPU_SW >> 2] as number;
  const tw = fullTagWord(core);
  const op = core.i32[FPU_OP >> 2] as number;
  const ip = core.u32[FPU_IP >> 2] as number;
  const dp = core.u32[FPU_DP >> 2] as number;
  const cs = core.i32[FPU_CS >> 2] as number;
  const ds = core.i32[FPU_DS >> 2] as number;
  const v = imageView;
  if (form & ENV_16) {
    const real = (form & ENV_REAL) !== 0;
    [cw, sw, tw, ip, real ? ((ip >>> 4) & 0xf000) | op : cs, dp, real ? (dp >>> 4) & 0xf000 : ds].forEach((word, i) => {
      v.setUint16(i * 2, word, true);
    });
    return;
  }
  v.setUint32(0, 0xffff0000 | cw, true);
  v.setUint32(4, 0xffff0000 | sw, true);
  v.setUint32(8, 0xffff0000 | tw, true);
  if (form & ENV_REAL) {
    v.setUint32(12, 0xffff0000 | (ip & 0xffff), true);
    v.setUint32(16, ((ip >>> 16) << 12) | op, true);
    v.setUint32(20, 0xffff0000 | (dp & 0xffff), true);
    v.setUint32(24, (dp >>> 16) << 12, true);
  } else {
    v.setUint32(12, ip, true);
    v.setUint32(16, (op << 16) | cs, true);
    v.setUint32(20, dp, true);
    v.setUint32(24, 0xffff0000 | ds, true);
  }
}

function unpackEnvironment(core: Core, form: number): void {
  const v = imageView;
  const small = (form & ENV_16) !== 0;
  const step = small ? 2 : 4;
  core.i32[FPU_CW >> 2] = (v.getUint16(0, true) & CW_WRITABLE) | CW_ALWAYS;
  core.i32[FPU_SW >> 2] = v.getUint16(step, true);
  core.i32[FPU_TW >> 2] = v.getUint16(step * 2, true);
  let op = 0;
  let ip: number;
  let dp: number;
  let cs = 0;
  let ds = 0;
  if (small) {
    ip = v.getUint16(6, true);
    dp = v.getUint16(10, true);
    const high = v.getUint16(8, true);
    if (form & ENV_REAL) {
      ip |= (high & 0xf000) << 4;
      dp |= (v.getUint16(12, true) & 0xf000) << 4;
      op = high & 0x7ff;
    } else {
      cs = high;
      ds = v.getUint16(12, true);
      op = core.i32[FPU_OP >> 2] as number;
    }
  } else if (form & ENV_REAL) {
    const word = v.getUint32(16, true);
    op = word & 0x7ff;
    ip = v.getUint16(12, true) | ((word >>> 12) << 16);
    dp = v.getUint16(20, true) | ((v.getUint32(24, true) >>> 12) << 16);
  } else {
    ip = v.getUint32(12, true);
    cs = v.getUint16(16, true);
    op = v.getUint16(18, true) & 0x7ff;
    dp = v.getUint32(20, true);
    ds = v.getUint16(24, true);
  }
  core.i32[FPU_OP >> 2] = op;
  core.i32[FPU_CS >> 2] = cs;
  core.i32[FPU_DS >> 2] = ds;
  core.u64[FPU_IP >> 3] = BigInt(ip >>> 0);
  core.u64[FPU_DP >> 3] = BigInt(dp >>> 0);
  refreshSummary(core);
}

/** Alignment check (SDM table 6-7): what an environment is made of, not all of it, must be aligned. */
const misaligned = (core: Core, lo: number, hi: number, form: number): boolean =>
  core.mmu.alignCheck && (lo & (form & ENV_16 ? 1 : 3)) !== 0 && isCanonical(hi);

/** FNSTENV at linear hi:lo; afterwards all exceptions are masked. @returns H_* */
export function storeEnvironment(core: Core, lo: number, hi: number, form: number): number {
  if (misaligned(core, lo, hi, form)) return raise(core, VEC_AC);
  const bytes = environmentBytes(form);
  packEnvironment(core, form);
  const r = probeImage(core, lo, hi, bytes) || writeImage(core, lo, hi, 0, bytes);
  if (r !== H_OK) return r;
  core.i32[FPU_CW >> 2]! |= 0x3f;
  refreshSummary(core);
  return H_OK;
}

export function loadEnvironment(core: Core, lo: number, hi: number, form: number): number {
  if (misaligned(core, lo, hi, form)) return raise(core, VEC_AC);
  const r = readImage(core, lo, hi, 0, environmentBytes(form));
  if (r !== H_OK) return r;
  unpackEnvironment(core, form);
  return H_OK;
}

/** Byte address of ST(i) and its ten bytes in an image. */
function eachRegister(core: Core, base: number, visit: (address: number, at: number) => void): void {
  const top = topOf(core);
  for (let i = 0; i < 8; i++) visit(FPR + ((top + i) & 7) * 16, base + i * 10);
}

/** FNSAVE at linear hi:lo, and the initialization that follows. */
export function saveState(core: Core, lo: number, hi: number, form: number): number {
  if (misaligned(core, lo, hi, form)) return raise(core, VEC_AC);
  const base = environmentBytes(form);
  packEnvironment(core, form);
  eachRegister(core, base, (address, at) => {
    image.set(core.u8.subarray(address, address + 10), at);
  });
  const bytes = base + REGISTER_BYTES;
  const r = probeImage(core, lo, hi, bytes) || writeImage(core, lo, hi, 0, bytes);
  if (r !== H_OK) return r;
  initialize(core);
  return H_OK;
}

export function restoreState(core: Core, lo: number, hi: number, form: number): number {
  if (misaligned(core, lo, hi, form)) return raise(core, VEC_AC);
  const base = environmentBytes(form);
  const r = readImage(core, lo, hi, 0, base + REGISTER_BYTES);
  if (r !== H_OK) return r;
  unpackEnvironment(core, form);
  eachRegister(core, base, (address, at) => {
    core.u8.set(image.subarray(at, at + 10), address);
  });
  return H_OK;
}
