/**
 * Privileged instructions of PV guests (pv/emul-priv-op.c, pv/emul-inv-op.c): their kernel runs in ring 3 (or 1), so that these are
 * #GP(0); Xen does for the kernel what it may do, and gives it the #GP for what it may not.
 */
import { EXIT_LENGTH, XCR0 } from "../../cpu/arena.ts";
import { VEC_GP, VEC_UD } from "../../cpu/core.ts";
import { OP_CR, OP_DR, OP_IMM } from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import { CR0_TS, CR4_OSXSAVE, CR4_TSD, is64 } from "../../cpu/system/bits.ts";
import { writeXcr0 } from "../../cpu/system/cr.ts";
import { updateMode } from "../../cpu/system/mode.ts";
import { highWord, lowWord, readTsc } from "../../cpu/system/tsc.ts";
import { H_OK } from "../../cpu/uops/uop.ts";
import { ENODEV } from "../abi/errno.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_CPUID, COST_MSR, COST_PV_EMULATE } from "../hypercalls/costs.ts";
import { readGuestCr, writeGuestCr } from "./control-registers.ts";
import { pvCpuid } from "./cpuid.ts";
import { readGuestDr, setDebugRegister } from "./debug-registers.ts";
import { FETCH_FAULT, FETCHED, fetchInstruction, instruction } from "./decode.ts";
import { DONE, FAULTED, instructionDone, UNHANDLED } from "./emulated.ts";
import { inKernel } from "./guest-mode.ts";
import { failed, readGuestBytes } from "./guest-words.ts";
import { injectPageFault, injectTrap } from "./inject.ts";
import { readPvMsr, writePvMsr } from "./msr.ts";
import { ioplOk, portIn, portOut, stringPort } from "./ports.ts";
import * as R from "./registers.ts";
import { moveRip } from "./syscall.ts";

/** pv_emulate_privileged_op, after #GP(0). @returns false if the guest is to have the fault */
export function emulatePrivileged(vcpu: Vcpu): boolean {
  vcpu.charge("exit", COST_PV_EMULATE);
  const fetched = fetchInstruction(vcpu);
  if (fetched !== FETCHED) return fetched === FETCH_FAULT;
  const what = execute(vcpu);
  if (what === UNHANDLED) return false;
  if (what === DONE) instructionDone(vcpu, instruction.length);
  return true;
}

function fault(vcpu: Vcpu, vector: number): number {
  injectTrap(vcpu, vector, 0);
  return FAULTED;
}

/** Executes `instruction`. Only what Xen's `validate` lets through. */
function execute(vcpu: Vcpu): number {
  const ins = instruction;
  const kernel = inKernel(vcpu);
  if (ins.lock !== 0) return UNHANDLED;
  switch (ins.mn) {
    case MN.MN_CLI:
    case MN.MN_STI:
      // Nothing more: a guest's POPF could not be seen, so that half of a virtual IF would only confuse.
      return ioplOk(vcpu) ? DONE : UNHANDLED;
    case MN.MN_IN:
      return portIn(vcpu, port(vcpu, 1), ins.size[0]!);
    case MN.MN_OUT:
      return portOut(vcpu, port(vcpu, 0), ins.size[1]!);
    case MN.MN_INS:
    case MN.MN_OUTS:
      return stringPort(vcpu, ins);
    case MN.MN_CLTS:
      if (!kernel) return fault(vcpu, VEC_GP);
      vcpu.core.i32[R.CR0]! &= ~CR0_TS;
      updateMode(vcpu.core);
      return DONE;
    case MN.MN_WBINVD:
      return kernel ? DONE : fault(vcpu, VEC_GP);
    case MN.MN_MOV:
      if (!isControlMove()) return UNHANDLED;
      return kernel ? moveControl(vcpu) : fault(vcpu, VEC_GP);
    case MN.MN_RDMSR:
      return kernel ? rdmsr(vcpu) : fault(vcpu, VEC_GP);
    case MN.MN_WRMSR:
      return kernel ? wrmsr(vcpu) : fault(vcpu, VEC_GP);
    case MN.MN_RDTSC:
    case MN.MN_RDTSCP:
      return rdtsc(vcpu, kernel);
    case MN.MN_XSETBV:
      if ((vcpu.pv!.cr4 & CR4_OSXSAVE) === 0) return fault(vcpu, VEC_UD);
      return kernel ? xsetbv(vcpu) : fault(vcpu, VEC_GP);
    default:
      return UNHANDLED;
  }
}

/** Port of IN (operand 1) or OUT (operand 0): an immediate byte, or DX. */
function port(vcpu: Vcpu, operand: number): number {
  return instruction.kind[operand] === OP_IMM ? instruction.immLo & 0xff : vcpu.core.i32[R.RDX]! & 0xffff;
}

const isControlMove = (): boolean => {
  const { kind } = instruction;
  return kind[0] === OP_CR || kind[1] === OP_CR || kind[0] === OP_DR || kind[1] === OP_DR;
};

/** Low word of general register `n` as `i32` index. */
const registerAt = (n: number): number => R.RAX + n * 2;

function setRegister(vcpu: Vcpu, n: number, value: bigint): void {
  const { core } = vcpu;
  core.u64[registerAt(n) >>> 1] = is64(core) ? BigInt.asUintN(64, value) : value & 0xffff_ffffn;
}

