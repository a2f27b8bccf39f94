/**
 * The XSAVE family with x87, SSE and AVX state on our core and on the host's processor: what is in use, what is written, which
 * headers are refused. Other components than these the host may have, so EDX:EAX never asks for more.
 */
import { describe, expect, it } from "vitest";
import { differences, describe as explain } from "./compare.ts";
import { newWorld } from "./generate.ts";
import { askHost, hasHost, hasHostV3 } from "./host.ts";
import { Random } from "./random.ts";
import { Subject } from "./subject.ts";
import { type Vector, WINDOW } from "./vector.ts";

const FORMS: readonly (readonly [name: string, ...code: number[]])[] = [
  ["XSAVE", 0x0f, 0xae, 0x21],
  ["XSAVE64", 0x48, 0x0f, 0xae, 0x21],
  ["XSAVEOPT", 0x0f, 0xae, 0x31],
  ["XSAVEC", 0x0f, 0xc7, 0x21],
  ["XSAVEC64", 0x48, 0x0f, 0xc7, 0x21],
  ["XRSTOR", 0x0f, 0xae, 0x29],
  ["XRSTOR64", 0x48, 0x0f, 0xae, 0x29],
];
/** Bytes from the image to the window: legacy area, header, AVX component. */
const LEGACY = 0;
const HEADER = 512;
const AVX = 576;
const RCX = 1;
const VECTORS = 1500;

/** A header of `mem`: bits of components, in either format, rarely something that must be zero. */
function header(r: Random, mem: Uint8Array, at: number): void {
  mem.fill(0, at, at + 64);
  mem[at] = r.below(8);
  if (r.chance(10)) mem[at + 1 + r.below(60)] = 1 << r.below(8);
  if (r.chance(60)) return;
  mem[at + 8] = r.chance(70) ? mem[at]! | r.below(8) : r.below(8);
  mem[at + 15] = 0x80;
}

function vector(r: Random): Vector {
  const { gpr, mem, fx, ymmh } = newWorld(r);
  const [row, ...code] = r.pick(FORMS);
  const back = r.pick([HEADER, HEADER, HEADER, LEGACY, AVX, AVX + 64]);
  gpr[RCX] = BigInt(WINDOW - back + (r.chance(3) ? 8 : 0));
  gpr[0] = BigInt(r.below(8));
  gpr[2] = 0n;
  if (back === HEADER) header(r, mem, 0);
  if (back === LEGACY) mem[26] = mem[27] = 0;
  if (r.chance(10)) ymmh.fill(0);
  return { size: 64, code: Uint8Array.from(code), gpr, rflags: 0x202, mem, fx, ymmh, mask: 0x40ed5, row };
}

describe.skipIf(!hasHost() || !hasHostV3())("our core agrees with the host's processor", () => {
  it("on the XSAVE family with AVX state", () => {
    const r = new Random(Number(process.env.XENOSCOPE_SEED ?? 6));
    const vectors = Array.from({ length: VECTORS }, () => vector(r));
    const subject = new Subject();
    const wrong: string[] = [];
    askHost(vectors).forEach((want, n) => {
      const v = vectors[n]!;
      const found = differences(v, want, subject.run(v));
      if (found.length > 0) wrong.push(`${explain(v)}\n  ${found.join("\n  ")}`);
    });
    expect(wrong.slice(0, 3).join("\n")).toBe("");
  });
});
