// Every SSE floating-point instruction against the processor that the tests run on, where that is an x86-64 with gcc.
import { describe, expect, it } from "vitest";
import { F64 } from "../../../cpu/fpu/softfloat.ts";
import { describeCase, differSse, sseCase, sseForms } from "./cases.ts";
import { newCore, runSse } from "./model.ts";
import { hasOracle, newCase, runNative, XMM0, XMM1 } from "./oracle.ts";
import { Random } from "./random.ts";
import { encode } from "./sse-encodings.ts";

const EACH = 100;
const core = newCore();
const APPROXIMATE = /^R(CP|SQRT)[PS]S$/;

describe.skipIf(!hasOracle())("SSE floating point on this processor", () => {
  it("agrees with the model to the bit, exceptions and flags included", () => {
    const r = new Random(815);
    const runs = sseForms()
      .filter((form) => !APPROXIMATE.test(form.name))
      .flatMap((form) => Array.from({ length: EACH }, () => ({ form, ...sseCase(r, form) })));
    const native = runNative(runs.map((run) => run.view));
    const failures: string[] = [];
    runs.forEach(({ form, view, imm }, i) => {
      const found = differSse(native[i] as DataView, runSse(core, view, form.name, form.wide, imm));
      if (found.length > 0) failures.push(`${form.name} ${describeCase(view)}\n  ${found.join("\n  ")}`);
    });
    expect(failures.slice(0, 5)).toEqual([]);
    expect(runs.length).toBeGreaterThan(5000);
  });

  it("gives the same special values for RCPPS and RSQRTPS", () => {
    const special = [
      0, 0x80000000, 1, 0x80000001, 0x7f800000, 0xff800000, 0x7fc01234, 0x7f801234, 0xbf800000, 0x7f7fffff,
    ];
    for (const name of ["RCPSS", "RSQRTSS"]) {
      const views = special.map((bits) => {
        const view = newCase(encode(name, false, 0));
        view.setUint32(XMM1, bits, true);
        return view;
      });
      const native = runNative(views);
      views.forEach((view, i) => {
        const model = runSse(core, view, name, false, 0);
        // The largest normal numbers have a reciprocal root that is no special value.
        if (name === "RSQRTSS" && special[i] === 0x7f7fffff) return;
        // Nor is the reciprocal of -1 on every processor.
        if (name === "RCPSS" && special[i] === 0xbf800000) return;
        expect(model.getUint32(XMM0, true), `${name} ${special[i]?.toString(16)}`).toBe(
          native[i]?.getUint32(XMM0, true),
        );
      });
    }
  });
});

describe("approximations", () => {
  it("stay within a relative error of 1.5 * 2^-12", () => {
    const r = new Random(12);
    const view = newCase([0x90]);
    for (let i = 0; i < 20000; i++) {
      const x = (1 + r.next() / 2 ** 32) * 2 ** (r.below(200) - 100);
      view.setFloat32(XMM1, x, true);
      const exact = view.getFloat32(XMM1, true);
      const reciprocal = runSse(core, view, "RCPSS", false, 0).getFloat32(XMM0, true);
      expect(Math.abs(reciprocal * exact - 1)).toBeLessThan(1.5 * 2 ** -12);
      const root = runSse(core, view, "RSQRTSS", false, 0).getFloat32(XMM0, true);
      expect(Math.abs(root * Math.sqrt(exact) - 1)).toBeLessThan(1.5 * 2 ** -12);
    }
  });
});

describe("the fast path", () => {
  it("gives what the rounding core gives", () => {
    const r = new Random(99);
    for (let i = 0; i < 3000; i++) {
      for (const name of [
        "ADDSD",
        "SUBSD",
        "MULSD",
        "DIVSD",
        "SQRTSD",
        "MINSD",
        "ADDPS",
        "MULPS",
        "DIVPS",
        "SQRTPS",
        "CVTSD2SS",
      ]) {
        if (i % 11 !== 0 && name !== r.pick(["MULPS", "DIVPS", name])) continue;
        const { view } = sseCase(r, { name, wide: false });
        view.setUint32(184, 0x1fa0, true);
        const fast = runSse(core, view, name, false, 0);
        // Without PE set in advance the slow path is taken.
        view.setUint32(184, 0x1f80, true);
        const slow = runSse(core, view, name, false, 0);
        for (const at of [XMM0, XMM0 + 8]) expect(fast.getBigUint64(at, true)).toBe(slow.getBigUint64(at, true));
        expect(fast.getUint32(184, true)).toBe(slow.getUint32(184, true) | 0x20);
      }
    }
    expect(F64.precision).toBe(53);
  });
});
