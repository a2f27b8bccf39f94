/**
 * Port I/O: the permission check of IOPL and the TSS bitmap (SDM volume 1, 19.5), intercepts, IN and OUT, and one element of
 * INS and OUTS.
 */
import * as A from "../arena.ts";
import {
  BUS_DONE,
  type Core,
  EXIT_IO,
  EXIT_PENDING,
  INTERCEPT_IO,
  IO_IN,
  IO_REP,
  IO_STRING,
  raise,
  VEC_GP,
} from "../core.ts";
import { FLAG_DF, FLAG_VM } from "../flags.ts";
import { KIND_SYSTEM, readLinear, readSlow, rmwSlow, writeSlow } from "../mmu/access.ts";
import { H_EXIT_AT, H_OK } from "../uops/uop.ts";
import { CR0_PE, carryInto, is64, isLongMode } from "./bits.ts";
import { checkPortBreakpoints } from "./dr.ts";
import { exitAt, intercepts } from "./exits.ts";
import { segmentAllows } from "./segcheck.ts";

const TSS_IOMAP = 102;

/** May the guest use `size` bytes at `port`? H_OK, H_FAULT (#GP(0)) or H_EXIT_AT (while the TSS is read). */
export function checkIo(core: Core, port: number, size: number): number {
  const i = core.i32;
  const flags = i[A.RFLAGS_SYS >>> 2]!;
  if (!(i[A.CR0 >>> 2]! & CR0_PE)) return H_OK;
  if (!(flags & FLAG_VM) && i[A.CPL >>> 2]! <= ((flags >>> 12) & 3)) return H_OK;
  const attr = i[(A.TR + A.SEG_ATTR) >>> 2]!;
  const limit = core.u32[(A.TR + A.SEG_LIMIT) >>> 2]!;
  if ((attr & 0xf) !== 11 || limit < TSS_IOMAP + 1) return raise(core, VEC_GP, 0);
  let r = readTss(core, TSS_IOMAP);
  if (r !== H_OK) return r;
  const at = core.u16[A.BUS_DATA >>> 1]! + (port >>> 3);
  if (at + 1 > limit) return raise(core, VEC_GP, 0);
  r = readTss(core, at);
  if (r !== H_OK) return r;
  const bits = core.u16[A.BUS_DATA >>> 1]! >>> (port & 7);
  return bits & ((1 << size) - 1) ? raise(core, VEC_GP, 0) : H_OK;
}

function readTss(core: Core, offset: number): number {
  const base = (A.TR + A.TABLE_BASE) >>> 2;
  const lo = (core.i32[base]! + offset) | 0;
  const hi = isLongMode(core) ? carryInto(core.i32[base + 1]!, lo, offset) : 0;
  return readLinear(core, lo, hi, 2, KIND_SYSTEM);
}

/** Fills EXIT_IO if the controls intercept the port; H_OK if not. */
function interceptIo(core: Core, port: number, size: number, flags: number, length: number): number {
  if (!intercepts(core, INTERCEPT_IO)) return H_OK;
  const bitmap = core.controls.ioBitmap;
  if (bitmap !== null) {
    let hit = false;
    for (let p = port; p < port + size; p++) hit ||= p > 0xffff || (bitmap[p >>> 3]! & (1 << (p & 7))) !== 0;
    if (!hit) return H_OK;
  }
  return exitAt(core, EXIT_IO, length, (port << 16) | size | flags);
}

const pending = (core: Core): number => {
  core.i32[A.EXIT_REASON >>> 2] = EXIT_PENDING;
  return H_EXIT_AT;
};

/** IN: AL, AX or EAX from `port`. */
export function portIn(core: Core, port: number, size: number, length: number): number {
  let r = checkIo(core, port, size);
  if (r === H_OK) r = interceptIo(core, port, size, IO_IN, length);
  if (r !== H_OK) return r;
  if (core.bus.portRead(core, port, size) !== BUS_DONE) return pending(core);
  checkPortBreakpoints(core, port, size);
  const value = core.i32[A.BUS_DATA >>> 2]!;
  const at = A.SLOTS + A.S_RAX;
  if (size === 1) core.u8[at] = value;
  else if (size === 2) core.u16[at >>> 1] = value;
  else {
    core.i32[at >>> 2] = value;
    core.i32[(at + 4) >>> 2] = 0;
  }
  return H_OK;
}