function moveControl(vcpu: Vcpu): number {
  const { kind, reg } = instruction;
  const { core } = vcpu;
  const toControl = kind[0] === OP_CR || kind[0] === OP_DR;
  const number = reg[toControl ? 0 : 1]!;
  const gpr = reg[toControl ? 1 : 0]!;
  const isCr = kind[0] === OP_CR || kind[1] === OP_CR;
  if (!toControl) {
    const value = isCr ? readGuestCr(vcpu, number) : readGuestDr(vcpu, number);
    if (value === null) return isCr ? UNHANDLED : fault(vcpu, VEC_UD);
    setRegister(vcpu, gpr, value);
    return DONE;
  }
  const wide = core.u64[registerAt(gpr) >>> 1]!;
  const value = is64(core) ? wide : wide & 0xffff_ffffn;
  if (isCr) return writeGuestCr(vcpu, number, value);
  const rc = setDebugRegister(vcpu, number, value);
  if (rc === 0) return DONE;
  return fault(vcpu, rc === -ENODEV ? VEC_UD : VEC_GP);
}

function setEdxEax(vcpu: Vcpu, lo: number, hi: number): void {
  const i = vcpu.core.i32;
  i[R.RAX] = lo;
  i[R.RAX + 1] = 0;
  i[R.RDX] = hi;
  i[R.RDX + 1] = 0;
}

function rdmsr(vcpu: Vcpu): number {
  vcpu.charge("msr", COST_MSR);
  const value = readPvMsr(vcpu, vcpu.core.u32[R.RCX]!);
  if (value === null) return fault(vcpu, VEC_GP);
  setEdxEax(vcpu, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  return DONE;
}

function wrmsr(vcpu: Vcpu): number {
  vcpu.charge("msr", COST_MSR);
  const { u32 } = vcpu.core;
  const value = (BigInt(u32[R.RDX]!) << 32n) | BigInt(u32[R.RAX]!);
  return writePvMsr(vcpu, u32[R.RCX]!, value) ? DONE : fault(vcpu, VEC_GP);
}

/** RDTSC and RDTSCP fault where the guest has set its CR4.TSD; its kernel may go on. */
function rdtsc(vcpu: Vcpu, kernel: boolean): number {
  if ((vcpu.pv!.cr4 & CR4_TSD) !== 0 && !kernel) return fault(vcpu, VEC_GP);
  const tsc = readTsc(vcpu.core);
  setEdxEax(vcpu, lowWord(tsc), highWord(tsc));
  if (instruction.mn === MN.MN_RDTSCP) {
    vcpu.core.i32[R.RCX] = vcpu.core.i32[R.TSC_AUX]!;
    vcpu.core.i32[R.RCX + 1] = 0;
  }
  return DONE;
}

function xsetbv(vcpu: Vcpu): number {
  const { core } = vcpu;
  const i = core.i32;
  const before = core.u64[XCR0 >>> 3]!;
  if (writeXcr0(core, core.u32[R.RCX]!, i[R.RAX]!, i[R.RDX]!) === H_OK) return DONE;
  core.u64[XCR0 >>> 3] = before;
  return fault(vcpu, VEC_GP);
}

// ---- CPUID ----------------------------------------------------------------------------------------------------------------

function setCpuid(vcpu: Vcpu, forced: boolean): void {
  const { u32 } = vcpu.core;
  vcpu.charge("cpuid", COST_CPUID);
  const leaf = pvCpuid(vcpu, u32[R.RAX]!, u32[R.RCX]!, forced);
  for (const [at, value] of [
    [R.RAX, leaf.eax],
    [R.RBX, leaf.ebx],
    [R.RCX, leaf.ecx],
    [R.RDX, leaf.edx],
  ] as const) {
    u32[at] = value;
    u32[at + 1] = 0;
  }
}

/** CPUID itself, which faults into Xen. RIP is at it. */
export function emulateCpuid(vcpu: Vcpu): void {
  if (vcpu.pv!.cpuidFaulting && !inKernel(vcpu)) {
    injectTrap(vcpu, VEC_GP, 0);
    return;
  }
  setCpuid(vcpu, false);
  instructionDone(vcpu, vcpu.core.i32[EXIT_LENGTH >>> 2]!);
}

/** ud2; .ascii "xen"; cpuid: how a guest asks Xen, not the processor. */
const FORCED = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
const CPUID = [0x0f, 0xa2];
const prefix = new Uint8Array(FORCED.length);

/** emulate_forced_invalid_op, after #UD. @returns false if it is none: the guest is to have its #UD */
export function emulateForcedCpuid(vcpu: Vcpu): boolean {
  const i = vcpu.core.i32;
  const base = is64(vcpu.core) ? 0 : i[R.CS_BASE]!;
  const lo = (i[R.RIP]! + base) | 0;
  const hi = is64(vcpu.core) ? i[R.RIP + 1]! : 0;
  if (!readCode(vcpu, lo, hi, FORCED.length)) return true;
  if (FORCED.some((byte, n) => prefix[n] !== byte)) return false;
  const next = (lo + FORCED.length) | 0;
  if (!readCode(vcpu, next, next >>> 0 < FORCED.length ? (hi + 1) | 0 : hi, CPUID.length)) return true;
  if (CPUID.some((byte, n) => prefix[n] !== byte)) return false;
  vcpu.charge("exit", COST_PV_EMULATE);
  if (vcpu.pv!.cpuidFaulting && !inKernel(vcpu)) {
    moveRip(vcpu, FORCED.length);
    injectTrap(vcpu, VEC_GP, 0);
    return true;
  }
  setCpuid(vcpu, true);
  instructionDone(vcpu, FORCED.length + CPUID.length);
  return true;
}

function readCode(vcpu: Vcpu, lo: number, hi: number, count: number): boolean {
  if (readGuestBytes(vcpu, lo, hi, prefix, count)) return true;
  injectPageFault(vcpu, failed.lo, failed.hi, 0);
  return false;
}
