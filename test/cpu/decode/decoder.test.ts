import { describe, expect, test } from "vitest";
import { decode } from "../../../cpu/decode/decoder.ts";
import * as I from "../../../cpu/decode/instruction.ts";
import * as M from "../../../cpu/decode/mnemonics.ts";
import { ROW_FEATURE, ROW_FLAGS } from "../../../cpu/decode/table.ts";
import { VEX_MNEMONICS } from "../../../cpu/decode/table-vex.ts";

type Mode = 16 | 32 | 64;

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

function result(hex: string, mode: Mode = 64): number {
  const bytes = bytesOf(hex);
  return decode(new I.Instruction(), bytes, 0, bytes.length, mode);
}

/** Decodes `hex`, all of it and no more. */
function one(hex: string, mode: Mode = 64): I.Instruction {
  const ins = new I.Instruction();
  const bytes = bytesOf(hex);
  expect(decode(ins, bytes, 0, bytes.length, mode)).toBe(I.DECODE_OK);
  expect(ins.length).toBe(bytes.length);
  return ins;
}

function flags(ins: I.Instruction): number {
  return ROW_FLAGS[ins.row]!;
}

describe("operand size", () => {
  test("REX.W wins over 66, and counts only directly before the opcode", () => {
    expect(one("66 48 01 c0").opSize).toBe(8);
    expect(one("48 66 01 c0").opSize).toBe(2);
    expect(one("48 66 01 c0").rex).toBe(0);
  });

  test("pushes are 64 bits wide by default, near branches always", () => {
    expect(one("50").size[0]).toBe(8);
    expect(one("66 50").size[0]).toBe(2);
    expect(one("66 e8 00 00 00 00").opSize).toBe(8);
    expect(one("66 e8 00 00", 32).opSize).toBe(2);
    expect(one("66 c3").opSize).toBe(8);
    expect(one("50", 16).size[0]).toBe(2);
    expect(one("66 50", 16).size[0]).toBe(4);
  });

  test("a 66 that is part of the opcode is no operand size", () => {
    const movd = one("66 0f 6e c1");
    expect([movd.mn, movd.size[0], movd.size[1]]).toEqual([M.MN_MOVD, 16, 4]);
    const movq = one("66 48 0f 6e c1");
    expect([movq.mn, movq.size[1]]).toEqual([M.MN_MOVQ, 8]);
  });

  test("F2 and F3 choose the opcode before 66 does", () => {
    expect(one("66 f3 0f b8 c1").mn).toBe(M.MN_POPCNT);
    expect(one("66 f3 0f b8 c1").opSize).toBe(2);
    expect(one("f3 66 0f 10 c1").mn).toBe(M.MN_MOVSS);
    expect(one("f2 f3 0f 10 c1").mn).toBe(M.MN_MOVSS);
    expect(one("f3 f2 0f 10 c1").mn).toBe(M.MN_MOVSD);
    expect(one("f3 0f 10 c1").rep).toBe(0);
  });
});

describe("registers", () => {
  test("AH..BH without REX are SPL..DIL with any REX", () => {
    expect(one("88 e0").reg[1]).toBe(I.REG_AH);
    expect(one("40 88 e0").reg[1]).toBe(4);
    expect(one("b7 01").reg[0]).toBe(I.REG_BH);
    expect(one("41 b7 01").reg[0]).toBe(15);
  });

  test("MOV to and from control and debug registers ignores mod, and only existing registers decode", () => {
    expect(one("0f 20 18").mn).toBe(M.MN_MOV);
    expect(one("0f 20 18").kind[0]).toBe(I.OP_GPR);
    expect(one("0f 22 5c").reg[0]).toBe(3);
    expect(one("44 0f 20 c0").reg[1]).toBe(8);
    expect(result("0f 20 c8")).toBe(I.DECODE_UD);
    expect(result("44 0f 21 c0")).toBe(I.DECODE_UD);
    expect(one("0f 23 f8", 32).size[1]).toBe(4);
  });

  test("MOV to CS and segment registers 6 and 7 are undefined", () => {
    expect(result("8e c8")).toBe(I.DECODE_UD);
    expect(result("8e f0")).toBe(I.DECODE_UD);
    expect(result("8c f8")).toBe(I.DECODE_UD);
    expect(one("8c c8").reg[1]).toBe(I.SEG_CS);
  });
});

