// FMA3 and F16C against the processor that the tests run on, where that is an x86-64 with gcc and has them.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CR4, MXCSR, XMM, XMM_STRIDE } from "../../../cpu/arena.ts";
import { FMA_132, FMA_213, FMA_231, FMA_SIGNS, type FmaOperation, fusedMultiply } from "../../../cpu/fpu/fma.ts";
import { halfToSingle, singleToHalf } from "../../../cpu/fpu/half.ts";
import { F32, F64, type FloatFormat } from "../../../cpu/fpu/softfloat.ts";
import { newCore } from "./model.ts";
import { type Case, hasOracle, MEMORY, MXCSR_AT, newCase, runNative, TRAPPED, XMM0, XMM1 } from "./oracle.ts";
import { Random, randomF32, randomF64 } from "./random.ts";

const core = newCore();
core.i32[CR4 >>> 2] = 0x600;

function hostHas(flag: string): boolean {
  return hasOracle() && new RegExp(`^flags\\s*:.*\\b${flag}\\b`, "m").test(readFileSync("/proc/cpuinfo", "utf8"));
}

/** Opcodes of the 132 forms of packed instructions; the scalar ones are one more, 213 and 231 are 0x10 and 0x20 more. */
const OPCODES: Readonly<Record<string, number>> = {
  FMADDSUB: 0x96,
  FMSUBADD: 0x97,
  FMADD: 0x98,
  FMSUB: 0x9a,
  FNMADD: 0x9c,
  FNMSUB: 0x9e,
};
const ORDERS = [
  ["132", FMA_132],
  ["213", FMA_213],
  ["231", FMA_231],
] as const;

interface Form {
  readonly name: string;
  readonly code: readonly number[];
  readonly fmt: FloatFormat;
  readonly operation: FmaOperation;
}

/** Every FMA instruction on xmm0, xmm1 and [rdi]. */
function fmaForms(): Form[] {
  const forms: Form[] = [];
  for (const [stem, opcode] of Object.entries(OPCODES))
    for (const [digits, order] of ORDERS)
      for (const fmt of [F32, F64])
        for (const scalar of [false, true]) {
          if (scalar && /SUBADD|ADDSUB/.test(stem)) continue;
          const w = fmt === F64 ? 0x80 : 0;
          forms.push({
            name: `V${stem}${digits}${scalar ? "S" : "P"}${fmt === F64 ? "D" : "S"}`,
            code: [0xc4, 0xe2, w | 0x71, opcode + order * 0x10 + (scalar ? 1 : 0), 0x07],
            fmt,
            operation: fusedMultiply(order, FMA_SIGNS[stem]!, fmt, scalar ? 1 : fmt === F64 ? 2 : 4),
          });
        }
  return forms;
}

function mxcsr(r: Random): number {
  const masks = r.below(2) ? 0x1f80 : r.below(64) << 7;
  const special = (r.below(4) === 0 ? 0x8000 : 0) | (r.below(4) === 0 ? 0x40 : 0);
  // One in three takes the fast path.
  return r.below(3) === 0 ? 0x1fa0 : (r.below(4) << 13) | special | masks | (r.below(2) ? r.below(64) : 0);
}

const bits = new DataView(new ArrayBuffer(8));

/** Random elements, near enough to each other that most sums are not only one of their terms. */
function fillElements(r: Random, view: Case, fmt: FloatFormat): void {
  for (let k = 0; k < 16; k += fmt.bits / 8) {
    const near = r.below(3);
    const values = [XMM0, XMM1, MEMORY].map((at) => {
      if (fmt === F32) {
        bits.setUint32(0, randomF32(r));
        if (near > 0) bits.setFloat32(0, (r.next() / 2 ** 31 - 1) * 2 ** (r.below(16) - 8));
        view.setFloat32(at + k, bits.getFloat32(0), true);
        view.setUint32(at + k, bits.getUint32(0), true);
        return bits.getFloat32(0);
      }
      bits.setBigUint64(0, randomF64(r));
      if (near > 0) bits.setFloat64(0, (Number(r.bits(53)) / 2 ** 52 - 1) * 2 ** (r.below(16) - 8));
      view.setBigUint64(at + k, bits.getBigUint64(0), true);
      return bits.getFloat64(0);
    });
    if (near !== 1) continue;
    // Cancellation: one of them is about the product of the others, which of them depends on the form.
    const target = r.below(3);
    const [x, y] = values.filter((_, i) => i !== target) as [number, number];
    const sign = r.below(2) ? 1 : -1;
    const at = [XMM0, XMM1, MEMORY][target]! + k;
    if (fmt === F32) view.setFloat32(at, sign * x * y, true);
    else view.setFloat64(at, sign * x * y, true);
  }
}

function load(view: Case): void {
  [XMM0, XMM1, MEMORY].forEach((at, register) => {
    for (let k = 0; k < 16; k += 8) core.u64[(XMM + register * XMM_STRIDE + k) >>> 3] = view.getBigUint64(at + k, true);
  });
  core.i32[MXCSR >>> 2] = view.getUint32(MXCSR_AT, true);
}