/** OUT. */
export function portOut(core: Core, port: number, size: number, length: number): number {
  let r = checkIo(core, port, size);
  if (r === H_OK) r = interceptIo(core, port, size, 0, length);
  if (r !== H_OK) return r;
  const value = core.i32[(A.SLOTS + A.S_RAX) >>> 2]!;
  core.i32[A.BUS_DATA >>> 2] = size === 4 ? value : value & ((1 << (size * 8)) - 1);
  core.i32[(A.BUS_DATA + 4) >>> 2] = 0;
  if (core.bus.portWrite(core, port, size) !== BUS_DONE) return pending(core);
  checkPortBreakpoints(core, port, size);
  return H_OK;
}

function advance(core: Core, slot: number, addrSize: number, delta: number): void {
  const at = A.SLOTS + slot;
  if (addrSize === 2) {
    core.u16[at >>> 1] = core.u16[at >>> 1]! + delta;
    return;
  }
  const lo = (core.i32[at >>> 2]! + delta) | 0;
  core.i32[(at + 4) >>> 2] = addrSize === 8 ? carryInto(core.i32[(at + 4) >>> 2]!, lo, delta) : 0;
  core.i32[at >>> 2] = lo;
}

/**
 * One element of INS (`write` to ES:rDI) or OUTS (from `seg`:rSI). With `rep`, rCX counts, and RIP stays at the
 * instruction (`length` bytes behind) while elements are left: so each element is an instruction of its own.
 */
export function stringIo(
  core: Core,
  isIn: boolean,
  seg: number,
  size: number,
  addrSize: number,
  rep: boolean,
  length: number,
): number {
  const i = core.i32;
  const count = (A.SLOTS + A.S_RCX) >>> 2;
  const countLo = addrSize === 2 ? i[count]! & 0xffff : i[count]!;
  const port = core.u16[(A.SLOTS + A.S_RDX) >>> 1]!;
  let r = checkIo(core, port, size);
  if (r === H_OK && rep && countLo === 0 && (addrSize !== 8 || i[count + 1] === 0)) return H_OK;
  if (r === H_OK) {
    const flags = IO_STRING | (isIn ? IO_IN : 0) | (rep ? IO_REP : 0);
    r = interceptIo(core, port, size, flags, length);
  }
  if (r !== H_OK) return r;
  const slot = isIn ? A.S_RDI : A.S_RSI;
  const register = (A.SLOTS + slot) >>> 2;
  const base = (A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2;
  let lo = addrSize === 2 ? i[register]! & 0xffff : i[register]!;
  let hi = addrSize === 8 ? i[register + 1]! : 0;
  if (is64(core)) {
    if (seg >= 4) {
      const sum = (lo + i[base]!) | 0;
      hi = (hi + i[base + 1]! + (sum >>> 0 < lo >>> 0 ? 1 : 0)) | 0;
      lo = sum;
    }
  } else {
    if (!segmentAllows(core, seg, lo >>> 0, size, isIn)) return raise(core, seg === 2 ? 12 : VEC_GP, 0);
    lo = (lo + i[base]!) | 0;
    hi = 0;
  }
  if (isIn) {
    // The store must not fault after the device was read.
    r = rmwSlow(core, lo, hi, size, 0);
    if (r !== H_OK) return r;
    if (core.bus.portRead(core, port, size) !== BUS_DONE) return pending(core);
    r = writeSlow(core, lo, hi, size, 0);
  } else {
    r = readSlow(core, lo, hi, size, 0);
    if (r !== H_OK) return r;
    if (core.bus.portWrite(core, port, size) !== BUS_DONE) return pending(core);
  }
  if (r !== H_OK) return r;
  checkPortBreakpoints(core, port, size);
  advance(core, slot, addrSize, i[A.RFLAGS_SYS >>> 2]! & FLAG_DF ? -size : size);
  if (rep) {
    advance(core, A.S_RCX, addrSize, -1);
    const left = addrSize === 2 ? i[count]! & 0xffff : i[count]! | (addrSize === 8 ? i[count + 1]! : 0);
    if (left !== 0) {
      core.repeating = true;
      const ripLo = (i[A.RIP >>> 2]! - length) | 0;
      i[(A.RIP + 4) >>> 2] = carryInto(i[(A.RIP + 4) >>> 2]!, ripLo, -length);
      i[A.RIP >>> 2] = ripLo;
      if (!is64(core)) i[(A.RIP + 4) >>> 2] = 0;
    }
  }
  return H_OK;
}
