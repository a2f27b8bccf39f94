/**
 * IRETQ out of Xen into a PV guest, with the checks of the processor on the selectors (SDM volume 2, IRET, return to outer privilege
 * level). A check that fails is the guest's fault: it is reported with the frame that was to be loaded as the interrupted context.
 */
import { CPL } from "../../cpu/arena.ts";
import { VEC_GP, VEC_NP, VEC_PF, VEC_SS } from "../../cpu/core.ts";
import { FLAG_AC, FLAG_IF, FLAG_IOPL, FLAG_TF, FLAG_VM, setFlags } from "../../cpu/flags.ts";
import { loadSegmentRaw, setCpl, updateMode } from "../../cpu/system/mode.ts";
import { ATTR_ACCESSED } from "../../cpu/system/segcheck.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { injectPageFault, injectTrap } from "./inject.ts";
import * as R from "./registers.ts";
import { descriptorAt, LDT_FAULT, markAccessed, SegmentView } from "./segment-view.ts";

const code = new SegmentView();
const stack = new SegmentView();

/** RFLAGS bits that exist. */
const FLAGS_DEFINED = 0x3f7fd5;

const isCanonicalHi = (hi: number): boolean => (hi << 16) >> 16 === hi;

/** What `check` found: a vector, and its error code (a linear address of the LDT for #PF). */
let faultVector = 0;
let faultError = 0;

function refuse(vector: number, error: number): false {
  faultVector = vector;
  faultError = error;
  return false;
}

/** Where the descriptor is that `read` read last. */
let descriptor = 0;
let codeDescriptor = 0;

/** Reads the descriptor of `selector` into `into`. */
function read(vcpu: Vcpu, selector: number, into: SegmentView): boolean {
  if ((selector & 0xfffc) === 0) return refuse(VEC_GP, 0);
  const at = descriptorAt(vcpu, selector);
  if (at === LDT_FAULT) return refuse(VEC_PF, selector & 0xfff8);
  if (at < 0) return refuse(VEC_GP, selector & 0xfffc);
  into.read(vcpu.core.i32, at);
  descriptor = at;
  return true;
}

/** The checks of IRET. Nothing changes. */
function check(vcpu: Vcpu, cs: number, ss: number, ripLo: number, ripHi: number): boolean {
  const ring = cs & 3;
  if (!read(vcpu, cs, code)) return false;
  if (!code.isCode || (code.isConforming ? code.dpl > ring : code.dpl !== ring)) return refuse(VEC_GP, cs & 0xfffc);
  if (!code.present) return refuse(VEC_NP, cs & 0xfffc);
  if (code.isLong && code.isBig) return refuse(VEC_GP, cs & 0xfffc);
  codeDescriptor = descriptor;
  if (!read(vcpu, ss, stack)) return false;
  if ((ss & 3) !== ring || stack.dpl !== ring || !stack.isSegment || stack.isCode || !stack.isWritable)
    return refuse(VEC_GP, ss & 0xfffc);
  if (!stack.present) return refuse(VEC_SS, ss & 0xfffc);
  if (code.isLong ? !isCanonicalHi(ripHi) : ripHi !== 0 || ripLo >>> 0 > code.limit) return refuse(VEC_GP, 0);
  return true;
}

/**
 * Loads the frame into the (active) vcpu. RCX, R11 and all other registers are the caller's.
 * @param flags RFLAGS as the guest asks for them; IF will be set, IOPL and VM clear
 * @returns false if a fault waits to be bounced instead; then the selectors are only for its frame to show
 */
export function iretToGuest(
  vcpu: Vcpu,
  cs: number,
  ss: number,
  ripLo: number,
  ripHi: number,
  rspLo: number,
  rspHi: number,
  flags: number,
): boolean {
  const core = vcpu.core;
  const i = core.i32;
  vcpu.pv!.mustIret = false;
  const ok = check(vcpu, cs, ss, ripLo, ripHi);
  const before = i[R.RFLAGS]!;
  const after = (flags & FLAGS_DEFINED & ~(FLAG_IOPL | FLAG_VM)) | FLAG_IF | 2;
  setFlags(core, after);
  i[R.RIP] = ripLo;
  i[R.RIP + 1] = ripHi;
  i[R.RSP] = rspLo;
  i[R.RSP + 1] = rspHi;
  if (!ok) {
    i[R.CS] = cs;
    i[R.SS] = ss;
    updateMode(core);
    if (faultVector === VEC_PF) {
      const pv = vcpu.pv!;
      const lo = (pv.ldtLo + faultError) | 0;
      injectPageFault(vcpu, lo, lo >>> 0 < faultError ? (pv.ldtHi + 1) | 0 : pv.ldtHi, 0);
    } else injectTrap(vcpu, faultVector, faultError);
    return false;
  }
  markAccessed(vcpu, codeDescriptor);
  markAccessed(vcpu, descriptor);
  const ring = cs & 3;
  const sameMode =
    i[R.CS_ATTR] === (code.attr | ATTR_ACCESSED) &&
    i[R.SS_ATTR] === (stack.attr | ATTR_ACCESSED) &&
    i[CPL >>> 2] === ring &&
    code.isLong &&
    ((before ^ after) & (FLAG_TF | FLAG_AC)) === 0;
  if (i[CPL >>> 2] !== ring) setCpl(core, ring);
  loadSegmentRaw(core, R.SEG_CS, cs, code.base | 0, 0, code.limit | 0, code.attr | ATTR_ACCESSED);
  loadSegmentRaw(core, R.SEG_SS, ss, stack.base | 0, 0, stack.limit | 0, stack.attr | ATTR_ACCESSED);
  if (!sameMode) updateMode(core);
  return true;
}
