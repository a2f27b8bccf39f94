import { describe, expect, test } from "vitest";
import { decode } from "../../../cpu/decode/decoder.ts";
import { format } from "../../../cpu/decode/disasm.ts";
import { DECODE_OK, Instruction } from "../../../cpu/decode/instruction.ts";
import { randomStrings, STRIDE } from "./strings.ts";

const KERNEL = 0xffffffff81000000n;

function text(hex: string, mode: 16 | 32 | 64 = 64, rip = KERNEL): string {
  const ins = new Instruction();
  const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  expect(decode(ins, bytes, 0, bytes.length, mode)).toBe(DECODE_OK);
  return format(ins, rip);
}

describe("the disassembler", () => {
  test("writes Intel syntax", () => {
    expect(text("48 83 ec 08")).toBe("sub rsp, 0x8");
    expect(text("65 48 8b 04 25 28 00 00 00")).toBe("mov rax, qword ptr gs:[0x28]");
    expect(text("8b 44 8b f0")).toBe("mov eax, dword ptr [rbx+rcx*4-0x10]");
    expect(text("f0 0f b1 0f")).toBe("lock cmpxchg dword ptr [rdi], ecx");
    expect(text("88 e0")).toBe("mov al, ah");
    expect(text("40 88 e0")).toBe("mov al, spl");
    expect(text("d9 c1")).toBe("fld st(1)");
    expect(text("66 0f 6f c8")).toBe("movdqa xmm1, xmm0");
    expect(text("0f 22 d8")).toBe("mov cr3, rax");
    expect(text("8e d8")).toBe("mov ds, ax");
    expect(text("c5 f4 58 00")).toBe("vaddps ymm0, ymm1, ymmword ptr [rax]");
    expect(text("c4 e2 f5 92 04 10")).toBe("vgatherdpd ymm0, qword ptr [rax+xmm2], ymm1");
    expect(text("c4 e2 75 93 04 10")).toBe("vgatherqps xmm0, dword ptr [rax+ymm2], xmm1");
  });

  test("names sizes as the SDM does", () => {
    expect(text("f3 48 a5")).toBe("rep movsq qword ptr es:[rdi], qword ptr ds:[rsi]");
    expect(text("f3 a6")).toBe("repe cmpsb byte ptr ds:[rsi], byte ptr es:[rdi]");
    expect(text("98")).toBe("cwde");
    expect(text("48 99")).toBe("cqo");
    expect(text("48 cf")).toBe("iretq");
    expect(text("9c")).toBe("pushfq");
    expect(text("67 e3 00")).toBe("jecxz 0xffffffff81000003");
    expect(text("cb", 16)).toBe("retf");
  });

  test("resolves branch targets and RIP-relative addresses", () => {
    expect(text("e8 fb ff ff ff")).toBe("call 0xffffffff81000000");
    expect(text("eb fe", 16, 0x7c00n)).toBe("jmp 0x7c00");
    expect(text("e9 00 90", 16, 0x7c00n)).toBe("jmp 0xc03");
    expect(text("48 8b 05 10 00 00 00")).toBe("mov rax, qword ptr [rip+0x10]  # 0xffffffff81000017");
    expect(text("ea 78 56 34 12 08 00", 32)).toBe("jmp far 0x8:0x12345678");
  });

  test("shows an immediate in the width that it works in", () => {
    expect(text("83 c0 ff")).toBe("add eax, 0xffffffff");
    expect(text("48 83 c0 ff")).toBe("add rax, 0xffffffffffffffff");
    expect(text("68 ff ff ff ff")).toBe("push 0xffffffffffffffff");
    expect(text("b0 ff")).toBe("mov al, 0xff");
  });

  test.each([16, 32, 64] as const)("writes something sensible for whatever decodes in %i-bit mode", (mode) => {
    const bytes = randomStrings(4000, 99 + mode);
    const ins = new Instruction();
    let shown = 0;
    for (let at = 0; at + STRIDE < bytes.length; at += STRIDE) {
      if (decode(ins, bytes, at, bytes.length, mode) !== DECODE_OK) continue;
      expect(format(ins, 0x1000n)).not.toMatch(/undefined|spare|invalid|reg\d/);
      shown++;
    }
    expect(shown).toBeGreaterThan(1500);
  });
});
