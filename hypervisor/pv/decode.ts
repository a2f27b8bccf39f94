/** The instruction at which a PV vcpu has faulted, fetched through the guest's own code segment and decoded. */
import { decode } from "../../cpu/decode/decoder.ts";
import { DECODE_MORE, DECODE_OK, Instruction } from "../../cpu/decode/instruction.ts";
import { is64 } from "../../cpu/system/bits.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { addressOk, failed, guestByte, readGuestBytes } from "./guest-words.ts";
import { injectPageFault } from "./inject.ts";
import * as R from "./registers.ts";

const MAX_LENGTH = 15;
const WORDS = 4;
const PAGE = 4096;
/** Code segment: default size. */
const ATTR_DB = 0x4000;

/**
 * A decoded instruction with the bytes that it has been decoded from. A kernel that polls a port faults at the same few instructions
 * again and again: what was decoded is kept, by the address, and holds as long as the bytes are the same.
 */
class Decoded {
  readonly instruction: Instruction = new Instruction();
  /** Its bytes as words, zeros behind them. */
  readonly words: Int32Array = new Int32Array(WORDS);
  /** Of `instruction`, which its executor may change; 0 if there is none. */
  length = 0;

  /** True if `words`, of which the first `count` bytes have been read, are this instruction in `mode`: it is ready to be executed. */
  holds(mode: number, count: number): boolean {
    const known = this.words;
    const { instruction: ins, length } = this;
    if (length === 0 || length > count || ins.mode !== mode) return false;
    for (let n = 0; n < WORDS; n++) if (known[n] !== words[n]) return false;
    ins.length = length;
    return true;
  }
  /** `instruction` has just been decoded from `words`. */
  keep(): void {
    for (let n = 0; n < WORDS; n++) this.words[n] = words[n]!;
    this.length = this.instruction.length;
  }
}
const KEPT = 16;
const kept: Decoded[] = Array.from({ length: KEPT }, () => new Decoded());

/** The decoded instruction. */
export let instruction: Instruction = kept[0]!.instruction;
const words = new Int32Array(WORDS);
const bytes = new Uint8Array(words.buffer);

export const FETCHED = 0;
/** It is none that could be decoded. */
export const NOT_DECODED = 1;
/** Fetching it faults: the fault waits to be bounced. */
export const FETCH_FAULT = 2;

/** Decodes the instruction at RIP into `instruction`. @returns FETCHED, NOT_DECODED, FETCH_FAULT */
export function fetchInstruction(vcpu: Vcpu): number {
  const core = vcpu.core;
  const i = core.i32;
  const long = is64(core);
  const cs = R.CS + 2;
  const base = long ? 0 : i[R.CS_BASE]!;
  const lo = (i[R.RIP]! + base) | 0;
  const hi = long ? i[R.RIP + 1]! : 0;
  const mode = long ? 64 : i[R.CS_ATTR]! & ATTR_DB ? 32 : 16;
  // As much as the page has, and more only if the instruction goes on.
  let count = Math.min(MAX_LENGTH, PAGE - (lo & (PAGE - 1)));
  if (!long) count = Math.min(count, (i[cs]! >>> 0) - (i[R.RIP]! >>> 0) + 1);
  if (count <= 0) return NOT_DECODED;
  const at = kept[lo & (KEPT - 1)]!;
  instruction = at.instruction;
  for (let n = 0; n < WORDS; n++) words[n] = 0;
  if (!readGuestBytes(vcpu, lo, hi, bytes, count)) return fault(vcpu);
  if (at.holds(mode, count)) return FETCHED;
  at.length = 0;
  let status = decode(instruction, bytes, 0, count, mode);
  if (status === DECODE_OK) at.keep();
  else if (status === DECODE_MORE && count < MAX_LENGTH) {
    const next = ((lo | (PAGE - 1)) + 1) | 0;
    if (guestByte(vcpu, next, next === 0 ? (hi + 1) | 0 : hi, false) < 0) {
      failed.lo = next;
      failed.hi = next === 0 ? (hi + 1) | 0 : hi;
      return fault(vcpu);
    }
    if (!readGuestBytes(vcpu, lo, hi, bytes, MAX_LENGTH)) return fault(vcpu);
    status = decode(instruction, bytes, 0, MAX_LENGTH, mode);
  }
  return status === DECODE_OK ? FETCHED : NOT_DECODED;
}

function fault(vcpu: Vcpu): number {
  // pv_emul_virt_to_linear: outside of what a guest may address the #GP stays a #GP.
  if (!addressOk(vcpu, failed.lo, failed.hi)) return NOT_DECODED;
  injectPageFault(vcpu, failed.lo, failed.hi, 0);
  return FETCH_FAULT;
}
