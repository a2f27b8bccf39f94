import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from "../../../../src/machine/images/lz4.ts";

/** A count as the format writes what its four bits don't hold. */
const rest = (count: number): number[] => {
  if (count < 15) return [];
  const bytes: number[] = [];
  let left = count - 15;
  for (; left >= 255; left -= 255) bytes.push(255);
  return [...bytes, left];
};

const sequences = fc.array(
  fc.record({
    literals: fc.uint8Array({ maxLength: 300 }),
    distance: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 65535 })),
    length: fc.oneof(fc.integer({ min: 4, max: 40 }), fc.integer({ min: 4, max: 2000 })),
  }),
  { maxLength: 20 },
);

test("a legacy frame gives what literals and matches at any distance say, byte by byte", () => {
  fc.assert(
    fc.property(sequences, fc.uint8Array({ minLength: 1, maxLength: 40 }), (drawn, tail) => {
      const block: number[] = [];
      const expected: number[] = [];
      for (const { literals, distance, length } of drawn) {
        if (expected.length + literals.length === 0) continue;
        expected.push(...literals);
        const back = ((distance - 1) % expected.length) + 1;
        block.push(
          (Math.min(literals.length, 15) << 4) | Math.min(length - 4, 15),
          ...rest(literals.length),
          ...literals,
        );
        block.push(back & 255, back >> 8, ...rest(length - 4));
        for (let n = 0; n < length; n++) expected.push(expected[expected.length - back]!);
      }
      block.push(Math.min(tail.length, 15) << 4, ...rest(tail.length), ...tail);
      expected.push(...tail);
      const size = [0, 8, 16, 24].map((shift) => (block.length >> shift) & 255);
      const frame = Uint8Array.from([...LZ4_LEGACY_MAGIC, ...size, ...block]);
      expect(decodeLz4Legacy(frame, expected.length)).toEqual(Uint8Array.from(expected));
      expect(() => decodeLz4Legacy(frame, expected.length + 1)).toThrow("corrupted");
      if (expected.length > 1) expect(() => decodeLz4Legacy(frame, expected.length - 1)).toThrow("corrupted");
    }),
    { numRuns: 100 },
  );
});
