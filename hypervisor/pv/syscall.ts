/**
 * SYSCALL, SYSENTER, INT 0x82 and INT 0x80 of PV guests (x86_64/entry.S, compat/entry.S, pv/hypercall.c): from the kernel a hypercall, from
 * the user a jump to the callback that the kernel has registered.
 */
import { EXIT_LENGTH } from "../../cpu/arena.ts";
import { VEC_GP, VEC_UD } from "../../cpu/core.ts";
import { FLAG_DF, FLAG_NT, FLAG_RF, getFlags } from "../../cpu/flags.ts";
import { is64 } from "../../cpu/system/bits.ts";
import { loadSegmentRaw, updateMode } from "../../cpu/system/mode.ts";
import { CALLBACKTYPE_syscall, CALLBACKTYPE_syscall32, CALLBACKTYPE_sysenter } from "../abi/callback.ts";
import { HYPERVISOR_iret, NR_HYPERCALLS } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_HYPERCALL, COST_PV_SYSCALL, COST_PV_TRAP } from "../hypercalls/costs.ts";
import { RESTART } from "../hypercalls/dispatch.ts";
import { createBounceFrame } from "./bounce.ts";
import { ARG_WORDS, callPvHypercall, KEEP_REGISTERS } from "./hypercall-table.ts";
import { injectTrap, TBF_INTERRUPT, TI_IF } from "./inject.ts";
import { pvIret, pvIret32 } from "./iret.ts";
import * as R from "./registers.ts";

const SYSCALL_BYTES = 2;
const args: Int32Array = new Int32Array(ARG_WORDS);

/** RIP += `bytes` (may be negative), in the code's width. */
export function moveRip(vcpu: Vcpu, bytes: number): void {
  const core = vcpu.core;
  const i = core.i32;
  const lo = (i[R.RIP]! + bytes) | 0;
  if (is64(core)) {
    if (bytes >= 0 ? lo >>> 0 < bytes : lo >>> 0 > i[R.RIP]! >>> 0)
      i[R.RIP + 1] = (i[R.RIP + 1]! + Math.sign(bytes)) | 0;
  } else i[R.RIP + 1] = 0;
  i[R.RIP] = lo;
}

/** SYSCALL: RIP is past the instruction. */
export function pvSyscall(vcpu: Vcpu): void {
  const core = vcpu.core;
  const i = core.i32;
  vcpu.domain.hypervisor.chargeExit(vcpu, COST_PV_SYSCALL);
  const long = is64(core);
  i[R.RCX] = i[R.RIP]!;
  i[R.RCX + 1] = i[R.RIP + 1]!;
  i[R.R11] = getFlags(core) & ~FLAG_RF;
  i[R.R11 + 1] = 0;
  if (vcpu.domain.pv!.is32bit) {
    // Only AMD's processors come here: lstar and cstar of Xen lead to compat_syscall.
    compatSyscall(vcpu);
    return;
  }
  // What Xen takes the caller's segments to have been.
  recordSegments(vcpu, long ? R.FLAT_CS64 : R.FLAT_CS32, R.FLAT_SS64, long ? R.CODE64_R3 : R.CODE32_R3, R.DATA_R3);
  if (long && vcpu.pv!.kernelMode) hypercall64(vcpu);
  else switchToKernel(vcpu, long ? CALLBACKTYPE_syscall : CALLBACKTYPE_syscall32);
}

function recordSegments(vcpu: Vcpu, cs: number, ss: number, codeAttr: number, dataAttr: number): void {
  const core = vcpu.core;
  const i = core.i32;
  const same = i[R.CS_ATTR] === codeAttr && i[R.SS_ATTR] === dataAttr;
  if (!same || (i[R.CS]! & 0xffff) !== cs) loadSegmentRaw(core, R.SEG_CS, cs, 0, 0, -1, codeAttr);
  if (!same || (i[R.SS]! & 0xffff) !== ss) loadSegmentRaw(core, R.SEG_SS, ss, 0, 0, -1, dataAttr);
  if (!same) updateMode(core);
}

