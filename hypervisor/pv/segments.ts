/**
 * load_segments of x86/domain.c: when Xen switches to a PV vcpu it loads DS, ES, FS and GS from their tables again. A selector whose
 * descriptor has gone becomes null, and the guest's failsafe callback is told.
 */
import { FLAG_AC, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM, getFlags } from "../../cpu/flags.ts";
import { write8 } from "../../cpu/mmu/memory.ts";
import { loadSegmentRaw, updateMode } from "../../cpu/system/mode.ts";
import { ATTR_UNUSABLE } from "../../cpu/system/segcheck.ts";
import { CALLBACKTYPE_failsafe } from "../abi/callback.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { guestFlags, sysretToKernel } from "./bounce.ts";
import { toggleGuestMode } from "./guest-mode.ts";
import { writeGuestWords } from "./guest-words.ts";
import * as R from "./registers.ts";
import { iretToGuest } from "./return.ts";
import { descriptorAt, markAccessed, SegmentView } from "./segment-view.ts";

const DATA_SEGMENTS = [R.SEG_DS, R.SEG_ES, R.SEG_FS, R.SEG_GS] as const;
const view = new SegmentView();
const FRAME: Int32Array = new Int32Array(22);

/** Loads `selector` as Xen in ring 0 does; bases of FS and GS stay if `keepBase`. @returns false: it is null now */
export function loadDataSegment(vcpu: Vcpu, seg: number, selector: number, keepBase: boolean): boolean {
  const { core } = vcpu;
  const i = core.i32;
  const slot = R.FSBASE + (seg - R.SEG_FS) * 2;
  const baseLo = i[slot]!;
  const baseHi = i[slot + 1]!;
  const isNull = (selector & 0xfffc) === 0;
  const at = isNull ? -1 : descriptorAt(vcpu, selector);
  let ok = at >= 0;
  if (ok) {
    view.read(i, at);
    ok =
      view.isSegment &&
      view.present &&
      (!view.isCode || view.isWritable) &&
      (view.isConforming || view.dpl >= (selector & 3));
  }
  if (ok) {
    markAccessed(vcpu, at);
    loadSegmentRaw(core, seg, selector, view.base | 0, 0, view.limit | 0, view.attr | 1);
  } else loadSegmentRaw(core, seg, isNull ? selector : 0, 0, 0, 0, ATTR_UNUSABLE);
  if (keepBase) {
    i[slot] = baseLo;
    i[slot + 1] = baseHi;
  }
  return ok || isNull;
}

/** Loads the (active) vcpu's data segments again. A failure leads into the failsafe callback. */
export function reloadSegments(vcpu: Vcpu): void {
  const { core, domain } = vcpu;
  const i = core.i32;
  vcpu.pv!.segmentsStale = false;
  const selectors = DATA_SEGMENTS.map((seg) => i[R.selectorAt(seg)]! & 0xffff);
  let ok = true;
  DATA_SEGMENTS.forEach((seg, n) => {
    const keepBase = !domain.pv!.is32bit && seg >= R.SEG_FS;
    if (!loadDataSegment(vcpu, seg, selectors[n]!, keepBase)) ok = false;
  });
  updateMode(core);
  if (ok) return;
  if (domain.pv!.is32bit) failsafe32(vcpu, selectors);
  else failsafe64(vcpu, selectors);
}

function maskIfAsked(vcpu: Vcpu): void {
  if (vcpu.pv!.callbackMasks & (1 << CALLBACKTYPE_failsafe)) write8(vcpu.core, vcpu.info + VCPU_INFO_UPCALL_MASK, 1);
}

/** { RCX, R11, DS, ES, FS, GS, RIP, CS, RFLAGS, RSP, SS }. @param selectors DS ES FS GS as they were */
function failsafe64(vcpu: Vcpu, selectors: readonly number[]): void {
  const pv = vcpu.pv!;
  const { core } = vcpu;
  const i = core.i32;
  let cs = i[R.CS]! & 0xffff;
  let spLo = i[R.RSP]!;
  let spHi = i[R.RSP + 1]!;
  if (pv.kernelMode) cs &= ~3;
  else {
    toggleGuestMode(vcpu);
    spLo = pv.kernelSpLo;
    spHi = pv.kernelSpHi;
  }
  spLo &= ~15;
  const real = getFlags(core);
  const mask = core.u8[vcpu.info + VCPU_INFO_UPCALL_MASK]!;
  const f = FRAME.fill(0);
  f[0] = i[R.RCX]!;
  f[1] = i[R.RCX + 1]!;
  f[2] = i[R.R11]!;
  f[3] = i[R.R11 + 1]!;
  selectors.forEach((selector, n) => {
    f[4 + 2 * n] = selector;
  });
  f[12] = i[R.RIP]!;
  f[13] = i[R.RIP + 1]!;
  f[14] = cs;
  f[15] = mask;
  f[16] = guestFlags(vcpu, real, mask);
  f[18] = i[R.RSP]!;
  f[19] = i[R.RSP + 1]!;
  f[20] = i[R.SS]! & 0xffff;
  const lo = (spLo - 88) | 0;
  const hi = spLo >>> 0 < 88 ? (spHi - 1) | 0 : spHi;
  if (!writeGuestWords(vcpu, lo, hi, f, 22)) {
    crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} error while creating failsafe callback frame`);
    return;
  }
  maskIfAsked(vcpu);
  i[R.RSP] = lo;
  i[R.RSP + 1] = hi;
  const target = CALLBACKTYPE_failsafe;
  const flags = real & ~(FLAG_AC | FLAG_VM | FLAG_RF | FLAG_NT | FLAG_TF);
  sysretToKernel(vcpu, pv.callbackLo[target]!, pv.callbackHi[target]!, flags);
}

/** { DS, ES, FS, GS, EIP, CS, EFLAGS [, ESP, SS] }, through Xen's flat segments of ring 1. */
function failsafe32(vcpu: Vcpu, selectors: readonly number[]): void {
  const pv = vcpu.pv!;
  const { core } = vcpu;
  const i = core.i32;
  const fromKernel = (i[R.CS]! & 3) === 1;
  const real = getFlags(core);
  const mask = core.u8[vcpu.info + VCPU_INFO_UPCALL_MASK]!;
  const f = FRAME;
  let n = 0;
  for (const selector of selectors) f[n++] = selector;
  f[n++] = i[R.RIP]!;
  f[n++] = (i[R.CS]! & 0xffff) | (mask << 16);
  f[n++] = guestFlags(vcpu, real, mask);
  if (!fromKernel) {
    f[n++] = i[R.RSP]!;
    f[n++] = i[R.SS]! & 0xffff;
  }
  const esp = ((fromKernel ? i[R.RSP]! : pv.kernelSpLo) - n * 4) | 0;
  if (!writeGuestWords(vcpu, esp, 0, f, n)) {
    crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} error while creating compat failsafe callback frame`);
    return;
  }
  maskIfAsked(vcpu);
  const flags = real & ~(FLAG_VM | FLAG_RF | FLAG_NT | FLAG_TF);
  const eip = pv.callbackLo[CALLBACKTYPE_failsafe]!;
  iretToGuest(vcpu, R.FLAT_COMPAT_KERNEL_CS, R.FLAT_COMPAT_KERNEL_SS, eip, 0, esp, 0, flags);
}
