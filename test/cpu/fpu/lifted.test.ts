// Floating-point instructions through decoder, lifter and engine: memory operands, state images, faults.
import { beforeEach, describe, expect, it } from "vitest";
import {
  ACTIVITY,
  Arena,
  CR0,
  CR4,
  FAULT_COUNTS,
  FPU_SW,
  FPU_TW,
  MXCSR,
  RIP,
  S_RAX,
  S_RDX,
  XCR0,
  XMM,
} from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { Engine } from "../../../cpu/run.ts";
import { resetCore, setPvhState, updateMode } from "../../../cpu/system/mode.ts";

const CODE = 0x1000;
const DATA = 0x4000;

interface Machine {
  readonly core: Core;
  readonly data: DataView;
  /** Runs 32-bit code followed by HLT; EDI is unused, memory operands are absolute. */
  run(...code: number[]): void;
}

/** Both engines in turn; `reference` picks the evaluator. */
let reference = false;

function machine(): Machine {
  const arena = new Arena(0x100000);
  const core = new Core(arena, 0, new CoreGroup());
  core.shared.cores.push(core);
  core.activate();
  resetCore(core);
  setPvhState(core, CODE, 0);
  const engine = reference ? new Engine(core, makeReference) : new Engine(core);
  const data = new DataView(arena.memory.buffer, arena.ram + DATA, 0x1000);
  return {
    core,
    data,
    run(...code) {
      core.u64[RIP >> 3] = BigInt(CODE);
      core.i32[ACTIVITY >> 2] = 0;
      core.i32[CR0 >> 2]! |= 0x22;
      core.i32[CR4 >> 2]! |= 0x40600;
      core.i32[XCR0 >> 2] = 3;
      updateMode(core);
      core.u8.set([...code, 0xf4], arena.ram + CODE);
      engine.blocks.flush();
      engine.run(core, core.now() + 1000);
    },
  };
}

const absolute = (address: number): number[] => [address & 255, (address >> 8) & 255, 0, 0];
/** ModRM with a 32-bit absolute address. */
const at = (reg: number, address: number): number[] => [(reg << 3) | 5, ...absolute(address)];

