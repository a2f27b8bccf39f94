// Random cases for the oracle, one instruction each, and the comparison of what came out.
import { SSE_TABLE } from "../../../cpu/fpu/sse-table.ts";
import { x87Entry } from "../../../cpu/fpu/x87-table.ts";
import {
  type Case,
  getST,
  IMAGE,
  MEMORY,
  MXCSR_AT,
  newCase,
  RAX,
  RFLAGS,
  setControl,
  setST,
  TRAPPED,
  XMM0,
  XMM1,
} from "./oracle.ts";
import { type Random, randomF32, randomF64, randomF80 } from "./random.ts";
import { encode } from "./sse-encodings.ts";

export interface X87Form {
  readonly opcode: number;
  readonly modrm: number;
}

export interface SseForm {
  readonly name: string;
  readonly wide: boolean;
}

/** Every x87 form that the model has: memory forms at [rdi], register forms with ST(1) or as the encoding says. */
export function x87Forms(): X87Form[] {
  const forms: X87Form[] = [];
  for (let opcode = 0xd8; opcode <= 0xdf; opcode++) {
    for (let reg = 0; reg < 8; reg++) forms.push({ opcode, modrm: reg * 8 + 7 });
    for (let modrm = 0xc0; modrm < 0x100; modrm++) forms.push({ opcode, modrm });
  }
  // Of the eight ST(i) of a row two are enough: the row's first and ST(1).
  const same = (a: X87Form, b: X87Form): boolean =>
    x87Entry(a.opcode, a.modrm)?.operation === x87Entry(b.opcode, b.modrm)?.operation;
  return forms.filter(
    (form) =>
      x87Entry(form.opcode, form.modrm) !== undefined &&
      (form.modrm < 0xc0 || (form.modrm & 7) < 2 || !same(form, { ...form, modrm: form.modrm & ~7 })),
  );
}

export function x87Case(r: Random, { opcode, modrm }: X87Form): Case {
  const view = newCase([opcode, modrm]);
  const masks = r.below(2) ? 0x3f : r.below(64);
  const cw = 0x40 | (r.below(4) << 10) | (r.pick([0, 2, 3]) << 8) | masks;
  let tw = 0;
  const sparsity = r.below(2) ? 8 : 2;
  for (let k = 0; k < 8; k++) if (r.below(sparsity) === 0) tw |= 3 << (2 * k);
  const top = r.below(8);
  if (r.below(3)) {
    tw &= ~(3 << (top * 2)) & ~(3 << (((top + 1) & 7) * 2));
    tw |= 3 << (((top + 7) & 7) * 2);
  }
  setControl(view, cw, (top << 11) | (r.next() & 0x4700), tw);
  for (let k = 0; k < 8; k++) setST(view, k, randomF80(r));
  if (r.below(3) === 0) {
    // Near-equal operands: cancellation, comparisons.
    const near = (getST(view, 0) ^ (BigInt(r.below(2)) << 79n)) + BigInt(r.below(3));
    setST(view, 1, BigInt.asUintN(80, near));
  }
  const entry = x87Entry(opcode, modrm);
  const size = entry?.size ?? 0;
  if (size > 0 && r.below(3)) {
    // In or near the range of the format that a store converts to.
    const spread = r.pick([1100, 140, 66]);
    const exponent = 16383 + (spread === 66 ? r.below(66) : r.below(2 * spread) - spread);
    const low = (1n << BigInt(r.below(63))) - 1n;
    setST(view, 0, (BigInt((r.below(2) << 15) | exponent) << 64n) | (1n << 63n) | (r.bits(63) & ~low));
  }
  view.setBigUint64(MEMORY, r.bits(64), true);
  if (size === 4 && (opcode === 0xd8 || opcode === 0xd9)) view.setUint32(MEMORY, randomF32(r), true);
  else if (size === 8 && opcode !== 0xdf) view.setBigUint64(MEMORY, randomF64(r), true);
  else if (size === 10) {
    const bits = randomF80(r);
    view.setBigUint64(MEMORY, BigInt.asUintN(64, bits), true);
    view.setUint16(MEMORY + 8, Number(bits >> 64n), true);
    if (opcode === 0xdf) for (let k = 0; k < 9; k++) view.setUint8(MEMORY + k, r.below(10) * 16 + r.below(10));
  }
  view.setBigUint64(RFLAGS, BigInt(0x202 | (r.next() & 0x8d5)), true);
  return view;
}

