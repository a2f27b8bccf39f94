/**
 * What Xen does when a PVH vcpu leaves its engine: one function an EXIT_* code. On entry the core is active, its RIP at the
 * instruction that exited; a function that completes the instruction moves RIP past it.
 */
import {
  ACTIVITY,
  CR2,
  DR,
  EXIT_GLA,
  EXIT_GPA,
  EXIT_LENGTH,
  EXIT_QUAL,
  FAULT_ERROR,
  FAULT_VECTOR,
  INJECT_ERROR,
  INJECT_INFO,
  INSTRET,
  RFLAGS_SYS,
  RIP,
  S_RAX,
  S_RBX,
  S_RCX,
  S_RDX,
  SLOTS,
} from "../../cpu/arena.ts";
import * as C from "../../cpu/core.ts";
import { FLAG_IF, FLAG_TF } from "../../cpu/flags.ts";
import { writeXcr0 } from "../../cpu/system/cr.ts";
import { completeTaskSwitch } from "../../cpu/system/exceptions.ts";
import { H_EXIT_AT, H_OK } from "../../cpu/uops/uop.ts";
import { HVM_PARAM_TRIPLE_FAULT_REASON } from "../abi/hvm.ts";
import { dumpVcpu } from "../domain/crash-dump.ts";
import { crashDomain, shutdownDomain, vcpuDown } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_CPUID, COST_EXIT, COST_MSR } from "../hypercalls/costs.ts";
import { dispatchHypercall } from "../hypercalls/dispatch.ts";
import { blockVcpu } from "../hypercalls/sched-op.ts";
import { guestCpuid } from "./cpuid.ts";
import { readGuestMsr, writeGuestMsr } from "./msr.ts";

/** Interruption types (SDM table 25-17), and its flags. */
const TYPE_HW_EXCEPTION = 3 << 8;
const DELIVER_ERROR = 1 << 11;
const VALID = 0x80000000;

const DR6 = DR + 6 * 8;
/** DR6: single step. */
const DR6_BS = 0x4000;

const QUAL_WRITE = 2;
const QUAL_FETCH = 4;
const QUAL_FINAL = 0x100;
/** #PF error code: a write. */
const PF_WRITE = 2;
const PF_FETCH = 16;
const PF_USER = 4;

const RAX = (SLOTS + S_RAX) >>> 2;
const RBX = (SLOTS + S_RBX) >>> 2;
const RCX = (SLOTS + S_RCX) >>> 2;
const RDX = (SLOTS + S_RDX) >>> 2;

/** Moves RIP past the instruction that exited; it counts as executed. */
function completeInstruction(vcpu: Vcpu): void {
  const core = vcpu.core;
  const rip = core.u64[RIP >>> 3]! + BigInt(core.i32[EXIT_LENGTH >>> 2]!);
  core.u64[RIP >>> 3] = vcpu.in64BitCode() ? rip : rip & 0xffff_ffffn;
  core.f64[INSTRET >>> 3]! += 1;
  if ((core.i32[RFLAGS_SYS >>> 2]! & FLAG_TF) !== 0) {
    core.i32[DR6 >>> 2]! |= DR6_BS;
    injectException(vcpu, C.VEC_DB);
  }
}

/** hvm_inject_hw_exception: delivered before the next instruction, RIP staying where it is. */
export function injectException(vcpu: Vcpu, vector: number, error = 0): void {
  const core = vcpu.core;
  const withError = C.hasErrorCode(vector);
  core.i32[INJECT_INFO >>> 2] = VALID | TYPE_HW_EXCEPTION | (withError ? DELIVER_ERROR : 0) | vector | 0;
  core.i32[INJECT_ERROR >>> 2] = error;
}

function injectPageFault(vcpu: Vcpu, error: number): void {
  const core = vcpu.core;
  core.u64[CR2 >>> 3] = core.u64[EXIT_GLA >>> 3]!;
  injectException(vcpu, C.VEC_PF, error);
}

type ExitHandler = (vcpu: Vcpu) => void;

const undefinedOpcode: ExitHandler = (vcpu) => injectException(vcpu, C.VEC_UD);
const generalProtection: ExitHandler = (vcpu) => injectException(vcpu, C.VEC_GP);
const nothing: ExitHandler = () => {};

/** hvm_hlt: sleeps until an event; with IF clear the vcpu goes away for good. */
function hlt(vcpu: Vcpu): void {
  completeInstruction(vcpu);
  if ((vcpu.core.i32[RFLAGS_SYS >>> 2]! & FLAG_IF) === 0) vcpuDown(vcpu);
  else blockVcpu(vcpu);
}

function cpuid(vcpu: Vcpu): void {
  const { u32 } = vcpu.core;
  vcpu.charge("cpuid", COST_CPUID);
  const leaf = guestCpuid(vcpu, u32[RAX]!, u32[RCX]!);
  for (const [slot, value] of [
    [RAX, leaf.eax],
    [RBX, leaf.ebx],
    [RCX, leaf.ecx],
    [RDX, leaf.edx],
  ] as const) {
    u32[slot] = value;
    u32[slot + 1] = 0;
  }
  completeInstruction(vcpu);
}

function rdmsr(vcpu: Vcpu): void {
  const { u32 } = vcpu.core;
  vcpu.charge("msr", COST_MSR);
  const value = readGuestMsr(vcpu, u32[EXIT_QUAL >>> 2]!);
  if (value === null) {
    injectException(vcpu, C.VEC_GP);
    return;
  }
  u32[RAX] = Number(value & 0xffff_ffffn);
  u32[RAX + 1] = 0;
  u32[RDX] = Number(value >> 32n);
  u32[RDX + 1] = 0;
  completeInstruction(vcpu);
}