describe("memory operands", () => {
  test("a base of rSP or rBP uses SS, and only exactly those", () => {
    expect(one("8b 45 08").seg).toBe(I.SEG_SS);
    expect(one("8b 04 24").seg).toBe(I.SEG_SS);
    expect(one("41 8b 45 08").seg).toBe(I.SEG_DS);
    expect(one("8b 04 2b").seg).toBe(I.SEG_DS);
    expect(one("8b 42 08", 16).seg).toBe(I.SEG_SS);
    expect(one("8b 06 34 12", 16).seg).toBe(I.SEG_DS);
  });

  test("in 64-bit mode only FS and GS override, and no later prefix undoes them", () => {
    expect(one("65 8b 00").seg).toBe(I.SEG_GS);
    expect(one("65 2e 8b 00").seg).toBe(I.SEG_GS);
    expect(one("2e 8b 45 00").seg).toBe(I.SEG_SS);
    expect(one("2e 8b 45 00").segOverride).toBe(0);
    expect(one("2e 8b 45 00", 32).seg).toBe(I.SEG_CS);
    expect(one("65 2e 8b 00", 32).seg).toBe(I.SEG_CS);
  });

  test("mod 0 with r/m 5 is RIP-relative in 64-bit mode and absolute through SIB", () => {
    const rip = one("8b 05 fc ff ff ff");
    expect([rip.base, rip.index, rip.disp]).toEqual([I.REG_RIP, I.REG_NONE, -4]);
    const eip = one("67 8b 05 fc ff ff ff");
    expect([eip.base, eip.addrSize]).toEqual([I.REG_RIP, 4]);
    const absolute = one("8b 04 25 fc ff ff ff");
    expect([absolute.base, absolute.index, absolute.disp, absolute.dispHi]).toEqual([I.REG_NONE, I.REG_NONE, -4, -1]);
    expect(one("8b 05 fc ff ff ff", 32).base).toBe(I.REG_NONE);
  });

  test("index 4 means none unless REX.X makes it R12", () => {
    expect(one("8b 04 e0").index).toBe(I.REG_NONE);
    const r12 = one("42 8b 04 e0");
    expect([r12.index, r12.scale]).toEqual([12, 3]);
  });

  test("MOV AL, moffs has an offset as wide as the address", () => {
    const far = one("a0 88 77 66 55 44 33 22 81");
    expect([far.kind[1], far.disp, far.dispHi]).toEqual([I.OP_MOFFS, 0x55667788, 0x81223344 | 0]);
    const near = one("67 a0 88 77 66 f5");
    expect([near.disp, near.dispHi]).toEqual([0xf5667788 | 0, 0]);
    expect(one("a0 34 f2", 16).disp).toBe(0xf234);
  });

  test("a BOUND, LES or LDS with a register operand belongs to VEX and EVEX, which is undefined here", () => {
    expect(one("c4 00", 32).mn).toBe(M.MN_LES);
    expect(M.MNEMONIC_NAMES[one("c4 e1 78 58 c1", 32).mn]).toBe("VADDPS");
    expect(M.MNEMONIC_NAMES[one("c5 f8 58 c1", 64).mn]).toBe("VADDPS");
    expect(result("62 f1 7c 48 58 c1", 64)).toBe(I.DECODE_UD);
    expect(one("62 00", 32).mn).toBe(M.MN_BOUND);
  });
});

