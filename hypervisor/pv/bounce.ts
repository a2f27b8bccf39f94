/**
 * Bounce frames (create_bounce_frame of x86_64/entry.S and compat/entry.S): how a PV guest's kernel gets exceptions, system calls and
 * event upcalls. Xen writes a frame onto the kernel's stack and lets the kernel run on at its handler.
 *
 * A 64-bit frame is RCX, R11, [error code,] RIP, CS, RFLAGS, RSP, SS; the kernel goes on by SYSRET, so that RCX and R11 are
 * clobbered. A 32-bit frame is [error code,] EIP, CS, EFLAGS, [ESP, SS]. Bits 39..32 (23..16) of CS hold evtchn_upcall_mask as it was.
 */
import {
  FLAG_AC,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VM,
  getFlags,
  setFlags,
} from "../../cpu/flags.ts";
import { write8 } from "../../cpu/mmu/memory.ts";
import { loadSegmentRaw, updateMode } from "../../cpu/system/mode.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import { VMASST_TYPE_architectural_iopl } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_PV_BOUNCE, COST_PV_TOGGLE } from "../hypercalls/costs.ts";
import { crashInEntry, showPageWalk } from "./crash.ts";
import { toggleGuestMode } from "./guest-mode.ts";
import { failed, writeGuestWords } from "./guest-words.ts";
import { TBF_EXCEPTION_ERRCODE, TBF_INTERRUPT } from "./inject.ts";
import * as R from "./registers.ts";
import { iretToGuest } from "./return.ts";
import { readSegment, type SegmentView } from "./segment-view.ts";

/** Flags that a trap clears (SDM volume 3, 6.12.1.2); AC as well, so that the kernel takes no alignment checks. */
const CLEARED: number = FLAG_VM | FLAG_RF | FLAG_NT | FLAG_TF;
/** A frame's words. */
const FRAME: Int32Array = new Int32Array(18);

/** Masks events if `flags` say so. @returns evtchn_upcall_mask as it was */
function saveUpcallMask(vcpu: Vcpu, flags: number): number {
  const at = vcpu.info + VCPU_INFO_UPCALL_MASK;
  const mask = vcpu.core.u8[at]!;
  if (flags & TBF_INTERRUPT && (mask & 1) === 0) write8(vcpu.core, at, mask | 1);
  return mask;
}

/** RFLAGS as the guest is to see them: IF is its upcall mask, IOPL its own. */
export function guestFlags(vcpu: Vcpu, real: number, upcallMask: number): number {
  const assist = vcpu.domain.vmAssist & (1 << VMASST_TYPE_architectural_iopl);
  return (real & ~(FLAG_IF | FLAG_IOPL)) | (upcallMask === 0 ? FLAG_IF : 0) | (assist ? vcpu.pv!.iopl : 0);
}

/**
 * Writes a frame for the vcpu's current registers, and sets those of the handler.
 * @param flags TBF_*
 * @param cs the handler's code segment, for 32-bit guests
 * @returns false if the domain has crashed, or (32-bit guests) the handler could not be entered and a fault waits for its frame
 */
export function createBounceFrame(
  vcpu: Vcpu,
  eipLo: number,
  eipHi: number,
  cs: number,
  flags: number,
  error: number,
): boolean {
  vcpu.domain.hypervisor.chargeExit(vcpu, COST_PV_BOUNCE + (vcpu.pv!.kernelMode ? 0 : COST_PV_TOGGLE));
  return vcpu.domain.pv!.is32bit ? bounce32(vcpu, eipLo, cs, flags, error) : bounce64(vcpu, eipLo, eipHi, flags, error);
}

/** sp (aligned) lies where a frame would reach into Xen's part of the address space. */
export const isXensStack = (lo: number, hi: number): boolean =>
  (hi >>> 0 > 0xffff8000 || (hi >>> 0 === 0xffff8000 && lo !== 0)) &&
  (hi >>> 0 < 0xffff8800 || (hi >>> 0 === 0xffff8800 && lo >>> 0 < 64));