function wrmsr(vcpu: Vcpu): void {
  const { u32 } = vcpu.core;
  vcpu.charge("msr", COST_MSR);
  const value = (BigInt(u32[RDX]!) << 32n) | BigInt(u32[RAX]!);
  if (writeGuestMsr(vcpu, u32[EXIT_QUAL >>> 2]!, value)) completeInstruction(vcpu);
  else injectException(vcpu, C.VEC_GP);
}

/** hvm_handle_xsetbv: ring 0, and what the core's own XSETBV allows. */
function xsetbv(vcpu: Vcpu): void {
  const core = vcpu.core;
  if (vcpu.cpl() === 0 && writeXcr0(core, core.u32[RCX]!, core.i32[RAX]!, core.i32[RDX]!) === H_OK)
    completeInstruction(vcpu);
  else injectException(vcpu, C.VEC_GP);
}

function vmcall(vcpu: Vcpu): void {
  if (dispatchHypercall(vcpu)) completeInstruction(vcpu);
}

/** hvm_triple_fault: the domain ends for the reason of HVM_PARAM_TRIPLE_FAULT_REASON, with a dump. */
function tripleFault(vcpu: Vcpu): void {
  const domain = vcpu.domain;
  const { log } = domain.hypervisor;
  const reason = Number(domain.params[HVM_PARAM_TRIPLE_FAULT_REASON]!);
  const first = `d${domain.domid}v${vcpu.id} Triple fault - invoking HVM shutdown action ${reason}`;
  const lines = [first, `*** Dumping Dom${domain.domid} vcpu#${vcpu.id} state: ***`, ...dumpVcpu(vcpu)];
  domain.crashText = lines;
  for (const line of lines) log.xen(line);
  shutdownDomain(domain, reason);
}

/**
 * hvm_hap_nested_page_fault. Data accesses to addresses where nothing is (all ones), and writes to pages that may only be read
 * (dropped), have been served by the bus; what comes here is a fetch, or a page table that isn't in writable RAM.
 */
function nestedFault(vcpu: Vcpu): void {
  const qual = vcpu.core.u32[EXIT_QUAL >>> 2]!;
  if ((qual & QUAL_FINAL) !== 0) {
    injectException(vcpu, C.VEC_GP);
    return;
  }
  // The emulator's own walk fails there, and gives the guest a page fault.
  const user = vcpu.cpl() === 3 ? PF_USER : 0;
  injectPageFault(vcpu, ((qual & QUAL_WRITE) !== 0 ? PF_WRITE : 0) | ((qual & QUAL_FETCH) !== 0 ? PF_FETCH : 0) | user);
}

/** hvm_task_switch: VT-x and SVM leave task switches to the hypervisor. */
function taskSwitch(vcpu: Vcpu): void {
  const { core } = vcpu;
  const status = completeTaskSwitch(core);
  if (status === H_OK) core.f64[INSTRET >>> 3]! += 1;
  else if (status === H_EXIT_AT) nestedFault(vcpu);
  else if (core.i32[FAULT_VECTOR >>> 2] === C.VEC_PF) injectPageFault(vcpu, core.i32[FAULT_ERROR >>> 2]!);
  else injectException(vcpu, core.i32[FAULT_VECTOR >>> 2]!, core.i32[FAULT_ERROR >>> 2]!);
}

function crash(what: string): ExitHandler {
  return (vcpu) => crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} ${what}`);
}

function misconfigured(vcpu: Vcpu): void {
  const gpa = vcpu.core.u64[EXIT_GPA >>> 3]!.toString(16);
  crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} second-level misconfiguration at gpa ${gpa}`);
}

const HANDLERS: readonly ExitHandler[] = Array.from({ length: C.EXIT_COUNT }, (_, code) => {
  switch (code) {
    case C.EXIT_INTR_WINDOW:
    case C.EXIT_NMI_WINDOW:
    case C.EXIT_PAUSE:
      return nothing;
    case C.EXIT_IDLE:
      return (vcpu: Vcpu): void => {
        vcpu.core.i32[ACTIVITY >>> 2] = 0;
        blockVcpu(vcpu);
      };
    case C.EXIT_TRIPLE_FAULT:
      return tripleFault;
    case C.EXIT_HLT:
      return hlt;
    case C.EXIT_CPUID:
      return cpuid;
    case C.EXIT_WBINVD:
      return completeInstruction;
    case C.EXIT_MWAIT:
    case C.EXIT_VMX:
      return undefinedOpcode;
    case C.EXIT_XSETBV:
      return xsetbv;
    case C.EXIT_RDPMC:
      return generalProtection;
    case C.EXIT_RDMSR:
      return rdmsr;
    case C.EXIT_WRMSR:
      return wrmsr;
    case C.EXIT_VMCALL:
      return vmcall;
    case C.EXIT_TASK_SWITCH:
      return taskSwitch;
    case C.EXIT_NESTED_FAULT:
      return nestedFault;
    case C.EXIT_NESTED_MISCONFIG:
      return misconfigured;
    default:
      return crash(`unexpected exit: ${C.EXIT_NAMES[code]}`);
  }
});

/** Handles the exit `code` of `vcpu`. Never throws for what a guest does. */
export function handleExit(vcpu: Vcpu, code: number): void {
  // A deadline is no exit: where slices end is the machine loop's affair, and must not show in any count.
  if (code === C.EXIT_DEADLINE) return;
  vcpu.domain.exitCounts[code]!++;
  vcpu.charge("exit", COST_EXIT);
  (HANDLERS[code] ?? crash(`unknown exit ${code}`))(vcpu);
}