describe("immediates", () => {
  test("are extended to 64 bits as the instruction says", () => {
    const imm8 = one("48 83 c0 ff");
    expect([imm8.immLo, imm8.immHi]).toEqual([-1, -1]);
    const imm32 = one("48 81 c0 00 00 00 80");
    expect([imm32.immLo, imm32.immHi]).toEqual([0x80000000 | 0, -1]);
    const imm64 = one("48 b8 88 77 66 55 44 33 22 11");
    expect([imm64.immLo, imm64.immHi]).toEqual([0x55667788, 0x11223344]);
    expect(one("cd 80").immLo).toBe(0x80);
    expect(one("c2 00 80").immLo).toBe(0x8000);
    expect(one("c2 00 80", 16).immLo).toBe(0x8000);
    expect(one("66 68 00 80").immLo).toBe(-0x8000);
  });

  test("ENTER has two, a far pointer an offset and a selector", () => {
    const enter = one("c8 00 90 05");
    expect([enter.immLo, enter.imm2]).toEqual([0x9000, 5]);
    const far = one("ea 78 56 34 12 08 00", 32);
    expect([far.immLo, far.imm2, far.size[0]]).toEqual([0x12345678, 8, 6]);
    expect(one("9a 34 12 00 f0", 16).imm2).toBe(0xf000);
    expect(result("ea 78 56 34 12 08 00", 64)).toBe(I.DECODE_UD);
  });
});

describe("opcodes that change with the mode or a prefix", () => {
  test("90 is NOP, PAUSE with F3, and XCHG r8, rAX with REX.B, even after F3", () => {
    expect(one("90").mn).toBe(M.MN_NOP);
    expect(one("48 90").mn).toBe(M.MN_NOP);
    expect(one("f3 90").mn).toBe(M.MN_PAUSE);
    const xchg = one("49 90");
    expect([xchg.mn, xchg.reg[0], xchg.reg[1], xchg.size[0]]).toEqual([M.MN_XCHG, 8, 0, 8]);
    expect(one("f3 49 90").mn).toBe(M.MN_XCHG);
  });

  test("63 is ARPL or MOVSXD, 40..4F are INC and DEC or REX", () => {
    expect(one("63 c1", 32).mn).toBe(M.MN_ARPL);
    expect(one("48 63 c1").mn).toBe(M.MN_MOVSXD);
    expect(one("48 63 c1").size[1]).toBe(4);
    expect(one("66 63 c1").size[1]).toBe(2);
    expect(one("40", 32).mn).toBe(M.MN_INC);
  });

  test("what 64-bit mode dropped is undefined there, and the reverse", () => {
    for (const hex of ["27", "37", "60", "d4 0a", "06", "ce", "d6", "82 c0 01"]) {
      expect(result(hex, 64)).toBe(I.DECODE_UD);
      expect(result(hex, 32)).toBe(I.DECODE_OK);
    }
    expect(result("0f 01 f8", 32)).toBe(I.DECODE_UD);
    expect(one("0f 01 f8").mn).toBe(M.MN_SWAPGS);
    expect(one("f3 0f ae c1").mn).toBe(M.MN_RDFSBASE);
  });

  test("ENDBR64 and long NOPs are NOPs", () => {
    expect(one("f3 0f 1e fa").mn).toBe(M.MN_NOP);
    expect(one("66 2e 0f 1f 84 00 00 00 00 00").mn).toBe(M.MN_NOP);
  });

  test("LZCNT and TZCNT are their own, beside BSR and BSF", () => {
    expect(one("f3 0f bd c1").mn).toBe(M.MN_LZCNT);
    expect(one("0f bd c1").mn).toBe(M.MN_BSR);
    expect(ROW_FEATURE[one("f3 0f bc c1").row]).toBe(I.FEATURE_BMI1);
  });

  test("F2 and F3 stay repeat prefixes where they are no part of the opcode", () => {
    const stos = one("f3 48 ab");
    expect([stos.mn, stos.rep, stos.opSize, stos.kind[0]]).toEqual([M.MN_STOS, 0xf3, 8, I.OP_STR_DST]);
    expect(one("f2 ae").rep).toBe(0xf2);
    expect(flags(one("f2 ae")) & I.ROW_REPZ).not.toBe(0);
  });
});