/** What differs between the processor's record and the core's state with the result in register 0. */
function differ(native: Case, fault: number): string[] {
  const found: string[] = [];
  const trapped = native.getUint32(TRAPPED, true);
  if (trapped !== (fault === 0 ? 0 : 8)) found.push(`trap: processor ${trapped}, model ${fault}`);
  const status = core.i32[MXCSR >>> 2]!;
  if (native.getUint32(MXCSR_AT, true) !== status)
    found.push(`mxcsr: processor ${native.getUint32(MXCSR_AT, true).toString(16)}, model ${status.toString(16)}`);
  for (let k = 0; k < 16; k += 8) {
    const x = native.getBigUint64(XMM0 + k, true);
    const y = core.u64[(XMM + k) >>> 3]!;
    if (x !== y) found.push(`xmm0+${k}: processor ${x.toString(16)}, model ${y.toString(16)}`);
  }
  return found;
}

function describeInput(view: Case): string {
  const words = [XMM0, XMM1, MEMORY].map(
    (at) => `${view.getBigUint64(at + 8, true).toString(16)}_${view.getBigUint64(at, true).toString(16)}`,
  );
  return `mxcsr ${view.getUint32(MXCSR_AT, true).toString(16)} operands ${words.join(" ")}`;
}

describe.skipIf(!hostHas("fma"))("FMA3 on this processor", () => {
  it("agrees with the model to the bit, exceptions and NaNs included", () => {
    const r = new Random(Number(process.env.XENOSCOPE_SEED ?? 2026));
    const each = Number(process.env.XENOSCOPE_EACH ?? 300);
    const runs = fmaForms().flatMap((form) =>
      Array.from({ length: each }, () => {
        const view = newCase(form.code);
        view.setUint32(MXCSR_AT, mxcsr(r), true);
        fillElements(r, view, form.fmt);
        return { form, view };
      }),
    );
    const native = runNative(runs.map((run) => run.view));
    const failures: string[] = [];
    runs.forEach(({ form, view }, i) => {
      load(view);
      const fault = form.operation(core, XMM, XMM + XMM_STRIDE, XMM + 2 * XMM_STRIDE);
      const found = differ(native[i]!, fault);
      if (found.length > 0) failures.push(`${form.name} ${describeInput(view)}\n  ${found.join("\n  ")}`);
    });
    expect(failures.slice(0, 5)).toEqual([]);
    expect(runs.length).toBeGreaterThan(10_000);
  });
});

describe.skipIf(!hostHas("f16c"))("F16C on this processor", () => {
  it("VCVTPH2PS agrees on every half, whatever MXCSR says", () => {
    const operation = halfToSingle(4);
    const views: Case[] = [];
    for (const status of [0x9fc0, 0x003f])
      for (let first = 0; first < 0x10000; first += 4) {
        const view = newCase([0xc4, 0xe2, 0x79, 0x13, 0xc1]);
        view.setUint32(MXCSR_AT, status, true);
        for (let k = 0; k < 4; k++) view.setUint16(XMM1 + k * 2, first + k, true);
        views.push(view);
      }
    const failures: string[] = [];
    runNative(views).forEach((native, i) => {
      load(views[i]!);
      const found = differ(native, operation(core, XMM, XMM, XMM + XMM_STRIDE, 0));
      if (found.length > 0) failures.push(`${describeInput(views[i]!)}\n  ${found.join("\n  ")}`);
    });
    expect(failures.slice(0, 5)).toEqual([]);
  });

  it("VCVTPS2PH agrees to the bit, exceptions included", () => {
    const r = new Random(Number(process.env.XENOSCOPE_SEED ?? 16));
    const operation = singleToHalf(4, 16);
    const runs = Array.from({ length: 20 * Number(process.env.XENOSCOPE_EACH ?? 300) }, () => {
      const imm = r.below(256);
      const view = newCase([0xc4, 0xe3, 0x79, 0x1d, 0xc8, imm]);
      view.setUint32(MXCSR_AT, mxcsr(r), true);
      for (let k = 0; k < 16; k += 4) {
        view.setUint32(XMM1 + k, randomF32(r), true);
        // In or near the range of halves, and near their midpoints.
        if (r.below(3)) {
          const exponent = 127 - 28 + r.below(48);
          const fraction = r.below(2) ? r.next() & 0x7fffff : (r.next() & 0x7ff000) + r.below(3) - 1;
          view.setUint32(XMM1 + k, ((r.below(2) << 31) | (exponent << 23) | (fraction & 0x7fffff)) >>> 0, true);
        }
      }
      return { imm, view };
    });
    const failures: string[] = [];
    runNative(runs.map((run) => run.view)).forEach((native, i) => {
      const { imm, view } = runs[i]!;
      load(view);
      const found = differ(native, operation(core, XMM, XMM, XMM + XMM_STRIDE, imm));
      if (found.length > 0) failures.push(`imm ${imm} ${describeInput(view)}\n  ${found.join("\n  ")}`);
    });
    expect(failures.slice(0, 5)).toEqual([]);
  });
});
