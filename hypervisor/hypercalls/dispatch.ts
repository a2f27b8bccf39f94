/**
 * Hypercalls: from the registers of a VMCALL or VMMCALL to a handler, and the result back into RAX.
 *
 * A handler gets the calling vcpu (active, current) and six arguments. It answers with a number: the result, a negated
 * errno, or RESTART after `restart(...)`, which makes the guest execute the same instruction again with changed arguments: how long
 * operations are cut into pieces that events can come between.
 */
import { CPL, S_R8, S_RAX, S_RBP, S_RBX, S_RCX, S_RDI, S_RDX, S_RSI, SLOTS } from "../../cpu/arena.ts";
import { ENOSYS, EPERM } from "../abi/errno.ts";
import { NR_HYPERCALLS } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_HYPERCALL } from "./costs.ts";

/**
 * `args` are the six argument registers, unsigned (32 bits wide for a 32-bit caller); `compat` says that structures have their 32-bit
 * layout and handles are 32 bits wide.
 */
export type HypercallHandler = (vcpu: Vcpu, args: readonly bigint[], compat: boolean) => number;

/** A handler's answer after `restart`. Not a number that a hypercall can return. */
export const RESTART: number = Number.MIN_SAFE_INTEGER;

const HANDLERS: (HypercallHandler | null)[] = new Array<HypercallHandler | null>(NR_HYPERCALLS).fill(null);

/** Called by the modules that implement hypercalls, once each, when they are loaded. */
export function defineHypercall(number: number, handler: HypercallHandler): void {
  if (HANDLERS[number] !== null) throw new Error(`hypercall ${number} is defined twice`);
  HANDLERS[number] = handler;
}

const S_R9 = S_R8 + 8;
const S_R10 = S_R8 + 16;
const ARGS_64 = [S_RDI, S_RSI, S_RDX, S_R10, S_R8, S_R9] as const;
const ARGS_32 = [S_RBX, S_RCX, S_RDX, S_RSI, S_RDI, S_RBP] as const;
const U32 = 0xffff_ffffn;

/** Arguments for the next execution of the running hypercall, set by `restart`. */
let restarted: readonly bigint[] | null = null;

/** `return restart(...)`: the hypercall has done a part; the guest calls again with these arguments. */
export function restart(...args: bigint[]): number {
  restarted = args;
  return RESTART;
}

/** What `restart` asked for; for those who call handlers themselves (multicall). */
export function takeRestart(): readonly bigint[] {
  const args = restarted ?? [];
  restarted = null;
  return args;
}

/** Calls the handler of `number` and counts it. @returns -ENOSYS for a number without one. */
export function callHypercall(vcpu: Vcpu, number: number, args: readonly bigint[], compat: boolean): number {
  const handler = number < NR_HYPERCALLS ? HANDLERS[number]! : null;
  const counts = vcpu.domain.hypercallCounts;
  counts[Math.min(number, NR_HYPERCALLS)]!++;
  if (handler === null) return -ENOSYS;
  return handler(vcpu, args, compat);
}

/**
 * The guest executed VMCALL/VMMCALL. The caller has charged the exit and moves RIP past the instruction if this answers true;
 * false: it is to be executed again.
 */
export function dispatchHypercall(vcpu: Vcpu): boolean {
  const core = vcpu.core;
  const long = vcpu.in64BitCode();
  vcpu.charge("hypercall", COST_HYPERCALL);
  // Ring 0 only (hvm_hypercall: "case 8/4 ... if cpl == 3 -EPERM").
  if (core.i32[CPL >>> 2] !== 0) {
    setResult(vcpu, -EPERM, long);
    return true;
  }
  const slots = long ? ARGS_64 : ARGS_32;
  const args = slots.map((slot) => (long ? core.slot(slot) : core.slot(slot) & U32));
  const rax = core.u64[(SLOTS + S_RAX) >>> 3]!;
  const wide = long ? rax : rax & U32;
  const number = wide < BigInt(NR_HYPERCALLS) ? Number(wide) : NR_HYPERCALLS;
  const result = callHypercall(vcpu, number, args, !long);
  if (result === RESTART) {
    takeRestart().forEach((value, i) => {
      core.setSlot(slots[i]!, long ? value : value & U32);
    });
    return false;
  }
  setResult(vcpu, result, long);
  return true;
}

function setResult(vcpu: Vcpu, result: number, long: boolean): void {
  const value = BigInt(result);
  vcpu.core.setSlot(S_RAX, long ? value : value & U32);
}