describe("refusals", () => {
  test("LOCK needs a lockable instruction with a memory destination", () => {
    expect(one("f0 01 08").lock).toBe(1);
    expect(result("f0 01 c8")).toBe(I.DECODE_UD);
    expect(result("f0 03 08")).toBe(I.DECODE_UD);
    expect(result("f0 89 08")).toBe(I.DECODE_UD);
    expect(result("f0 39 08")).toBe(I.DECODE_UD);
    expect(result("f0 90")).toBe(I.DECODE_UD);
    expect(one("f0 0f b1 0f").mn).toBe(M.MN_CMPXCHG);
    expect(one("f0 48 0f c7 0f").mn).toBe(M.MN_CMPXCHG16B);
    expect(one("f0 0f c7 0f").mn).toBe(M.MN_CMPXCHG8B);
  });

  test("fifteen bytes are an instruction, sixteen are #GP", () => {
    expect(one(`${"66".repeat(14)} 90`).length).toBe(15);
    expect(result(`${"66".repeat(15)} 90`)).toBe(I.DECODE_GP);
    expect(result(`${"2e".repeat(10)} 81 04 25 00 00 00 00 01 00 00 00`)).toBe(I.DECODE_GP);
  });

  test("bytes that end too early ask for more, at every length", () => {
    const ins = new I.Instruction();
    const bytes = bytesOf("f0 66 42 81 84 c8 11 22 33 44 55 66");
    for (let end = 0; end < bytes.length; end++) expect(decode(ins, bytes, 0, end, 64)).toBe(I.DECODE_MORE);
    expect(decode(ins, bytes, 0, bytes.length, 64)).toBe(I.DECODE_OK);
  });

  test("an instruction is found in the middle of a buffer, and bytes before `at` and after `end` are not read", () => {
    const ins = new I.Instruction();
    const bytes = bytesOf("66 66 48 89 c8 66");
    expect(decode(ins, bytes, 2, 5, 64)).toBe(I.DECODE_OK);
    expect([ins.length, ins.opSize]).toEqual([3, 8]);
    expect(decode(ins, bytes, 2, 4, 64)).toBe(I.DECODE_MORE);
  });
});

describe("row attributes", () => {
  test("mark what is solo, privileged, ends a block, or holds off interrupts", () => {
    expect(flags(one("0f 31")) & I.ROW_SOLO).not.toBe(0);
    expect(flags(one("0f 30")) & (I.ROW_SOLO | I.ROW_PRIV)).toBe(I.ROW_SOLO | I.ROW_PRIV);
    expect(flags(one("fb")) & (I.ROW_SOLO | I.ROW_SHADOW)).toBe(I.ROW_SOLO | I.ROW_SHADOW);
    expect(flags(one("8e d0")) & I.ROW_SHADOW).not.toBe(0);
    expect(flags(one("8e d8")) & I.ROW_SHADOW).toBe(0);
    expect(flags(one("75 00")) & (I.ROW_BRANCH | I.ROW_COND)).toBe(I.ROW_BRANCH | I.ROW_COND);
    expect(flags(one("01 c8")) & (I.ROW_SOLO | I.ROW_BRANCH | I.ROW_PRIV)).toBe(0);
    for (const hex of [
      "f3 90",
      "f4",
      "9d",
      "ec",
      "6c",
      "0f a2",
      "0f 01 d1",
      "0f 01 38",
      "0f 22 d8",
      "0f 01 c1",
      "48 cf",
    ]) {
      expect(flags(one(hex)) & I.ROW_SOLO).not.toBe(0);
    }
  });

  test("mark which 16-byte memory operands must be aligned", () => {
    expect(flags(one("66 0f 6f 00")) & I.ROW_ALIGN16).not.toBe(0);
    expect(flags(one("f3 0f 6f 00")) & I.ROW_ALIGN16).toBe(0);
    expect(flags(one("0f 58 00")) & I.ROW_ALIGN16).not.toBe(0);
    expect(flags(one("0f 10 00")) & I.ROW_ALIGN16).toBe(0);
    expect(flags(one("f2 0f 58 00")) & I.ROW_ALIGN16).toBe(0);
  });

  test("tell x87, MMX and SSE state apart", () => {
    const state = I.ROW_X87 | I.ROW_MMX | I.ROW_SSE;
    expect(flags(one("d9 e8")) & state).toBe(I.ROW_X87);
    expect(flags(one("0f fc c1")) & state).toBe(I.ROW_MMX);
    expect(flags(one("66 0f fc c1")) & state).toBe(I.ROW_SSE);
    expect(flags(one("0f 2a c1")) & state).toBe(I.ROW_MMX | I.ROW_SSE);
    expect(flags(one("0f ae 10")) & state).toBe(I.ROW_SSE);
    expect(flags(one("0f ae e8")) & state).toBe(0);
    expect(flags(one("0f c3 08")) & state).toBe(0);
  });
});

