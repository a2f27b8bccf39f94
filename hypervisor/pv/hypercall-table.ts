/**
 * The hypercalls of PV guests. Their arguments are words, not BigInts: `args[2 * n]` is the low and `args[2 * n + 1]` the high word of
 * argument n (0 for a 32-bit caller), so that the frequent ones allocate nothing. What a PV guest shares with HVM guests, and is not
 * frequent, is defined once in hypercalls/ and called through here.
 */
import { NR_HYPERCALLS } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { callHypercall, RESTART, takeRestart } from "../hypercalls/dispatch.ts";

/** Words of the six arguments. */
export const ARG_WORDS = 12;

/**
 * A hypercall by words. Answers a result (a number of at most 53 bits), a negated errno, or RESTART, which makes the guest
 * execute the instruction again with what the handler left in `args`.
 */
export type PvHypercall = (vcpu: Vcpu, args: Int32Array, compat: boolean) => number;

/** A handler's answer that has loaded all registers itself (iret). Not a number that a hypercall can return. */
export const KEEP_REGISTERS: number = Number.MIN_SAFE_INTEGER + 1;

/** A handler's answer that it leaves to the common one of that number; it has done nothing. */
export const COMMON: number = Number.MIN_SAFE_INTEGER + 2;

const TABLE: (PvHypercall | null)[] = new Array<PvHypercall | null>(NR_HYPERCALLS).fill(null);

/** Called by the modules that implement hypercalls of PV guests, once each, when they are loaded. It goes before a common handler. */
export function definePvHypercall(number: number, handler: PvHypercall): void {
  if (TABLE[number] !== null) throw new Error(`PV hypercall ${number} is defined twice`);
  TABLE[number] = handler;
}

/** An argument as unsigned 64-bit value, for what is not frequent. */
export const argument = (args: Int32Array, n: number): bigint =>
  (BigInt(args[2 * n + 1]! >>> 0) << 32n) | BigInt(args[2 * n]! >>> 0);

/** Sets argument `n`, before RESTART. */
export function setArgument(args: Int32Array, n: number, value: bigint): void {
  args[2 * n] = Number(BigInt.asIntN(32, value));
  args[2 * n + 1] = Number(BigInt.asIntN(32, value >> 32n));
}

/** Calls hypercall `number` (NR_HYPERCALLS for one that can't exist) and counts it. @returns as PvHypercall. */
export function callPvHypercall(vcpu: Vcpu, number: number, args: Int32Array, compat: boolean): number {
  const handler = number < NR_HYPERCALLS ? TABLE[number]! : null;
  if (handler !== null) {
    const result = handler(vcpu, args, compat);
    if (result !== COMMON) {
      vcpu.domain.hypercallCounts[number]!++;
      return result;
    }
  }
  const wide = Array.from({ length: ARG_WORDS / 2 }, (_, n) => argument(args, n));
  const result = callHypercall(vcpu, number, wide, compat);
  if (result === RESTART)
    takeRestart().forEach((value, n) => {
      setArgument(args, n, value);
    });
  return result;
}
