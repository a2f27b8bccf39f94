import { describe, expect, it } from "vitest";
import { Arena, STREAM } from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import { decode } from "../../../cpu/decode/decoder.ts";
import { DECODE_OK, Instruction } from "../../../cpu/decode/instruction.ts";
import { BlockBuilder, LIFTERS } from "../../../cpu/uops/builder.ts";
import { formatUops } from "../../../cpu/uops/format.ts";
import "../../../cpu/uops/lift-all.ts";
import { MODE_16, MODE_32, MODE_64, MODE_FLAT, MODE_PE, MODE_SS32 } from "../../../cpu/uops/uop.ts";

const core = new Core(new Arena(0x100000), 0, new CoreGroup());
const builder = new BlockBuilder(core);
const ins = new Instruction();

/** Micro-ops of the instruction with these bytes (hexadecimal), as text. */
function lift(bytes: string, mode: number): string[] {
  const code = Uint8Array.from(bytes.split(" "), (byte) => Number.parseInt(byte, 16));
  const size = (mode & 3) === MODE_64 ? 64 : (mode & 3) === MODE_32 ? 32 : 16;
  expect(decode(ins, code, 0, code.length, size)).toBe(DECODE_OK);
  expect(ins.length).toBe(code.length);
  builder.at = STREAM;
  builder.mode = mode;
  builder.off = 0x10;
  builder.length = ins.length;
  builder.ended = false;
  const lifter = LIFTERS[ins.mn];
  if (lifter === undefined) throw new Error(`no lifter for ${bytes}`);
  lifter(builder, ins);
  return formatUops(core, STREAM, builder.at);
}
const in64 = (bytes: string): string[] => lift(bytes, MODE_64 | MODE_FLAT | MODE_PE);
const flat32 = (bytes: string): string[] => lift(bytes, MODE_32 | MODE_SS32 | MODE_FLAT | MODE_PE);
const real = (bytes: string): string[] => lift(bytes, MODE_16);

