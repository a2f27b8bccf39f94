import { expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { EXIT_DEADLINE, EXIT_EXCEPTION, VEC_DB, VEC_UD } from "../../../cpu/core.ts";
import { FLAG_AC } from "../../../cpu/flags.ts";
import { BareCore, bytes, CODE } from "../../support/bare-core.ts";

const bare = new BareCore();

/** Runs `code` for a few cycles: EXIT_*, the vector of an exception, and RIP behind CODE. */
function run(code: string, cpl: 0 | 3, cycles = 50): { exit: number; vector: number; at: number } {
  bare.reset(bytes(code), { cpl });
  const exit = bare.run(cycles);
  const vector = bare.core.i32[A.EXIT_INTR_INFO >>> 2]! & 0xff;
  return { exit, vector, at: bare.core.i32[A.RIP >>> 2]! - CODE };
}

it("STAC and CLAC move RFLAGS.AC in supervisor mode, whatever CR4.SMAP is", () => {
  // stac; jmp .
  expect(run("0f 01 cb eb fe", 0).exit).toBe(EXIT_DEADLINE);
  expect(bare.core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_AC).toBe(FLAG_AC);
  // stac; clac; jmp .
  expect(run("0f 01 cb 0f 01 ca eb fe", 0).exit).toBe(EXIT_DEADLINE);
  expect(bare.core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_AC).toBe(0);
});

it("STAC and CLAC are undefined in user mode", () => {
  for (const code of ["0f 01 cb", "0f 01 ca"])
    expect(run(code, 3)).toEqual({ exit: EXIT_EXCEPTION, vector: VEC_UD, at: 0 });
});

it("a single step over MOV SS traps after the instruction behind it", () => {
  // xor eax,eax; pushf; or dword [rsp],0x100; popf; mov ss,eax; nop; nop
  expect(run("31 c0 9c 81 0c 24 00 01 00 00 9d 8e d0 90 90", 0)).toEqual({
    exit: EXIT_EXCEPTION,
    vector: VEC_DB,
    at: 14,
  });
  // The same with mov ds,eax, which holds nothing back.
  expect(run("31 c0 9c 81 0c 24 00 01 00 00 9d 8e d8 90 90", 0)).toEqual({
    exit: EXIT_EXCEPTION,
    vector: VEC_DB,
    at: 13,
  });
});

it("a single step over SYSCALL is lost where FMASK clears TF", () => {
  // pushf; or dword [rsp],0x100; popf; syscall
  const code = bytes("9c 81 0c 24 00 01 00 00 9d 0f 05");
  for (const [mask, exit] of [
    [0x100, EXIT_DEADLINE],
    [0, EXIT_EXCEPTION],
  ] as const) {
    bare.reset(code, { cpl: 3 });
    const { core } = bare;
    core.i32[A.MSR_FMASK >>> 2] = mask;
    core.i32[A.MSR_LSTAR >>> 2] = CODE + 0x100;
    core.i32[(A.MSR_STAR + 4) >>> 2] = 0x10;
    core.u8.set(bytes("90 90 eb fe"), core.arena.ram + CODE + 0x100);
    expect(bare.run(50)).toBe(exit);
    expect(core.i32[A.RIP >>> 2]).toBe(CODE + (mask === 0 ? 0x100 : 0x102));
  }
});

it("a single step over INT is lost", () => {
  // pushf; pop ax; or ax,0x100; push ax; popf; int 0x80
  bare.reset(bytes("9c 58 0d 00 01 50 9d cd 80"), { bits: 16 });
  const { core } = bare;
  core.i32[(core.arena.ram + 0x80 * 4) >>> 2] = 0x100 | ((CODE >>> 4) << 16);
  core.u8.set(bytes("90 90 eb fe"), core.arena.ram + CODE + 0x100);
  expect(bare.run(50)).toBe(EXIT_DEADLINE);
  expect(core.i32[A.RIP >>> 2]).toBe(0x102);
});
