// Instruction -> text in Intel syntax, for traces, dumps and teaching. Cold code: it allocates freely.

import * as I from "./instruction.ts";
import * as M from "./mnemonics.ts";
import { ROW_FLAGS } from "./table.ts";

const GPR64 = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");
const GPR32 = "eax ecx edx ebx esp ebp esi edi r8d r9d r10d r11d r12d r13d r14d r15d".split(" ");
const GPR16 = "ax cx dx bx sp bp si di r8w r9w r10w r11w r12w r13w r14w r15w".split(" ");
const GPR8 =
  "al cl dl bl spl bpl sil dil r8b r9b r10b r11b r12b r13b r14b r15b spare16 spare17 spare18 spare19 ah ch dh bh".split(
    " ",
  );
const SEGMENTS = "es cs ss ds fs gs".split(" ");

/** Name of general register `reg` (Instruction numbering) used with `size` bytes. */
export function registerName(reg: number, size: number): string {
  const names = size === 8 ? GPR64 : size === 4 ? GPR32 : size === 2 ? GPR16 : GPR8;
  return names[reg] ?? `reg${reg}`;
}

const SIZE_PTR: Readonly<Record<number, string>> = {
  1: "byte ptr ",
  2: "word ptr ",
  4: "dword ptr ",
  6: "fword ptr ",
  8: "qword ptr ",
  10: "tbyte ptr ",
  16: "xmmword ptr ",
  32: "ymmword ptr ",
};

/** Names of mnemonics that the SDM spells by operand size: for 2, 4 and 8 bytes. */
const BY_OPERAND_SIZE: ReadonlyMap<number, readonly [string, string, string]> = new Map([
  [M.MN_CBW, ["cbw", "cwde", "cdqe"]],
  [M.MN_CWD, ["cwd", "cdq", "cqo"]],
  [M.MN_PUSHF, ["pushf", "pushfd", "pushfq"]],
  [M.MN_POPF, ["popf", "popfd", "popfq"]],
  [M.MN_PUSHA, ["pusha", "pushad", ""]],
  [M.MN_POPA, ["popa", "popad", ""]],
  [M.MN_IRET, ["iret", "iretd", "iretq"]],
  [M.MN_SYSRET, ["sysret", "sysret", "sysretq"]],
  [M.MN_SYSEXIT, ["sysexit", "sysexit", "sysexitq"]],
]);

const SPELLED: ReadonlyMap<number, string> = new Map([
  [M.MN_CALLF, "call far"],
  [M.MN_JMPF, "jmp far"],
  [M.MN_FWAIT, "wait"],
  [M.MN_XLAT, "xlatb"],
]);

/** The SDM's mnemonic, in lower case: MN_MOVS with 8 bytes is "movsq". */
export function mnemonicName(ins: I.Instruction): string {
  const sized = BY_OPERAND_SIZE.get(ins.mn);
  if (sized !== undefined) return sized[ins.opSize === 8 ? 2 : ins.opSize === 4 ? 1 : 0];
  if (ins.mn === M.MN_JRCXZ) return ins.addrSize === 8 ? "jrcxz" : ins.addrSize === 4 ? "jecxz" : "jcxz";
  const name = SPELLED.get(ins.mn) ?? (M.MNEMONIC_NAMES[ins.mn] ?? "invalid").toLowerCase();
  if ((ROW_FLAGS[ins.row]! & I.ROW_STRING) === 0) return name;
  const bytes = isPort(ins.mn) ? Math.min(ins.opSize, 4) : ins.opSize;
  return name + (bytes === 1 ? "b" : bytes === 2 ? "w" : bytes === 4 ? "d" : "q");
}