function bounce64(vcpu: Vcpu, eipLo: number, eipHi: number, flags: number, error: number): boolean {
  const pv = vcpu.pv!;
  const core = vcpu.core;
  const i = core.i32;
  let cs = i[R.CS]! & 0xffff;
  let spLo: number;
  let spHi: number;
  if (pv.kernelMode) {
    spLo = i[R.RSP]!;
    spHi = i[R.RSP + 1]!;
    // Says that the kernel itself was interrupted.
    cs &= ~3;
  } else {
    toggleGuestMode(vcpu);
    spLo = pv.kernelSpLo;
    spHi = pv.kernelSpHi;
  }
  spLo &= ~15;
  if (isXensStack(spLo, spHi)) return crashInEntry(vcpu, "create_bounce_frame: bad stack pointer");
  const real = getFlags(core);
  const mask = saveUpcallMask(vcpu, flags);
  const f = FRAME;
  let n = 0;
  f[n++] = i[R.RCX]!;
  f[n++] = i[R.RCX + 1]!;
  f[n++] = i[R.R11]!;
  f[n++] = i[R.R11 + 1]!;
  if (flags & TBF_EXCEPTION_ERRCODE) {
    f[n++] = error;
    f[n++] = 0;
  }
  f[n++] = i[R.RIP]!;
  f[n++] = i[R.RIP + 1]!;
  f[n++] = cs;
  f[n++] = mask;
  f[n++] = guestFlags(vcpu, real, mask);
  f[n++] = 0;
  f[n++] = i[R.RSP]!;
  f[n++] = i[R.RSP + 1]!;
  f[n++] = i[R.SS]! & 0xffff;
  f[n++] = 0;
  const lo = (spLo - n * 4) | 0;
  const hi = spLo >>> 0 < n * 4 ? (spHi - 1) | 0 : spHi;
  if (!writeGuestWords(vcpu, lo, hi, f, n)) {
    showPageWalk(vcpu, failed.lo, failed.hi);
    return crashInEntry(vcpu, "create_bounce_frame: fault on the guest's stack");
  }
  if ((eipLo | eipHi) === 0) return crashInEntry(vcpu, "create_bounce_frame: no handler");
  i[R.RSP] = lo;
  i[R.RSP + 1] = hi;
  sysretToKernel(vcpu, eipLo, eipHi, real & ~(CLEARED | FLAG_AC));
  return true;
}

/** RFLAGS bits that are no arithmetic flags and that SYSRET takes from R11 (TF, IF, DF, NT, AC, VIF, VIP, ID). */
const SYSRET_FLAGS = 0x3c4700;

/** CS and SS of Xen's flat segments at level 3, as SYSRET loads them. @returns true if the code segment has changed */
function loadFlat(vcpu: Vcpu, cs: number, codeAttr: number): boolean {
  const core = vcpu.core;
  const i = core.i32;
  const changed = i[R.CS_ATTR] !== codeAttr;
  if (changed || (i[R.CS]! & 0xffff) !== cs) loadSegmentRaw(core, R.SEG_CS, cs, 0, 0, -1, codeAttr);
  if ((i[R.SS]! & 0xffff) !== R.FLAT_SS64 || i[R.SS_ATTR] !== R.DATA_R3)
    loadSegmentRaw(core, R.SEG_SS, R.FLAT_SS64, 0, 0, -1, R.DATA_R3);
  return changed;
}

