/**
 * What the reference evaluator works on: operands of a micro-op record, slots, flags and memory, each as plain values
 * (bigint, boolean). Written from uops/uop.ts and the SDM, not from the emitters, so that it can judge them.
 */
import * as A from "../arena.ts";
import type { Core } from "../core.ts";
import {
  FLAG_AF,
  FLAG_CF,
  FLAG_OF,
  FLAG_PF,
  FLAG_SF,
  FLAG_ZF,
  FLAGS_ARITHMETIC,
  getFlags,
  setArithmeticFlags,
} from "../flags.ts";
import { readSlow, rmwSlow, writeSlow } from "../mmu/access.ts";
import { C_SCALE_MASK, H_OK } from "../uops/uop.ts";

/** One micro-op: does it, and returns an H_* code. */
export type Evaluate = (m: State, u: number) => number;
export type EvaluateTable = (Evaluate | undefined)[];

/** Fills the four sizes of a family from size index `from`. */
export function family(
  table: EvaluateTable,
  kind: number,
  from: number,
  evaluate: (m: State, u: number, sz: number) => number,
): void {
  for (let sz = from; sz < 4; sz++) table[kind + sz] = (m, u) => evaluate(m, u, sz);
}

export const bitsOf = (sz: number): number => 8 << sz;
export const bytesOf = (sz: number): number => 1 << sz;
/** The low `bits` bits of `value`, unsigned and signed. */
export const low = (bits: number, value: bigint): bigint => BigInt.asUintN(bits, value);
export const signed = (bits: number, value: bigint): bigint => BigInt.asIntN(bits, value);
export const bit = (value: bigint, n: number): boolean => ((value >> BigInt(n)) & 1n) === 1n;

/** True for an even number of ones in the low byte. */
export function evenParity(value: bigint): boolean {
  let even = true;
  for (let byte = Number(value & 0xffn); byte !== 0; byte >>= 1) if (byte & 1) even = !even;
  return even;
}

/** Arithmetic flags to change; what is absent stays. */
export interface Flags {
  cf?: boolean;
  pf?: boolean;
  af?: boolean;
  zf?: boolean;
  sf?: boolean;
  of?: boolean;
}

const MASKS: readonly (readonly [keyof Flags, number])[] = [
  ["cf", FLAG_CF],
  ["pf", FLAG_PF],
  ["af", FLAG_AF],
  ["zf", FLAG_ZF],
  ["sf", FLAG_SF],
  ["of", FLAG_OF],
];

export class State {
  readonly core: Core;
  /** What the last successful `load` read, zero-extended; loads of 16 and 32 bytes are as wide. */
  loaded = 0n;

  constructor(core: Core) {
    this.core = core;
  }

  // ---- fields of the record -------------------------------------------------------------------------------------------
  d(u: number): number {
    return this.core.u8[u + 2]!;
  }
  a(u: number): number {
    return this.core.u8[u + 3]!;
  }
  b(u: number): number {
    return this.core.u8[u + 4]!;
  }
  c(u: number): number {
    return this.core.u8[u + 7]!;
  }
  disp(u: number): bigint {
    return BigInt(this.core.i32[(u + 8) >>> 2]!);
  }
  imm(u: number): bigint {
    return BigInt(this.core.i32[(u + 12) >>> 2]!);
  }
  /** disp and imm as one 64-bit immediate. */
  imm64(u: number): bigint {
    return (low(32, this.imm(u)) << 32n) | low(32, this.disp(u));
  }

  // ---- slots ------------------------------------------------------------------------------------------------------------
  /** The low `8 << sz` bits of a slot; an odd slot number is the second byte of its register. */
  get(slot: number, sz: number): bigint {
    const whole = this.core.u64[(A.SLOTS + (slot & ~7)) >>> 3]!;
    return low(bitsOf(sz), whole >> BigInt((slot & 7) * 8));
  }

  /** 8 and 16 bits merge into the slot, 32 bits zero-extend, 64 bits replace. */
  set(slot: number, sz: number, value: bigint): void {
    const at = (A.SLOTS + (slot & ~7)) >>> 3;
    const bits = bitsOf(sz);
    if (sz >= 2) {
      this.core.u64[at] = low(bits, value);
      return;
    }
    const shift = BigInt((slot & 7) * 8);
    const mask = ((1n << BigInt(bits)) - 1n) << shift;
    this.core.u64[at] = (this.core.u64[at]! & ~mask) | (low(bits, value) << shift);
  }

