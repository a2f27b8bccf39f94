/** RFLAGS between the lazy words of the arena (CC_*) and the architectural register. */
import { CC_A, CC_C, CC_O, CC_S, CC_Z, RFLAGS_SYS } from "./arena.ts";
import type { Core } from "./core.ts";

export const FLAG_CF = 0x1;
export const FLAG_PF = 0x4;
export const FLAG_AF = 0x10;
export const FLAG_ZF = 0x40;
export const FLAG_SF = 0x80;
export const FLAG_TF = 0x100;
export const FLAG_IF = 0x200;
export const FLAG_DF = 0x400;
export const FLAG_OF = 0x800;
export const FLAG_IOPL = 0x3000;
export const FLAG_NT = 0x4000;
export const FLAG_RF = 0x10000;
export const FLAG_VM = 0x20000;
export const FLAG_AC = 0x40000;
export const FLAG_VIF = 0x80000;
export const FLAG_VIP = 0x100000;
export const FLAG_ID = 0x200000;
export const FLAGS_ARITHMETIC: number = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;
export const FLAGS_SYSTEM: number =
  FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;

const Z_LO = CC_Z >>> 2;
const S_LO = CC_S >>> 2;
const C_HI = (CC_C + 4) >>> 2;
const O_HI = (CC_O + 4) >>> 2;
const A_LO = CC_A >>> 2;
const SYS = RFLAGS_SYS >>> 2;

/** The low 32 bits of RFLAGS (the upper half is always zero). */
export function getFlags(core: Core): number {
  const i = core.i32;
  let p = i[S_LO]! & 0xff;
  p ^= p >>> 4;
  return (
    (i[SYS]! & FLAGS_SYSTEM) |
    2 |
    (i[C_HI]! >>> 31) |
    (((0x9669 >>> (p & 15)) & 1) << 2) |
    (i[A_LO]! & FLAG_AF) |
    ((i[Z_LO]! | i[Z_LO + 1]!) === 0 ? FLAG_ZF : 0) |
    ((i[S_LO + 1]! >>> 31) << 7) |
    ((i[O_HI]! >>> 31) << 11)
  );
}

/** Sets the six arithmetic flags from an RFLAGS image. */
export function setArithmeticFlags(core: Core, flags: number): void {
  const i = core.i32;
  i[Z_LO] = flags & FLAG_ZF ? 0 : 1;
  i[Z_LO + 1] = 0;
  i[S_LO] = flags & FLAG_PF ? 0 : 1;
  i[S_LO + 1] = (flags & FLAG_SF) << 24;
  i[C_HI - 1] = 0;
  i[C_HI] = flags << 31;
  i[O_HI - 1] = 0;
  i[O_HI] = (flags & FLAG_OF) << 20;
  i[A_LO] = flags & FLAG_AF;
  i[A_LO + 1] = 0;
}

/** Sets all of RFLAGS. Who changes TF, IF, VM or AC must also see to mode and views (system/mode.ts). */
export function setFlags(core: Core, flags: number): void {
  setArithmeticFlags(core, flags);
  core.i32[SYS] = (flags & FLAGS_SYSTEM) | 2;
}
