/** Which flags the manuals leave undefined (SDM volume 2, APM volume 3), and so are not compared. */
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";

const CF = 0x1;
const PF = 0x4;
const AF = 0x10;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;
export const ALL: number = CF | PF | AF | ZF | SF | OF;
/** DF, and RFLAGS bits that only privileged code changes, are compared as well. */
export const SYSTEM: number = 0x400 | 0x200 | 0x40000;

/** Flags that the manual leaves undefined, by mnemonic. Shifts and rotates need their count: see `undefinedFlags`. */
const UNDEFINED: Readonly<Record<string, number>> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  DIV: ALL,
  IDIV: ALL,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  BSF: CF | OF | SF | AF | PF,
  BSR: CF | OF | SF | AF | PF,
  LZCNT: OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF,
  ANDN: AF | PF,
  BLSR: AF | PF,
  BLSMSK: AF | PF,
  BLSI: AF | PF,
  BZHI: AF | PF,
  BEXTR: SF | AF | PF,
  SHLD: AF,
  SHRD: AF,
  SHL: AF,
  SHR: AF,
  SAR: AF,
};

export function undefinedFlags(ins: I.Instruction, gpr: readonly bigint[]): number {
  const name = MNEMONIC_NAMES[ins.mn]!;
  let mask = UNDEFINED[name] ?? 0;
  const shift = /^(SHL|SHR|SAR|ROL|ROR|RCL|RCR|SHLD|SHRD)$/.test(name);
  if (!shift) return mask;
  const last = name.length === 4 ? 2 : 1;
  const raw = ins.kind[last] === I.OP_IMM ? ins.immLo & 0xff : Number(gpr[1]! & 0xffn);
  const size = ins.size[0]! * 8;
  const count = raw & (size === 64 ? 63 : 31);
  if (count === 0) return 0;
  if (count !== 1) mask |= OF;
  if ((name === "SHL" || name === "SHR") && count > size) mask |= CF;
  if ((name === "SHL" || name === "SHR") && count === size) mask |= 0;
  if (name.length === 4 && count > size) mask |= ALL;
  return mask;
}
