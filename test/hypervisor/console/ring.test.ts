import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { putInput, type RingPage, takeOutput } from "../../../hypervisor/console/ring.ts";

const [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] = [3072, 3076, 3080, 3084];

class Page implements RingPage {
  readonly bytes = new Uint8Array(4096);
  private readonly view = new DataView(this.bytes.buffer);

  read32(offset: number): number {
    return this.view.getUint32(offset, true);
  }
  write32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true);
  }
  read(offset: number, length: number): Uint8Array {
    if (offset + length > 4096) throw new Error("read beyond the page");
    return this.bytes.slice(offset, offset + length);
  }
  write(offset: number, bytes: Uint8Array): void {
    if (offset + bytes.length > 1024) throw new Error("write beyond the input ring");
    this.bytes.set(bytes, offset);
  }
}

describe("the console ring", () => {
  it("takes output across the end of the ring and across the end of the indices", () => {
    const page = new Page();
    const start = 0xffffffff - 2;
    page.write32(OUT_CONS, start);
    page.write32(OUT_PROD, 5);
    const text = new TextEncoder().encode("abcdefgh");
    text.forEach((byte, i) => {
      page.bytes[1024 + ((start + i) & 2047)] = byte;
    });
    expect(new TextDecoder().decode(takeOutput(page))).toBe("abcdefgh");
    expect(page.read32(OUT_CONS)).toBe(5);
    expect(takeOutput(page)).toHaveLength(0);
  });

  it("puts in what fits and no more", () => {
    const page = new Page();
    page.write32(IN_CONS, 1000);
    page.write32(IN_PROD, 1010);
    const bytes = Uint8Array.from({ length: 2000 }, (_, i) => i & 0xff);
    expect(putInput(page, bytes)).toBe(1014);
    expect(page.read32(IN_PROD)).toBe(2024);
    expect([page.bytes[1010], page.bytes[1023], page.bytes[0]]).toEqual([0, 13, 14]);
    expect(putInput(page, bytes)).toBe(0);
  });

  it("leaves a ring alone whose indices can't be", () => {
    const page = new Page();
    page.write32(OUT_PROD, 2049);
    page.write32(IN_PROD, 1025);
    expect(takeOutput(page)).toHaveLength(0);
    expect(putInput(page, Uint8Array.of(1))).toBe(0);
    expect([page.read32(OUT_CONS), page.read32(IN_PROD)]).toEqual([0, 1025]);
  });

  it("touches nothing but its part of the page, whatever the indices are", () => {
    const index = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    const near = fc
      .tuple(index, fc.integer({ min: -3, max: 2100 }))
      .map(([a, d]): [number, number] => [a, (a + d) >>> 0]);
    fc.assert(
      fc.property(near, near, fc.uint8Array({ maxLength: 1500 }), ([inCons, inProd], [outCons, outProd], bytes) => {
        const page = new Page();
        [inCons, inProd, outCons, outProd].forEach((value, i) => {
          page.write32(IN_CONS + 4 * i, value);
        });
        const output = takeOutput(page);
        const filled = (outProd - outCons) >>> 0;
        expect(output).toHaveLength(filled <= 2048 ? filled : 0);
        const room = 1024 - ((inProd - inCons) >>> 0);
        expect(putInput(page, bytes)).toBe(Math.max(0, Math.min(bytes.length, room)));
        expect(page.bytes.subarray(1024, 3072).every((byte) => byte === 0)).toBe(true);
        expect([page.read32(IN_CONS), page.read32(OUT_PROD)]).toEqual([inCons, outProd]);
      }),
      { numRuns: 200, seed: 1 },
    );
  });
});