/** switch_to_kernel: the user's system call. DF alone is cleared; a kernel without callback sees #UD at the instruction. */
function switchToKernel(vcpu: Vcpu, type: number): void {
  const pv = vcpu.pv!;
  const i = vcpu.core.i32;
  const lo = pv.callbackLo[type]!;
  const hi = pv.callbackHi[type]!;
  if ((lo | hi) === 0) {
    moveRip(vcpu, -SYSCALL_BYTES);
    injectTrap(vcpu, VEC_UD);
    return;
  }
  // The mask of SYSCALL's callback counts for 32-bit callers too.
  const flags = pv.callbackMasks & (1 << CALLBACKTYPE_syscall) ? TBF_INTERRUPT : 0;
  if (!createBounceFrame(vcpu, lo, hi, 0, flags, 0)) return;
  i[R.RFLAGS]! &= ~FLAG_DF;
  i[R.R11]! &= ~FLAG_DF;
}

function compatSyscall(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const i = vcpu.core.i32;
  i[R.CS] = R.FLAT_COMPAT_USER_CS;
  i[R.SS] = R.FLAT_COMPAT_USER_SS;
  const cs = pv.callbackCs[CALLBACKTYPE_syscall32]!;
  if ((cs & ~3) === 0) {
    moveRip(vcpu, -SYSCALL_BYTES);
    injectTrap(vcpu, VEC_GP, 0);
    return;
  }
  const flags = pv.callbackMasks & (1 << CALLBACKTYPE_syscall32) ? TBF_INTERRUPT : 0;
  createBounceFrame(vcpu, pv.callbackLo[CALLBACKTYPE_syscall32]!, 0, cs, flags, 0);
}

/** SYSENTER: Intel's, which says neither where it comes from nor with which stack; the kernel's callback has to know. */
export function pvSysenter(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const { is32bit } = vcpu.domain.pv!;
  const i = vcpu.core.i32;
  vcpu.charge("exit", COST_PV_SYSCALL);
  i[R.CS] = 3;
  i[R.SS] = is32bit ? R.FLAT_COMPAT_USER_SS : R.FLAT_SS64;
  i[R.RIP] = i[R.RIP + 1] = 0;
  i[R.RSP] = i[R.RSP + 1] = 0;
  const lo = pv.callbackLo[CALLBACKTYPE_sysenter]!;
  const hi = pv.callbackHi[CALLBACKTYPE_sysenter]!;
  if ((lo | hi) === 0) {
    injectTrap(vcpu, VEC_GP, 0);
    return;
  }
  const flags = pv.callbackMasks & (1 << CALLBACKTYPE_sysenter) ? TBF_INTERRUPT : 0;
  const cs = pv.callbackCs[CALLBACKTYPE_sysenter]!;
  createBounceFrame(vcpu, lo, hi, (cs & ~3) !== 0 ? cs : pv.traps[VEC_GP]!.cs, flags, 0);
  i[R.RFLAGS]! &= ~FLAG_NT;
}

/** INT 0x80 (int80_direct_trap): straight to the guest's handler, whatever its DPL. @returns false: it has none */
export function pvInt80(vcpu: Vcpu): boolean {
  const trap = vcpu.pv!.traps[0x80]!;
  const { is32bit } = vcpu.domain.pv!;
  if (is32bit ? (trap.cs & ~3) === 0 : (trap.eipLo | trap.eipHi) === 0) return false;
  vcpu.charge("exit", COST_PV_TRAP);
  moveRip(vcpu, vcpu.core.i32[EXIT_LENGTH >>> 2]!);
  createBounceFrame(vcpu, trap.eipLo, trap.eipHi, trap.cs, trap.flags & TI_IF ? TBF_INTERRUPT : 0, 0);
  return true;
}