describe("64-bit code", () => {
  const one: readonly (readonly [string, string, string])[] = [
    ["add rax, [rbx+8]", "48 03 43 08", "add.rm64 rax, [rbx+8]"],
    ["add [rbx+rcx*4+16], edx", "01 54 8b 10", "add.mr32 rdx, [rbx+rcx*4+0x10]"],
    ["cmp byte [rip+0x100], 5", "80 3d 00 01 00 00 05", "cmp.mi8 rax, [ripbase+0x117], 5"],
    ["test [rax], cl", "84 08", "test.rm8 rcx, [rax]"],
    ["mov ah, dl", "88 d4", "mov_rr8 rax.h, rdx"],
    ["mov rax, gs:[0x20]", "65 48 8b 04 25 20 00 00 00", "load64 rax, gs:[0x20]"],
    ["mov qword [rsp+8], -1", "48 c7 44 24 08 ff ff ff ff", "storei64 rax, [rsp+8] stack, -1"],
    ["mov eax, 0x12345678", "b8 78 56 34 12", "mov_ri32 rax, 0x12345678"],
    ["mov rax, imm64", "48 b8 01 00 00 00 02 00 00 00", "mov_ri64 rax, 2:1"],
    ["movzx eax, byte [rdi]", "0f b6 07", "load_zx8_32 rax, [rdi]"],
    ["movsx rax, byte [rdi]", "48 0f be 07", "load_sx8_64 rax, [rdi]"],
    ["movsxd rax, edi", "48 63 c7", "sx32_64 rax, rdi"],
    ["lea rax, [rdi+rsi*8-4]", "48 8d 44 f7 fc", "lea64 rax, [rdi+rsi*8-4]"],
    ["lea eax, [rdi+rsi]", "8d 04 37", "lea32 rax, [rdi+rsi*1]"],
    ["push rbx", "53", "push64 rax, rbx"],
    ["pop r12", "41 5c", "pop64 r12, rax"],
    ["push -1", "6a ff", "pushi64 rax, -1"],
    ["leave", "c9", "leave64 rax, rax"],
    ["inc dword [rax]", "ff 00", "inc_m32 rax, [rax]"],
    ["xchg [rdi], rax", "48 87 07", "xchg_rm64 rax, [rdi]"],
    ["shl eax, 3", "c1 e0 03", "shl_i32 rax, 3"],
    ["sar rdx, cl", "48 d3 fa", "sar_c64 rdx, rcx"],
    ["imul eax, edx, 100", "6b c2 64", "imul_rri32 rax, rdx, 0x64"],
    ["cmovb rax, rdx", "48 0f 42 c2", "cmov64 rax, rdx, b"],
    ["sete al", "0f 94 c0", "setcc rax, e"],
    ["bt eax, 5", "0f ba e0 05", "bt_i32 rax, 5"],
    ["call +0x20", "e8 20 00 00 00", "call a=rax b=0 c=0 disp=0x35 imm=0"],
    ["ret", "c3", "ret a=rax b=0 c=0 disp=0 imm=0"],
    ["ret 8", "c2 08 00", "ret a=rax b=0 c=0 disp=0 imm=8"],
    ["jne -2", "75 fe", "jne a=rax b=0 c=0 disp=0x10 imm=0"],
    ["jmp rax", "ff e0", "jmp_r a=rax b=0 c=0 disp=0 imm=0"],
  ];
  for (const [text, bytes, uop] of one)
    it(`lifts ${text} to one micro-op`, () => {
      expect(in64(bytes)).toEqual([uop]);
    });

  it("emits nothing for no-ops, hints and fences", () => {
    for (const bytes of ["90", "0f 1f 44 00 00", "0f ae e8", "0f ae f0", "0f ae f8", "0f 18 08"])
      expect(in64(bytes)).toEqual([]);
  });

  it("checks the target of a read-modify-write for writing before it changes anything", () => {
    expect(in64("f0 0f b1 17")).toEqual(["loadw32 t0, [rdi]", "cmpxchg32 t0, rdx", "store32 t0, [rdi]"]);
    expect(in64("d1 67 04")).toEqual(["loadw32 t0, [rdi+4]", "shl_i32 t0, 1", "store32 t0, [rdi+4]"]);
  });

  it("accesses the memory operand of a shift by zero, and clears the upper half of a register's", () => {
    expect(in64("c1 27 00")).toEqual(["loadw32 t0, [rdi]", "store32 t0, [rdi]"]);
    expect(in64("c1 e7 20")).toEqual(["mov_rr32 rdi, rdi"]);
    expect(in64("48 c1 e7 40")).toEqual([]);
  });

  it("lets a bit offset in a register reach beyond the operand", () => {
    expect(in64("48 0f ab 07")).toEqual([
      "bit_offset64 t1, rax",
      "loadw64 t0, [rdi+t1*1]",
      "bts_r64 t0, rax",
      "store64 t0, [rdi+t1*1]",
    ]);
    expect(in64("0f a3 44 8b 04").slice(1)).toEqual([
      "lea64 t6, [rbx+rcx*4+4]",
      "load32 t0, [t6+t1*1]",
      "bt_r32 t0, rax",
    ]);
  });

  it("takes the popped rSP as the base of POP [rsp]", () => {
    expect(in64("8f 04 24")).toEqual(["load64 t0, [rsp] stack", "store64 t0, [rsp+8] stack", "lea64 rsp, [rsp+8]"]);
  });

  it("wraps addresses of a 32-bit address size before the segment base is added", () => {
    expect(in64("64 67 8b 04 08")).toEqual(["lea32 t7, [rax+rcx*1]", "load32 rax, fs:[t7]"]);
  });

  it("checks alignment and both halves before CMPXCHG16B compares", () => {
    expect(in64("f0 48 0f c7 0f").map((line) => line.split(" ")[0])).toEqual([
      "align16",
      "loadw64",
      "loadw64",
      "cmpxchg16",
      "store64",
      "store64",
    ]);
  });

  it("does a repeated string instruction in a helper that ends the block", () => {
    expect(in64("f3 48 a5")).toEqual(['helper_end "REP MOVS" d=3 a=8 b=243 c=8 disp=0']);
    expect(builder.ended).toBe(true);
    expect(in64("a4").map((line) => line.split(" ")[0])).toEqual(["load8", "store8", "helper"]);
    expect(builder.ended).toBe(false);
  });
});

describe("legacy code", () => {
  it("computes flat 32-bit addresses modulo 2^32", () => {
    expect(flat32("03 43 08")).toEqual(["lea32 t7, [rbx+8]", "add.rm32 rax, [t7]"]);
  });

  it("checks segments that are not flat, and adds their base", () => {
    expect(real("8b 47 02")).toEqual([
      "ea16 t7, [rbx+2]",
      expect.stringMatching(/^helper "segment check"/),
      "lea32 t7, [t7+ds*1]",
      "load16 rax, [t7]",
    ]);
  });

  it("pushes by the size of the stack", () => {
    expect(flat32("50")).toEqual(["lea32 t7, [rsp-4]", "store32 rax, [t7] stack", "lea32 rsp, [rsp-4]"]);
    expect(real("50").slice(-3)).toEqual(["store16 rax, [t7] stack", "ea16 t6, [rsp-2]", "mov_rr16 rsp, t6"]);
  });

  it("masks the target of a near jump to the operand size", () => {
    expect(flat32("eb 10")).toEqual(["jmp_l a=rax b=0 c=4 disp=0x22 imm=0"]);
    expect(real("74 10")).toEqual(["jcc_l a=rax b=4 c=2 disp=0x22 imm=0"]);
    expect(flat32("c3")).toEqual([
      "lea32 t7, [rsp]",
      "load32 t0, [t7] stack",
      "lea32 rsp, [rsp+4]",
      "jmp_r a=t0 b=0 c=0 disp=0 imm=0",
    ]);
  });
});