  /** A vector register as 128 bits. */
  vector(n: number): bigint {
    const at = (A.XMM + n * A.XMM_STRIDE) >>> 3;
    return (this.core.u64[at + 1]! << 64n) | this.core.u64[at]!;
  }
  /** A YMM register or temporary as 256 bits. */
  vector256(n: number): bigint {
    return (this.vector(n + A.YMM_UPPER) << 128n) | this.vector(n);
  }
  setVector(n: number, value: bigint): void {
    const at = (A.XMM + n * A.XMM_STRIDE) >>> 3;
    this.core.u64[at] = low(64, value);
    this.core.u64[at + 1] = low(64, value >> 64n);
  }

  // ---- flags ------------------------------------------------------------------------------------------------------------
  flags(): number {
    return getFlags(this.core);
  }
  get carry(): boolean {
    return (this.flags() & FLAG_CF) !== 0;
  }
  setFlags(change: Flags): void {
    let flags = this.flags() & FLAGS_ARITHMETIC;
    for (const [name, mask] of MASKS) {
      const value = change[name];
      if (value !== undefined) flags = value ? flags | mask : flags & ~mask;
    }
    setArithmeticFlags(this.core, flags);
  }
  /** ZF, SF and PF of a result of `bits` bits, with the other flags given. */
  setResult(bits: number, result: bigint, others: Flags): void {
    const r = low(bits, result);
    others.zf = r === 0n;
    others.sf = r >> BigInt(bits - 1) !== 0n;
    others.pf = evenParity(r);
    this.setFlags(others);
  }

  /** Condition 0..15 of Jcc, SETcc, CMOVcc (SDM volume 1, appendix B). */
  condition(cc: number): boolean {
    const f = this.flags();
    const has = (mask: number): boolean => (f & mask) !== 0;
    const less = has(FLAG_SF) !== has(FLAG_OF);
    const even = [
      has(FLAG_OF),
      has(FLAG_CF),
      has(FLAG_ZF),
      has(FLAG_CF) || has(FLAG_ZF),
      has(FLAG_SF),
      has(FLAG_PF),
      less,
      less || has(FLAG_ZF),
    ];
    return even[cc >> 1]! !== ((cc & 1) === 1);
  }

  // ---- memory -----------------------------------------------------------------------------------------------------------
  /** The linear address of the memory operand. */
  address(u: number): bigint {
    return low(64, this.effective(u) + this.get(this.core.u8[u + 5]!, 3));
  }
  /** The same without the segment base. */
  effective(u: number): bigint {
    const index = this.get(this.b(u), 3) << BigInt(this.c(u) & C_SCALE_MASK);
    return low(64, this.get(this.a(u), 3) + index + this.disp(u));
  }

  /**
   * Arena address of `bytes` at linear address `linear` if the soft TLB maps them for reading (A.TLB_READ) or writing
   * (A.TLB_WRITE), else -1. Bytes on two pages are never mapped.
   */
  private probe(linear: bigint, bytes: number, tag: number): number {
    const { i32, u64 } = this.core;
    const index = Number((linear >> 12n) % BigInt(A.TLB_ENTRIES));
    const entry = i32[A.TLB_BASE >>> 2]! + (index << A.TLB_ENTRY_SHIFT);
    const lastPage = low(64, linear + BigInt(bytes - 1)) & ~0xfffn;
    if (u64[(entry + tag) >>> 3] !== (lastPage | BigInt(i32[A.TLB_CTX >>> 2]!))) return -1;
    return (Number(linear & 0xffffffffn) + i32[(entry + A.TLB_ADDEND) >>> 2]!) >>> 0;
  }

  /** Loads `bytes` (1..32) into `loaded`; `write`: the load of a read-modify-write. @returns an H_* code */
  load(u: number, linear: bigint, bytes: number, write = false): number {
    let at = this.probe(linear, bytes, write ? A.TLB_WRITE : A.TLB_READ);
    if (at < 0) {
      const lo = Number(signed(32, linear));
      const hi = Number(signed(32, linear >> 32n));
      const status = (write ? rmwSlow : readSlow)(this.core, lo, hi, bytes, u);
      if (status !== H_OK) return status;
      at = A.BUS_DATA;
    }
    let value = 0n;
    for (let k = bytes - 1; k >= 0; k--) value = (value << 8n) | BigInt(this.core.u8[at + k]!);
    this.loaded = value;
    return H_OK;
  }

  /** Stores the low `bytes` bytes of `value`. @returns an H_* code */
  store(u: number, linear: bigint, bytes: number, value: bigint): number {
    const hit = this.probe(linear, bytes, A.TLB_WRITE);
    const at = hit < 0 ? A.BUS_DATA : hit;
    for (let k = 0; k < bytes; k++) this.core.u8[at + k] = Number((value >> BigInt(8 * k)) & 0xffn);
    if (hit >= 0) return H_OK;
    return writeSlow(this.core, Number(signed(32, linear)), Number(signed(32, linear >> 32n)), bytes, u);
  }
}