function isPort(mn: number): boolean {
  return mn === M.MN_INS || mn === M.MN_OUTS;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function signed(value: number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `+0x${value.toString(16)}`;
}

function pair(hi: number, lo: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

function vectorName(reg: number, size: number): string {
  return `${size === 32 ? "ymm" : "xmm"}${reg}`;
}

function indexName(ins: I.Instruction): string {
  const flags = ROW_FLAGS[ins.row]!;
  if ((flags & I.ROW_VSIB) === 0) return registerName(ins.index, ins.addrSize);
  // Dword indices need no more bytes than the values have if those are dwords, half as many if they are qwords.
  const dwords = /GATHERD/.test(M.MNEMONIC_NAMES[ins.mn]!);
  const long = (flags & I.ROW_L256) !== 0 && !(dwords && ins.size[1] === 8);
  return vectorName(ins.index, long ? 32 : 16);
}

function memory(ins: I.Instruction, operand: number): string {
  const size = SIZE_PTR[ins.size[operand]!] ?? "";
  const segment = ins.segOverride !== 0 ? `${SEGMENTS[ins.seg]}:` : "";
  if (ins.kind[operand] === I.OP_MOFFS) {
    return `${size}${segment}[${hex(BigInt.asUintN(64, pair(ins.dispHi, ins.disp)))}]`;
  }
  const parts: string[] = [];
  if (ins.base === I.REG_RIP) parts.push(ins.addrSize === 4 ? "eip" : "rip");
  else if (ins.base !== I.REG_NONE) parts.push(registerName(ins.base, ins.addrSize));
  if (ins.index !== I.REG_NONE) {
    parts.push(indexName(ins) + (ins.scale === 0 ? "" : `*${1 << ins.scale}`));
  }
  let text = parts.join("+");
  if (parts.length === 0) text = hex(BigInt.asUintN(ins.addrSize * 8, BigInt(ins.disp)));
  else if (ins.disp !== 0 || ins.base === I.REG_RIP) text += signed(ins.disp);
  return `${size}${segment}[${text}]`;
}

function stringPointer(ins: I.Instruction, operand: number): string {
  const size = SIZE_PTR[ins.size[operand]!] ?? "";
  if (ins.kind[operand] === I.OP_STR_DST) return `${size}es:[${registerName(I.REG_DI, ins.addrSize)}]`;
  return `${size}${SEGMENTS[ins.seg]}:[${registerName(I.REG_SI, ins.addrSize)}]`;
}

function target(ins: I.Instruction, rip: bigint): bigint {
  const bits = ins.opSize === 8 ? 64 : ins.opSize * 8;
  return BigInt.asUintN(bits, rip + BigInt(ins.length) + pair(ins.immHi, ins.immLo));
}

function operandText(ins: I.Instruction, i: number, rip: bigint): string {
  const reg = ins.reg[i]!;
  switch (ins.kind[i]) {
    case I.OP_GPR:
      return registerName(reg, ins.size[i]!);
    case I.OP_MEM:
    case I.OP_MOFFS:
      return memory(ins, i);
    case I.OP_IMM: {
      // In the width that the instruction works in, so that a sign-extended -1 of a dword reads 0xffffffff.
      const widened = ins.mn === M.MN_PUSH || (i > 0 && ins.size[i]! > 1);
      const bits = Math.max(ins.size[i]!, widened ? ins.opSize : 1) * 8;
      return hex(BigInt.asUintN(bits, pair(ins.immHi, ins.immLo)));
    }
    case I.OP_IMM2:
      return hex(BigInt(ins.imm2));
    case I.OP_REL:
      return hex(target(ins, rip));
    case I.OP_XMM:
      return vectorName(reg, ins.size[i]!);
    case I.OP_MMX:
      return `mm${reg}`;
    case I.OP_ST:
      return `st(${reg})`;
    case I.OP_SREG:
      return SEGMENTS[reg]!;
    case I.OP_CR:
      return `cr${reg}`;
    case I.OP_DR:
      return `dr${reg}`;
    case I.OP_FAR:
      return `${hex(BigInt(ins.imm2))}:${hex(BigInt.asUintN((ins.size[i]! - 2) * 8, BigInt(ins.immLo)))}`;
    default:
      return stringPointer(ins, i);
  }
}

function prefixText(ins: I.Instruction): string {
  let text = ins.lock !== 0 ? "lock " : "";
  const flags = ROW_FLAGS[ins.row]!;
  if (ins.rep !== 0 && (flags & I.ROW_STRING) !== 0) {
    if ((flags & I.ROW_REPZ) === 0) text += "rep ";
    else text += ins.rep === 0xf2 ? "repne " : "repe ";
  }
  return text;
}

/**
 * The instruction in Intel syntax; `rip` is the address of its first byte, for branch targets and RIP-relative operands
 * (whose address follows as a comment). `ins` comes from a `decode` that answered DECODE_OK.
 */
export function format(ins: I.Instruction, rip: bigint): string {
  const operands: string[] = [];
  let comment = "";
  for (let i = 0; i < I.MAX_OPERANDS && ins.kind[i] !== I.OP_NONE; i++) {
    operands.push(operandText(ins, i, rip));
    if (ins.kind[i] === I.OP_MEM && ins.base === I.REG_RIP && ins.index === I.REG_NONE) {
      const address = rip + BigInt(ins.length) + BigInt(ins.disp);
      comment = `  # ${hex(BigInt.asUintN(ins.addrSize * 8, address))}`;
    }
  }
  const list = operands.length === 0 ? "" : ` ${operands.join(", ")}`;
  return prefixText(ins) + mnemonicName(ins) + list + comment;
}
