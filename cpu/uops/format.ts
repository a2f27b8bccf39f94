/** Micro-ops as text, for tests and debugging: `alu.add.rm64 rax, [rbx+8]`. */
import { S_CSBASE, S_FSBASE, S_GSBASE, S_RIPBASE, S_SEGBASE, S_T0, S_ZERO } from "../arena.ts";
import type { Core } from "../core.ts";
import { HELPER_NAMES } from "./helpers.ts";
import * as U from "./uop.ts";

const REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 t0 t1 t2 t3 t4 t5 t6 t7".split(" ");
const NAMED_SLOTS: ReadonlyMap<number, string> = new Map([
  [S_ZERO, "0"],
  [S_SEGBASE, "es"],
  [S_CSBASE, "cs"],
  [S_SEGBASE + 16, "ss"],
  [S_SEGBASE + 24, "ds"],
  [S_FSBASE, "fs"],
  [S_GSBASE, "gs"],
  [S_RIPBASE, "ripbase"],
]);

/** Name of a slot; an odd one is the second byte of its register. */
export function slotName(slot: number): string {
  const whole = slot & ~7;
  const name = whole <= S_T0 + 56 ? REGISTERS[whole >> 3]! : (NAMED_SLOTS.get(whole) ?? `slot${whole}`);
  return slot & 1 ? `${name}.h` : name;
}

const ALU_NAMES = "add or adc sbb and sub xor cmp test".split(" ");
const FORM_NAMES = "rr ri rm mr mi".split(" ");

/** Name of each kind, from the constants of uop.ts: a family of four gets its size in bits behind the name. */
export const UOP_NAMES: readonly string[] = buildNames();

function buildNames(): string[] {
  const bases = Object.entries(U)
    .filter((entry): entry is [string, number] => entry[0].startsWith("U_") && typeof entry[1] === "number")
    .filter(([name]) => name !== "U_KINDS" && name !== "U_FIRST_TERMINAL")
    .sort((a, b) => a[1] - b[1]);
  const names: string[] = [];
  bases.forEach(([constant, base], i) => {
    const end = bases[i + 1]?.[1] ?? U.U_KINDS;
    const stem = constant.slice(2).toLowerCase();
    for (let kind = base; kind < end; kind++) names[kind] = nameOf(base, kind - base, end - base, stem);
  });
  return names;
}

function nameOf(base: number, index: number, count: number, stem: string): string {
  if (base === U.U_ALU)
    return `${ALU_NAMES[Math.trunc(index / 20)]}.${FORM_NAMES[Math.trunc(index / 4) % 5]}${8 << (index & 3)}`;
  if (base === U.U_V) return `v.${U.V_OPS[index]}`;
  if (base === U.U_VSHIFT_I || base === U.U_VSHIFT_R)
    return `vp${U.V_SHIFTS[index]}_${base === U.U_VSHIFT_I ? "i" : "r"}`;
  if (base === U.U_VWIDEN) return `vpmov${U.V_WIDEN[index]}`;
  if (base === U.U_X87) return `x87.${U.X87_OPS[index]}`;
  if (base === U.U_JCC) return `j${U.CONDITION_NAMES[index]}`;
  return count === 4 ? `${stem}${8 << index}` : stem;
}

function hex(value: number): string {
  return value < 0 ? `-${hex(-value)}` : value < 10 ? `${value}` : `0x${value.toString(16)}`;
}

/** The memory operand of the record at `at`, as far as it has one. */
function formatMemory(core: Core, at: number): string {
  const { u8, i32 } = core;
  const c = u8[at + 7]!;
  const parts: string[] = [];
  if (u8[at + 3] !== S_ZERO) parts.push(slotName(u8[at + 3]!));
  if (u8[at + 4] !== S_ZERO) parts.push(`${slotName(u8[at + 4]!)}*${1 << (c & U.C_SCALE_MASK)}`);
  const disp = i32[(at + 8) >>> 2]!;
  if (disp !== 0 || parts.length === 0) parts.push(hex(disp));
  const segment = u8[at + 5] === S_ZERO ? "" : `${slotName(u8[at + 5]!)}:`;
  return `${segment}[${parts.join("+").replaceAll("+-", "-")}]${c & U.C_STACK ? " stack" : ""}`;
}

const MEMORY_STEM = /^(\w+\.(rm|mr|mi)|load|store|xchg_rm|(inc|dec|neg|not)_m|vload|vstore|lea\d|ea16)/;
const IMMEDIATE_STEM = /^(\w+\.(ri|mi)|mov_ri|storei|\w+_i\d|imul_rri|pushi64|vsh|vsar|vbyte|vshufd)/;

/** The micro-op at arena address `at`. */
export function formatUop(core: Core, at: number): string {
  const { u8, u16, i32 } = core;
  const kind = u16[at >>> 1]!;
  const name = UOP_NAMES[kind] ?? `kind${kind}`;
  const disp = i32[(at + 8) >>> 2]!;
  const imm = i32[(at + 12) >>> 2]!;
  const [d, a, b, c] = [u8[at + 2]!, u8[at + 3]!, u8[at + 4]!, u8[at + 7]!];
  if (kind >= U.U_HELPER_END) return `${name} "${HELPER_NAMES[imm]}" d=${d} a=${a} b=${b} c=${c} disp=${hex(disp)}`;
  if (kind === U.U_HELPER)
    return `${name} "${HELPER_NAMES[imm]}" d=${slotName(d)} a=${slotName(a)} b=${slotName(b)} c=${c} disp=${hex(disp)}`;
  if (kind >= U.U_FIRST_TERMINAL) return `${name} a=${slotName(a)} b=${b} c=${c} disp=${hex(disp)} imm=${hex(imm)}`;
  if (kind === U.U_MOV_RI + 3) return `${name} ${slotName(d)}, ${hex(imm)}:${hex(disp)}`;
  const vector = name.startsWith("v");
  const operands: string[] = [vector ? `v${d}` : slotName(d)];
  if (MEMORY_STEM.test(name)) operands.push(formatMemory(core, at));
  else if (a !== S_ZERO || vector) operands.push(vector ? `v${a}` : slotName(a));
  if (IMMEDIATE_STEM.test(name)) operands.push(hex(imm));
  if (kind >= U.U_CMOV && kind <= U.U_SETCC) operands.push(U.CONDITION_NAMES[c]!);
  return `${name} ${operands.join(", ")}`;
}

/** All micro-ops in [from, to), terminals counted as the two records that they are. */
export function formatUops(core: Core, from: number, to: number): string[] {
  const lines: string[] = [];
  for (let at = from; at < to; at += U.UOP_BYTES) {
    lines.push(formatUop(core, at));
    if (core.u16[at >>> 1]! >= U.U_FIRST_TERMINAL) at += U.UOP_BYTES;
  }
  return lines;
}
