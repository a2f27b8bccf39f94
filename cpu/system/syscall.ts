/**
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM volume 2; APM volume 3). Intel knows SYSCALL in 64-bit mode only, AMD knows
 * SYSENTER in legacy mode only. SYSRET loads SS as Intel does on both (AMD leaves its hidden part alone).
 */
import * as A from "../arena.ts";
import { type Core, DELIVERY_PV, EXIT_PV, raise, VEC_GP, VEC_UD } from "../core.ts";
import { FLAG_IF, FLAG_RF, FLAG_TF, FLAG_VM, getFlags, setFlags } from "../flags.ts";
import { H_EXIT_AT, H_OK } from "../uops/uop.ts";
import { CR0_PE, EFER_SCE, is64, isLongMode, setRip, setRsp } from "./bits.ts";
import { isAmd } from "./cpu-model.ts";
import { DR6_BS } from "./dr.ts";
import { PV_SYSCALL, PV_SYSENTER } from "./exceptions.ts";
import { loadSegmentRaw, setCpl, updatePrivilege } from "./mode.ts";
import { noticeInterrupts } from "./rflags.ts";
import { SEG_CS, SEG_SS } from "./segments.ts";

/** Flat segments in the format of segcheck.ts: 64-bit code, 32-bit code, data; DPL is added. */
export const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
export const DATA32 = 0xc093;

const slotLo = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot) >>> 2]!;
const slotHi = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot + 4) >>> 2]!;

function setSlot(core: Core, slot: number, lo: number, hi: number): void {
  core.i32[(A.SLOTS + slot) >>> 2] = lo;
  core.i32[(A.SLOTS + slot + 4) >>> 2] = hi;
}

function flat(core: Core, cs: number, ss: number, cpl: number, codeAttr: number): void {
  setCpl(core, cpl);
  loadSegmentRaw(core, SEG_CS, (cs & 0xfffc) | cpl, 0, 0, -1, codeAttr | (cpl << 5));
  loadSegmentRaw(core, SEG_SS, (ss & 0xfffc) | cpl, 0, 0, -1, DATA32 | (cpl << 5));
}

function pvExit(core: Core, what: number, length: number): number {
  const i = core.i32;
  i[A.EXIT_REASON >>> 2] = EXIT_PV;
  i[A.EXIT_INTR_INFO >>> 2] = 0;
  i[A.EXIT_QUAL >>> 2] = what;
  i[(A.EXIT_QUAL + 4) >>> 2] = 0;
  i[A.EXIT_LENGTH >>> 2] = length;
  return H_EXIT_AT;
}

/** RIP is past the instruction of `length` bytes. */
export function syscall(core: Core, length: number): number {
  const i = core.i32;
  if (!(i[A.EFER >>> 2]! & EFER_SCE)) return raise(core, VEC_UD);
  const long = isLongMode(core);
  if (!is64(core) && !isAmd(core)) return raise(core, VEC_UD);
  if (!long && !(i[A.CR0 >>> 2]! & CR0_PE)) return raise(core, VEC_UD);
  if (core.controls.delivery === DELIVERY_PV)
    return core.pvSyscall === null ? pvExit(core, PV_SYSCALL, length) : core.pvSyscall(core);
  const starHi = i[(A.MSR_STAR + 4) >>> 2]!;
  const flags = getFlags(core);
  if (!long) {
    setSlot(core, A.S_RCX, i[A.RIP >>> 2]!, 0);
    setRip(core, i[A.MSR_STAR >>> 2]!, 0);
    setFlags(core, flags & ~(FLAG_VM | FLAG_IF | FLAG_RF));
    flat(core, starHi, starHi + 8, 0, CODE32);
    updatePrivilege(core);
    return H_OK;
  }
  setSlot(core, A.S_RCX, i[A.RIP >>> 2]!, i[(A.RIP + 4) >>> 2]!);
  setSlot(core, A.S_R8 + 24, flags & ~FLAG_RF, 0);
  const entry = is64(core) ? A.MSR_LSTAR : A.MSR_CSTAR;
  setRip(core, i[entry >>> 2]!, i[(entry + 4) >>> 2]!);
  setFlags(core, flags & ~i[A.MSR_FMASK >>> 2]! & ~FLAG_RF);
  // The trap after SYSCALL goes by TF as FMASK leaves it.
  core.stepDiscarded = (i[A.MSR_FMASK >>> 2]! & FLAG_TF) !== 0;
  flat(core, starHi, starHi + 8, 0, CODE64);
  updatePrivilege(core);
  return H_OK;
}

