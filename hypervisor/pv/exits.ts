/**
 * What Xen does when a PV vcpu leaves its engine: exceptions and INT n through Xen's IDT (x86/traps.c), SYSCALL and SYSENTER, CPUID. On
 * entry the core is active, its RIP at the instruction (past it after a single step).
 */
import {
  EXIT_INTR_ERROR,
  EXIT_INTR_INFO,
  EXIT_LENGTH,
  EXIT_QUAL,
  EXIT_REASON,
  INTERRUPTIBILITY,
  PENDING_DEBUG,
  REMAINING,
} from "../../cpu/arena.ts";
import {
  EXIT_CPUID,
  EXIT_DEADLINE,
  EXIT_NAMES,
  EXIT_PV,
  VEC_BP,
  VEC_DB,
  VEC_GP,
  VEC_NM,
  VEC_OF,
  VEC_PF,
  VEC_UD,
} from "../../cpu/core.ts";
import { CR0_TS } from "../../cpu/system/bits.ts";
import {
  EVENT_PRIVILEGED_SOFTWARE,
  EVENT_SOFTWARE_EXCEPTION,
  EVENT_SOFTWARE_INTERRUPT,
  PV_SYSCALL,
} from "../../cpu/system/exceptions.ts";
import { updateMode } from "../../cpu/system/mode.ts";
import { H_EXIT, H_OK } from "../../cpu/uops/uop.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_EXIT, COST_PV_TRAP } from "../hypercalls/costs.ts";
import { emulateGate } from "./call-gates.ts";
import { latchDebugStatus } from "./debug-registers.ts";
import { emulateCpuid, emulateForcedCpuid, emulatePrivileged } from "./emulate.ts";
import { enterPvGuest } from "./entry.ts";
import { armFastPath } from "./fast-path.ts";
import { inKernel } from "./guest-mode.ts";
import { injectSoftware, injectTrap } from "./inject.ts";
import { pageFault } from "./page-fault.ts";
import * as R from "./registers.ts";
import { moveRip, pvInt80, pvInt82, pvSyscall, pvSysenter } from "./syscall.ts";

/** Bits of an error code: of an external event, of an IDT entry. */
const XEC_EXT = 1;
const XEC_IDT = 2;
const LEGACY_SYSCALL_VECTOR = 0x80;
const HYPERCALL_VECTOR = 0x82;
const INT_N_BYTES = 2;