/** SYSRET to the kernel's handler; the arithmetic flags are as they were. @param flags RFLAGS, without what must not be set */
export function sysretToKernel(vcpu: Vcpu, lo: number, hi: number, flags: number): void {
  const i = vcpu.core.i32;
  vcpu.pv!.mustIret = false;
  i[R.RIP] = i[R.RCX] = lo;
  i[R.RIP + 1] = i[R.RCX + 1] = hi;
  i[R.R11] = (flags & ~FLAG_IOPL) | FLAG_IF;
  i[R.R11 + 1] = 0;
  const before = i[R.RFLAGS]!;
  i[R.RFLAGS] = (flags & SYSRET_FLAGS) | FLAG_IF | 2;
  const changed = loadFlat(vcpu, R.FLAT_CS64, R.CODE64_R3);
  if (changed || ((before ^ i[R.RFLAGS]!) & (FLAG_TF | FLAG_AC)) !== 0) updateMode(vcpu.core);
}

/** SYSRET to where an iret frame says, or IRET if that address is not canonical. `cs` chooses 32-bit code; no selector is loaded. */
export function sysretToGuest(
  vcpu: Vcpu,
  cs: number,
  ripLo: number,
  ripHi: number,
  rspLo: number,
  rspHi: number,
  flags: number,
): void {
  const core = vcpu.core;
  const i = core.i32;
  const real = (flags & ~(FLAG_IOPL | FLAG_VM | FLAG_RF)) | FLAG_IF | 2;
  i[R.RCX] = ripLo;
  i[R.RCX + 1] = ripHi;
  i[R.R11] = real;
  i[R.R11 + 1] = 0;
  if ((ripHi << 16) >> 16 !== ripHi) {
    iretToGuest(vcpu, cs, R.FLAT_SS64, ripLo, ripHi, rspLo, rspHi, flags);
    return;
  }
  i[R.RIP] = ripLo;
  i[R.RSP] = rspLo;
  i[R.RSP + 1] = rspHi;
  setFlags(core, real);
  if (cs === R.FLAT_CS32) {
    i[R.RIP + 1] = 0;
    loadFlat(vcpu, R.FLAT_CS32, R.CODE32_R3);
  } else {
    i[R.RIP + 1] = ripHi;
    loadFlat(vcpu, R.FLAT_CS64, R.CODE64_R3);
  }
  updateMode(core);
}

function bounce32(vcpu: Vcpu, eip: number, cs: number, flags: number, error: number): boolean {
  const pv = vcpu.pv!;
  const core = vcpu.core;
  const i = core.i32;
  const fromUser = (i[R.CS]! & 2) !== 0;
  const ss = fromUser ? pv.kernelSs : i[R.SS]! & 0xffff;
  const stack = readSegment(vcpu, ss);
  if (stack === null) return crashInEntry(vcpu, "compat_create_bounce_frame: bad stack segment");
  const real = getFlags(core);
  const mask = saveUpcallMask(vcpu, flags);
  const f = FRAME;
  let n = 0;
  if (flags & TBF_EXCEPTION_ERRCODE) f[n++] = error;
  f[n++] = i[R.RIP]!;
  f[n++] = (i[R.CS]! & 0xffff) | (mask << 16);
  f[n++] = guestFlags(vcpu, real, mask);
  if (fromUser) {
    f[n++] = i[R.RSP]!;
    f[n++] = i[R.SS]! & 0xffff;
  }
  const esp = ((fromUser ? pv.kernelSpLo : i[R.RSP]!) - n * 4) | 0;
  if (!stackAllows(stack, esp, n * 4) || !writeGuestWords(vcpu, (stack.base + esp) | 0, 0, f, n)) {
    showPageWalk(vcpu, failed.lo, failed.hi);
    return crashInEntry(vcpu, "compat_create_bounce_frame: fault on the guest's stack");
  }
  if ((cs & ~3) === 0) return crashInEntry(vcpu, "compat_create_bounce_frame: null selector");
  return iretToGuest(vcpu, cs, ss, eip, 0, esp, 0, real & ~CLEARED);
}

/** The frame lies within the (expand-up) segment's limit. */
const stackAllows = (s: SegmentView, esp: number, bytes: number): boolean =>
  s.isWritable && (s.limit === 0xffffffff || (esp >>> 0) + bytes - 1 <= s.limit);