export function sseForms(): SseForm[] {
  const forms: SseForm[] = [];
  for (const [name, entry] of SSE_TABLE) {
    if (name.startsWith("V")) continue;
    forms.push({ name, wide: false });
    if (entry.wide !== null) forms.push({ name, wide: true });
  }
  return forms;
}

const TO_INTEGERS = /2SI|2DQ|2PI|^ROUND/;
const SINGLES = /^CVTT?[SP]S2|(?<!2)[PS]S$/;

export function sseCase(r: Random, { name, wide }: SseForm): { view: Case; imm: number } {
  const imm = name.startsWith("CMP") ? r.below(8) : name.startsWith("ROUND") ? r.below(16) : r.below(256);
  const view = newCase(encode(name, wide, imm));
  const singles = SINGLES.test(name);
  for (let at = XMM0; at < XMM0 + 32; at += 8) {
    if (/DQ2/.test(name)) view.setBigUint64(at, r.bits(64), true);
    else if (TO_INTEGERS.test(name) && r.below(2)) {
      if (singles) view.setFloat32(at, (r.next() / 256 - 2 ** 23) * 2 ** (r.below(60) - 32), true);
      else view.setFloat64(at, (r.next() - 2 ** 31) * 2 ** (r.below(70) - 35), true);
    } else if (singles) {
      view.setUint32(at, randomF32(r), true);
      view.setUint32(at + 4, randomF32(r), true);
    } else view.setBigUint64(at, randomF64(r), true);
  }
  if (r.below(4) === 0) view.setBigUint64(XMM1, view.getBigUint64(XMM0, true), true);
  view.setBigUint64(RAX, BigInt.asUintN(64, BigInt.asIntN(64, r.bits(64)) >> BigInt(r.below(64))), true);
  const masks = r.below(2) ? 0x1f80 : r.below(64) << 7;
  const special = (r.below(4) === 0 ? 0x8000 : 0) | (r.below(4) === 0 ? 0x40 : 0);
  const mxcsr = (r.below(4) << 13) | special | masks | (r.below(2) ? r.below(64) : 0);
  // One in three takes the fast path.
  view.setUint32(MXCSR_AT, r.below(3) === 0 ? 0x1fa0 : mxcsr, true);
  for (let k = 0; k < 8; k++) setST(view, k, (0xffffn << 64n) | r.bits(64));
  setControl(view, 0x37f, 0, 0);
  view.setBigUint64(RFLAGS, BigInt(0x202 | (r.next() & 0x8d5)), true);
  return { view, imm };
}

const hex = (value: number | bigint): string => value.toString(16);

/** Consecutive numbers for consecutive values of one sign: the integer bit adds nothing to the exponent. */
function ordinal(bits: bigint): bigint {
  return ((bits >> 64n) << 63n) | (bits & 0x7fff_ffff_ffff_ffffn);
}