/** Handles the exit `code` of `vcpu`. Never throws for what a guest does. */
export function handlePvExit(vcpu: Vcpu, code: number): void {
  if (code === EXIT_DEADLINE) return;
  vcpu.pv!.checkEvents = true;
  vcpu.domain.exitCounts[code]!++;
  if (code === EXIT_PV) pvEvent(vcpu);
  else if (code === EXIT_CPUID) {
    vcpu.charge("exit", COST_PV_TRAP);
    emulateCpuid(vcpu);
  } else {
    vcpu.charge("exit", COST_EXIT);
    crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} unexpected exit: ${EXIT_NAMES[code]}`);
  }
}

/**
 * SYSCALL without leaving the engine: most entries into Xen from a PV guest. @returns H_OK, or H_EXIT where the engine has to be left
 */
export function syscallInEngine(vcpu: Vcpu): number {
  const { core, domain } = vcpu;
  domain.exitCounts[EXIT_PV]!++;
  // A single step over SYSCALL is lost: Xen's entry point runs without TF.
  core.stepDiscarded = true;
  ignoreHeldDebug(core.i32);
  pvSyscall(vcpu);
  if (goesOn(vcpu)) return H_OK;
  core.i32[EXIT_REASON >>> 2] = EXIT_DEADLINE;
  return H_EXIT;
}

/** A fault without leaving the engine. @returns -1 if the guest goes on, else what the engine is to return */
export function faultInEngine(vcpu: Vcpu): number {
  if (!vcpu.domain.hypervisor.pvInEngine) return EXIT_PV;
  handlePvExit(vcpu, EXIT_PV);
  return goesOn(vcpu) ? -1 : EXIT_DEADLINE;
}

/**
 * The way back into the guest where the engine has not been left. What has to wait for the machine's loop - the end of the slice, another
 * vcpu's turn - makes the engine leave, with the events of this one still to be looked at. @returns false for that
 */
function goesOn(vcpu: Vcpu): boolean {
  const i = vcpu.core.i32;
  if (i[REMAINING >>> 2]! <= 0 || !enterPvGuest(vcpu)) {
    vcpu.pv!.checkEvents = true;
    return false;
  }
  // Where the frames of events have used the slice up, these have been looked at.
  if (i[REMAINING >>> 2]! <= 0) return false;
  armFastPath(vcpu);
  return true;
}

function pvEvent(vcpu: Vcpu): void {
  const i = vcpu.core.i32;
  const info = i[EXIT_INTR_INFO >>> 2]!;
  if ((i[INTERRUPTIBILITY >>> 2]! & 3) !== 0) {
    // The interrupt shadow of MOV SS ends with any entry into Xen.
    i[INTERRUPTIBILITY >>> 2]! &= ~3;
    updateMode(vcpu.core);
  }
  if (info === 0) {
    ignoreHeldDebug(i);
    if (i[EXIT_QUAL >>> 2] === PV_SYSCALL) {
      moveRip(vcpu, i[EXIT_LENGTH >>> 2]!);
      pvSyscall(vcpu);
    } else pvSysenter(vcpu);
    return;
  }
  const vector = info & 0xff;
  switch ((info >>> 8) & 7) {
    case EVENT_SOFTWARE_INTERRUPT:
      ignoreHeldDebug(i);
      softwareInterrupt(vcpu, vector);
      return;
    case EVENT_SOFTWARE_EXCEPTION:
      ignoreHeldDebug(i);
      moveRip(vcpu, i[EXIT_LENGTH >>> 2]!);
      break;
    case EVENT_PRIVILEGED_SOFTWARE:
      moveRip(vcpu, i[EXIT_LENGTH >>> 2]!);
  }
  vcpu.charge("exit", COST_PV_TRAP);
  exception(vcpu, vector, i[EXIT_INTR_ERROR >>> 2]!);
}

/**
 * A breakpoint that MOV SS held back over an instruction into Xen is taken at Xen's first instruction (SDM vol. 3, 6.8.3), and do_debug
 * ignores it there: the guest never sees it (XSA-260, XSA-265).
 */
function ignoreHeldDebug(i: Int32Array): void {
  i[PENDING_DEBUG >>> 2] = 0;
}

/** An exception as Xen's IDT gets it. */
function exception(vcpu: Vcpu, vector: number, error: number): void {
  const i = vcpu.core.i32;
  switch (vector) {
    case VEC_PF:
      pageFault(vcpu, i[EXIT_QUAL >>> 2]!, i[(EXIT_QUAL + 4) >>> 2]!, error);
      return;
    case VEC_GP:
      generalProtection(vcpu, error);
      return;
    case VEC_UD:
      if (!emulateForcedCpuid(vcpu)) injectTrap(vcpu, VEC_UD);
      return;
    case VEC_NM:
      deviceNotAvailable(vcpu);
      return;
    case VEC_DB: {
      const bits = i[PENDING_DEBUG >>> 2]!;
      i[PENDING_DEBUG >>> 2] = 0;
      latchDebugStatus(vcpu, bits);
      injectTrap(vcpu, VEC_DB);
      return;
    }
    default:
      injectTrap(vcpu, vector, error);
  }
}

/**
 * INT n. Xen's gates are for ring 0 but for 3 and 4, 0x80, and 0x82 for ring 1 (pv_trap_init), so that the others are #GP with the vector
 * in the error code.
 */
function softwareInterrupt(vcpu: Vcpu, vector: number): void {
  const { is32bit } = vcpu.domain.pv!;
  if (vector === LEGACY_SYSCALL_VECTOR && pvInt80(vcpu)) return;
  if (vector === HYPERCALL_VECTOR && is32bit && vcpu.cpl() === 1) {
    pvInt82(vcpu);
    return;
  }
  vcpu.charge("exit", COST_PV_TRAP);
  if (vector === VEC_BP || vector === VEC_OF) {
    moveRip(vcpu, vcpu.core.i32[EXIT_LENGTH >>> 2]!);
    injectTrap(vcpu, vector);
  } else generalProtection(vcpu, (vector << 3) | XEC_IDT);
}

/** do_general_protection. */
function generalProtection(vcpu: Vcpu, error: number): void {
  if ((error & XEC_IDT) !== 0) {
    const vector = (error >>> 3) & 0xff;
    if (softwareAllowed(vcpu, vcpu.pv!.traps[vector]!.flags & 3)) {
      moveRip(vcpu, INT_N_BYTES);
      injectSoftware(vcpu, vector);
      return;
    }
  }
  if (error !== 0 && vcpu.domain.pv!.is32bit && (error & (XEC_EXT | XEC_IDT)) === 0) {
    emulateGate(vcpu, error);
    return;
  }
  if (error === 0 && emulatePrivileged(vcpu)) return;
  injectTrap(vcpu, VEC_GP, error);
}

/** permit_softint: by the DPL that the guest gave the vector. */
function softwareAllowed(vcpu: Vcpu, dpl: number): boolean {
  return dpl >= (inKernel(vcpu) ? 1 : 3);
}

/** do_device_not_available: the guest's #NM, which clears its CR0.TS. */
function deviceNotAvailable(vcpu: Vcpu): void {
  const core = vcpu.core;
  core.i32[R.CR0]! &= ~CR0_TS;
  updateMode(core);
  injectTrap(vcpu, VEC_NM);
}