/** pv_hypercall: RAX the number, RDI RSI RDX R10 R8 R9 the arguments, RIP past SYSCALL. */
function hypercall64(vcpu: Vcpu): void {
  const i = vcpu.core.i32;
  const number = i[R.RAX + 1] === 0 && i[R.RAX]! >>> 0 < NR_HYPERCALLS ? i[R.RAX]! : NR_HYPERCALLS;
  if (number === HYPERVISOR_iret) {
    vcpu.domain.hypercallCounts[HYPERVISOR_iret]!++;
    pvIret(vcpu);
    return;
  }
  vcpu.domain.hypervisor.chargeHypercall(vcpu, COST_HYPERCALL);
  const a = args;
  a[0] = i[R.RDI]!;
  a[1] = i[R.RDI + 1]!;
  a[2] = i[R.RSI]!;
  a[3] = i[R.RSI + 1]!;
  a[4] = i[R.RDX]!;
  a[5] = i[R.RDX + 1]!;
  a[6] = i[R.R10]!;
  a[7] = i[R.R10 + 1]!;
  a[8] = i[R.R8]!;
  a[9] = i[R.R8 + 1]!;
  a[10] = i[R.R9]!;
  a[11] = i[R.R9 + 1]!;
  const result = callPvHypercall(vcpu, number, a, false);
  if (result === KEEP_REGISTERS) return;
  if (result !== RESTART) {
    i[R.RAX] = result | 0;
    i[R.RAX + 1] = Math.floor(result / 0x100000000) | 0;
    return;
  }
  i[R.RDI] = a[0]!;
  i[R.RDI + 1] = a[1]!;
  i[R.RSI] = a[2]!;
  i[R.RSI + 1] = a[3]!;
  i[R.RDX] = a[4]!;
  i[R.RDX + 1] = a[5]!;
  i[R.R10] = a[6]!;
  i[R.R10 + 1] = a[7]!;
  i[R.R8] = a[8]!;
  i[R.R8 + 1] = a[9]!;
  i[R.R9] = a[10]!;
  i[R.R9 + 1] = a[11]!;
  moveRip(vcpu, -SYSCALL_BYTES);
  // SYSRET goes there too.
  i[R.RCX] = i[R.RIP]!;
  i[R.RCX + 1] = i[R.RIP + 1]!;
}

/** Argument registers of a 32-bit hypercall. */
const ARGS_32 = [R.RBX, R.RCX, R.RDX, R.RSI, R.RDI, R.RBP] as const;

/** INT 0x82 of ring 1. RIP is at the instruction. */
export function pvInt82(vcpu: Vcpu): void {
  const i = vcpu.core.i32;
  vcpu.charge("exit", COST_PV_TRAP);
  vcpu.charge("hypercall", COST_HYPERCALL);
  moveRip(vcpu, i[EXIT_LENGTH >>> 2]!);
  const number = i[R.RAX]! >>> 0 < NR_HYPERCALLS ? i[R.RAX]! : NR_HYPERCALLS;
  if (number === HYPERVISOR_iret) {
    vcpu.domain.hypercallCounts[HYPERVISOR_iret]!++;
    pvIret32(vcpu);
    return;
  }
  for (let n = 0; n < ARGS_32.length; n++) {
    args[2 * n] = i[ARGS_32[n]!]!;
    args[2 * n + 1] = 0;
  }
  const result = callPvHypercall(vcpu, number, args, true);
  if (result === KEEP_REGISTERS) return;
  if (result !== RESTART) {
    i[R.RAX] = result | 0;
    i[R.RAX + 1] = 0;
    return;
  }
  for (let n = 0; n < ARGS_32.length; n++) {
    i[ARGS_32[n]!] = args[2 * n]!;
    i[ARGS_32[n]! + 1] = 0;
  }
  moveRip(vcpu, -SYSCALL_BYTES);
}