describe.each([
  ["interpreter", false],
  ["reference", true],
] as const)("in the %s", (_name, useReference) => {
  beforeEach(() => {
    reference = useReference;
  });

  describe("lifted x87 instructions", () => {
    it("load, add, and store doubles, tens and integers", () => {
      const m = machine();
      m.data.setFloat64(0, 2.5, true);
      m.run(0xdb, 0xe3, 0xdd, ...at(0, DATA), 0xd8, 0xc0, 0xdd, ...at(2, DATA + 8), 0xdf, ...at(7, DATA + 16));
      expect(m.data.getFloat64(8, true)).toBe(5);
      expect(m.data.getBigInt64(16, true)).toBe(5n);
      m.run(0xd9, 0xeb, 0xdb, ...at(7, DATA + 32));
      expect(m.data.getBigUint64(32, true)).toBe(0xc90fdaa22168c235n);
      expect(m.data.getUint16(40, true)).toBe(0x4000);
      expect(m.core.i32[FPU_TW >> 2]).toBe(0xffff);
    });

    it("leave memory alone when an unmasked exception suppresses the store", () => {
      const m = machine();
      m.data.setUint16(0, 0x37e, true);
      m.data.setUint32(16, 0x12345678, true);
      // FISTP with an empty stack and #I unmasked.
      m.run(0xdb, 0xe3, 0xd9, ...at(5, DATA), 0xdb, ...at(3, DATA + 16));
      expect(m.data.getUint32(16, true)).toBe(0x12345678);
      expect(m.core.i32[FPU_SW >> 2]! & 0x80c1).toBe(0x80c1);
    });

    it("report an unmasked exception on the next waiting instruction only", () => {
      const m = machine();
      m.data.setUint16(0, 0x37b, true);
      // 1 / 0 with #Z unmasked; FNSTSW AX does not wait, FLD1 does.
      m.run(0xdb, 0xe3, 0xd9, ...at(5, DATA), 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdf, 0xe0);
      expect(m.core.i32[(FAULT_COUNTS >> 2) + 16]).toBe(0);
      expect(Number(m.core.slot(S_RAX)) & 0x84).toBe(0x84);
      m.run(0xd9, 0xe8);
      expect(m.core.i32[(FAULT_COUNTS >> 2) + 16]).toBe(1);
    });

    it("save and restore everything in the 28-byte environment and 108-byte image", () => {
      const m = machine();
      m.run(0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xeb, 0xdd, ...at(6, DATA));
      expect(m.data.getUint32(0, true)).toBe(0xffff037f);
      expect(m.data.getUint32(4, true)).toBe(0xffff3000);
      expect(m.data.getUint32(8, true)).toBe(0xffff0fff);
      expect(m.data.getUint16(28 + 8, true)).toBe(0x4000);
      expect(m.core.i32[FPU_SW >> 2]).toBe(0);
      m.run(0xdd, ...at(4, DATA), 0xd9, ...at(6, DATA + 256));
      expect(m.core.i32[FPU_SW >> 2]).toBe(0x3000);
      expect(m.data.getUint16(256 + 8, true)).toBe(0x0fff);
    });

    it("fault with #NM while CR0.TS is set, FNSTSW included, and WAIT only with CR0.MP", () => {
      const m = machine();
      const count = (FAULT_COUNTS >> 2) + 7;
      m.core.i32[CR0 >> 2]! |= 8;
      m.run(0xdf, 0xe0);
      expect(m.core.i32[count]).toBe(1);
      m.run(0x9b);
      expect(m.core.i32[count]).toBe(2);
      m.run(0x0f, 0x58, 0xc0);
      expect(m.core.i32[count]).toBe(3);
    });
  });

  describe("lifted SSE instructions", () => {
    it("convert, multiply and compare with memory operands", () => {
      const m = machine();
      m.data.setInt32(0, 7, true);
      m.data.setFloat64(8, 1.5, true);
      // cvtsi2sd xmm0, [0]; mulsd xmm0, [8]; cvttsd2si eax, xmm0
      m.run(0xf2, 0x0f, 0x2a, ...at(0, DATA), 0xf2, 0x0f, 0x59, ...at(0, DATA + 8), 0xf2, 0x0f, 0x2c, 0xc0);
      expect(m.core.f64[XMM >> 3]).toBe(10.5);
      expect(m.core.slot(S_RAX)).toBe(10n);
    });

    it("raise #XM for an unmasked exception and write nothing", () => {
      const m = machine();
      m.data.setUint32(0, 0x1d80, true);
      // ldmxcsr with #Z unmasked; cvtsi2sd xmm0, [16] = 1; xorps xmm1, xmm1; divsd xmm0, xmm1
      m.data.setInt32(16, 1, true);
      m.run(
        0x0f,
        0xae,
        ...at(2, DATA),
        0xf2,
        0x0f,
        0x2a,
        ...at(0, DATA + 16),
        0x0f,
        0x57,
        0xc9,
        0xf2,
        0x0f,
        0x5e,
        0xc1,
      );
      expect(m.core.i32[(FAULT_COUNTS >> 2) + 19]).toBe(1);
      expect(m.core.f64[XMM >> 3]).toBe(1);
      expect(m.core.i32[MXCSR >> 2]).toBe(0x1d84);
    });
  });

  describe("FXSAVE and XSAVE", () => {
    it("round-trip registers through the 512-byte image", () => {
      const m = machine();
      m.data.setFloat64(0x800, 3, true);
      // fninit; fldpi; movsd xmm0, [800]; fxsave [0]
      m.run(0xdb, 0xe3, 0xd9, 0xeb, 0xf2, 0x0f, 0x10, ...at(0, DATA + 0x800), 0x0f, 0xae, ...at(0, DATA));
      expect(m.data.getUint16(0, true)).toBe(0x37f);
      expect(m.data.getUint8(4)).toBe(0x80);
      expect(m.data.getUint32(24, true)).toBe(0x1f80);
      expect(m.data.getBigUint64(32, true)).toBe(0xc90fdaa22168c235n);
      expect(m.data.getFloat64(160, true)).toBe(3);
      m.run(0xdb, 0xe3, 0x0f, 0x57, 0xc0, 0x0f, 0xae, ...at(1, DATA));
      expect(m.core.f64[XMM >> 3]).toBe(3);
      expect(m.core.i32[FPU_TW >> 2]! >> 14).toBe(0);
    });

    it("take images that cross a page", () => {
      const m = machine();
      m.data.setFloat64(0x800, 3, true);
      m.run(0xdb, 0xe3, 0xd9, 0xeb, 0xf2, 0x0f, 0x10, ...at(0, DATA + 0x800), 0x0f, 0xae, ...at(0, DATA + 0xf80));
      const image = new DataView(m.data.buffer, m.data.byteOffset + 0xf80, 512);
      expect(image.getBigUint64(32, true)).toBe(0xc90fdaa22168c235n);
      expect(image.getFloat64(160, true)).toBe(3);
      m.run(0xdb, 0xe3, 0x0f, 0x57, 0xc0, 0x0f, 0xae, ...at(1, DATA + 0xf80));
      expect(m.core.f64[XMM >> 3]).toBe(3);
    });

    it("marks only components in use, and restores absent ones to their initial state", () => {
      const m = machine();
      const all = [0xb8, 3, 0, 0, 0, 0xba, 0, 0, 0, 0];
      m.core.u8.fill(0, XMM, XMM + 512);
      m.data.setFloat64(0x800, 3, true);
      // fninit; movsd xmm0, [800]; eax = 3, edx = 0; xsave [0]
      m.run(0xdb, 0xe3, 0xf2, 0x0f, 0x10, ...at(0, DATA + 0x800), ...all, 0x0f, 0xae, ...at(4, DATA));
      expect(m.data.getUint32(512, true)).toBe(2);
      expect(m.data.getFloat64(160, true)).toBe(3);
      // fldpi; xorps xmm0, xmm0; xrstor [0]
      m.run(0xd9, 0xeb, 0x0f, 0x57, 0xc0, ...all, 0x0f, 0xae, ...at(5, DATA));
      expect(m.core.f64[XMM >> 3]).toBe(3);
      expect(m.core.i32[FPU_TW >> 2]).toBe(0xffff);
      // xor ecx, ecx; xgetbv
      m.run(0x31, 0xc9, 0x0f, 0x01, 0xd0);
      expect([m.core.slot(S_RAX), m.core.slot(S_RDX)]).toEqual([3n, 0n]);
    });

    it("refuses a header with reserved bytes set", () => {
      const m = machine();
      m.data.setUint8(528, 1);
      m.run(0xb8, 3, 0, 0, 0, 0xba, 0, 0, 0, 0, 0x0f, 0xae, ...at(5, DATA));
      expect(m.core.i32[(FAULT_COUNTS >> 2) + 13]).toBeGreaterThan(0);
    });
  });
});