describe("mnemonics", () => {
  test("have their number at the place of their name", () => {
    const { MNEMONIC_NAMES: names, mnemonic, ...constants } = M;
    const numbers = Object.entries(constants);
    expect(numbers.length).toBe(names.length - VEX_MNEMONICS.length);
    for (const name of VEX_MNEMONICS) expect(names[mnemonic(name)]).toBe(name);
    for (const [name, number] of numbers) expect(`MN_${names[number]}`).toBe(name);
  });

  test("of a condition lie at the first plus the condition code", () => {
    for (let cc = 0; cc < 16; cc++) {
      const hex = cc.toString(16);
      expect(one(`7${hex} 00`).mn).toBe(M.MN_JO + cc);
      expect(one(`0f 9${hex} c0`).mn).toBe(M.MN_SETO + cc);
      expect(one(`0f 4${hex} c0`).mn).toBe(M.MN_CMOVO + cc);
    }
  });
});

describe("VEX prefixes", () => {
  test("LOCK, 66, F2, F3 and REX before them are undefined, other prefixes are not", () => {
    for (const prefix of ["f0", "66", "f2", "f3", "48"]) expect(result(`${prefix} c5 f8 58 c1`, 64)).toBe(I.DECODE_UD);
    for (const prefix of ["67", "65", "2e"]) expect(result(`${prefix} c5 f8 58 01`, 64)).toBe(I.DECODE_OK);
  });

  test("vvvv must be 1111 where it names nothing", () => {
    expect(result("c5 f8 28 c1", 64)).toBe(I.DECODE_OK);
    expect(result("c5 f0 28 c1", 64)).toBe(I.DECODE_UD);
    expect(result("c5 f0 58 c1", 64)).toBe(I.DECODE_OK);
  });

  test("VEX.L = 1 is undefined where there are no 256-bit vectors", () => {
    expect(result("c5 fd 6e c1", 64)).toBe(I.DECODE_UD);
    expect(result("c5 fe 58 c1", 64)).toBe(I.DECODE_OK);
    expect(result("c4 e2 74 f2 c1", 64)).toBe(I.DECODE_UD);
    expect(result("c4 e3 79 06 c1 00", 64)).toBe(I.DECODE_UD);
  });

  test("registers of a gather must differ", () => {
    expect(result("c4 e2 79 90 0c 10", 64)).toBe(I.DECODE_OK);
    expect(result("c4 e2 79 90 04 10", 64)).toBe(I.DECODE_UD);
    expect(result("c4 e2 71 90 0c 10", 64)).toBe(I.DECODE_UD);
  });
});