/** Bits of R11 that SYSRET loads. */
export const SYSRET_FLAGS = 0x3c7fd7;

export function sysret(core: Core, bytes: number): number {
  const i = core.i32;
  const efer = i[A.EFER >>> 2]!;
  if (!(efer & EFER_SCE) || (!is64(core) && !isAmd(core))) return raise(core, VEC_UD);
  if (i[A.CPL >>> 2] !== 0) return raise(core, VEC_GP, 0);
  const star = i[(A.MSR_STAR + 4) >>> 2]! >>> 16;
  const lo = slotLo(core, A.S_RCX);
  const hi = slotHi(core, A.S_RCX);
  if (bytes === 8) {
    // Intel checks the target here; on AMD the fetch at level 3 faults.
    if ((hi << 16) >> 16 !== hi && !isAmd(core)) return raise(core, VEC_GP, 0);
    flat(core, star + 16, star + 8, 3, CODE64);
    setRip(core, lo, hi);
  } else {
    flat(core, star, star + 8, 3, CODE32);
    setRip(core, lo, 0);
  }
  if (is64(core)) {
    const flags = slotLo(core, A.S_R8 + 24) & SYSRET_FLAGS & ~FLAG_RF;
    setFlags(core, flags | 2);
    // TF counts as SYSRET leaves it: the trap comes at once, not behind the next instruction as with IRET.
    core.stepDiscarded = (flags & FLAG_TF) === 0;
    if (flags & FLAG_TF) {
      i[A.PENDING_DEBUG >>> 2]! |= DR6_BS;
      core.breakSlice();
    }
  } else setFlags(core, getFlags(core) | FLAG_IF);
  updatePrivilege(core);
  noticeInterrupts(core);
  return H_OK;
}

export function sysenter(core: Core, length: number): number {
  const i = core.i32;
  const long = isLongMode(core);
  if (long && isAmd(core)) return raise(core, VEC_UD);
  if (core.controls.delivery === DELIVERY_PV) return pvExit(core, PV_SYSENTER, length);
  const cs = i[A.MSR_SYSENTER_CS >>> 2]!;
  if (!(i[A.CR0 >>> 2]! & CR0_PE) || (cs & 0xfffc) === 0) return raise(core, VEC_GP, 0);
  setFlags(core, getFlags(core) & ~(FLAG_VM | FLAG_IF | FLAG_RF));
  flat(core, cs, cs + 8, 0, long ? CODE64 : CODE32);
  setRip(core, i[A.MSR_SYSENTER_EIP >>> 2]!, long ? i[(A.MSR_SYSENTER_EIP + 4) >>> 2]! : 0);
  setRsp(core, i[A.MSR_SYSENTER_ESP >>> 2]!, long ? i[(A.MSR_SYSENTER_ESP + 4) >>> 2]! : 0);
  updatePrivilege(core);
  return H_OK;
}

export function sysexit(core: Core, bytes: number): number {
  const i = core.i32;
  if (isLongMode(core) && isAmd(core)) return raise(core, VEC_UD);
  const cs = i[A.MSR_SYSENTER_CS >>> 2]!;
  if (!(i[A.CR0 >>> 2]! & CR0_PE) || i[A.CPL >>> 2] !== 0 || (cs & 0xfffc) === 0) return raise(core, VEC_GP, 0);
  const wide = bytes === 8;
  const ripHi = slotHi(core, A.S_RDX);
  const rspHi = slotHi(core, A.S_RCX);
  if (wide && ((ripHi << 16) >> 16 !== ripHi || (rspHi << 16) >> 16 !== rspHi)) return raise(core, VEC_GP, 0);
  flat(core, cs + (wide ? 32 : 16), cs + (wide ? 40 : 24), 3, wide ? CODE64 : CODE32);
  setRip(core, slotLo(core, A.S_RDX), wide ? ripHi : 0);
  setRsp(core, slotLo(core, A.S_RCX), wide ? rspHi : 0);
  updatePrivilege(core);
  return H_OK;
}