/** Differences of the x87 state, memory, flags and RAX; `ulps` is the tolerance of results, for transcendentals. */
export function differX87(cpu: Case, model: Case, ulps: number): string[] {
  const found: string[] = [];
  // An inexact transcendental may be rounded the other way, and report it in C1.
  const ignored = ulps > 0 ? 0x200 : 0;
  const words = [
    ["control", IMAGE, 0],
    ["status", IMAGE + 4, ignored],
    ["tags", IMAGE + 8, 0],
  ] as const;
  for (const [name, at, mask] of words) {
    const x = cpu.getUint16(at, true) & ~mask;
    const y = model.getUint16(at, true) & ~mask;
    if (x !== y) found.push(`${name}: processor ${hex(x)}, model ${hex(y)}`);
  }
  for (let k = 0; k < 8; k++) {
    const x = getST(cpu, k);
    const y = getST(model, k);
    const distance = ordinal(x) - ordinal(y);
    if (x !== y && (distance > BigInt(ulps) || distance < -BigInt(ulps)))
      found.push(`st(${k}): processor ${hex(x)}, model ${hex(y)}`);
  }
  for (let at = MEMORY; at < MEMORY + 16; at++) {
    if (cpu.getUint8(at) !== model.getUint8(at)) {
      found.push(
        `memory: processor ${hex(cpu.getBigUint64(MEMORY, true))}, model ${hex(model.getBigUint64(MEMORY, true))}`,
      );
      break;
    }
  }
  return [...found, ...differGeneral(cpu, model)];
}

function differGeneral(cpu: Case, model: Case): string[] {
  const found: string[] = [];
  const x = cpu.getBigUint64(RFLAGS, true) & 0x8d5n;
  const y = model.getBigUint64(RFLAGS, true) & 0x8d5n;
  if (x !== y) found.push(`flags: processor ${hex(x)}, model ${hex(y)}`);
  const a = cpu.getBigUint64(RAX, true);
  const b = model.getBigUint64(RAX, true);
  if (a !== b) found.push(`rax: processor ${hex(a)}, model ${hex(b)}`);
  return found;
}

export function differSse(cpu: Case, model: Case): string[] {
  const found = differGeneral(cpu, model);
  const trapped = [cpu.getUint32(TRAPPED, true), model.getUint32(TRAPPED, true)] as const;
  if (trapped[0] !== trapped[1]) found.push(`trap: processor ${trapped[0]}, model ${trapped[1]}`);
  const status = [cpu.getUint32(MXCSR_AT, true), model.getUint32(MXCSR_AT, true)] as const;
  if (status[0] !== status[1]) found.push(`mxcsr: processor ${hex(status[0])}, model ${hex(status[1])}`);
  for (let at = XMM0; at < XMM0 + 16; at += 8) {
    const x = cpu.getBigUint64(at, true);
    const y = model.getBigUint64(at, true);
    if (x !== y) found.push(`xmm0+${at - XMM0}: processor ${hex(x)}, model ${hex(y)}`);
  }
  // mm0, the only MMX destination.
  const x = getST(cpu, 0) & 0xffff_ffff_ffff_ffffn;
  const y = getST(model, 0) & 0xffff_ffff_ffff_ffffn;
  if (x !== y) found.push(`mm0: processor ${hex(x)}, model ${hex(y)}`);
  return found;
}

/** The input of a case, for messages. */
export function describeCase(view: Case): string {
  const bytes = Array.from({ length: view.getUint32(0, true) }, (_, i) => hex(view.getUint8(8 + i)));
  const words = [IMAGE, IMAGE + 4, IMAGE + 8].map((at) => hex(view.getUint16(at, true)));
  const vectors = [XMM0, XMM1].map(
    (at) => `${hex(view.getBigUint64(at + 8, true))}_${hex(view.getBigUint64(at, true))}`,
  );
  return `${bytes.join(" ")} cw/sw/tw ${words.join("/")} st0 ${hex(getST(view, 0))} st1 ${hex(getST(view, 1))} memory ${hex(view.getBigUint64(MEMORY, true))} mxcsr ${hex(view.getUint32(MXCSR_AT, true))} xmm ${vectors.join(" ")}`;
}

/** Whether the result may be off by one unit in the last place. */
export function isTranscendental({ opcode, modrm }: X87Form): boolean {
  return opcode === 0xd9 && [0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff].includes(modrm);
}
