/** Where a region looks at the deadline (cpu/translator/deadlines.ts). */
import { expect, it } from "vitest";
import { placeLooks } from "../../../cpu/translator/deadlines.ts";
import type { Edge, Region, RegionBlock } from "../../../cpu/translator/region.ts";
import { analyse, edgesOf } from "../../../cpu/translator/structure.ts";
import { Random } from "../../support/random.ts";

const edge = (to: number): Edge => ({ to, offset: 16 * to });

function block(instructions: number, taken: number, straight: number): RegionBlock {
  return {
    record: 0,
    offset: 0,
    page: 0,
    terminal: 0,
    instructions,
    bytes: 0,
    crossing: false,
    taken: edge(taken),
    straight: edge(straight),
    targets: [],
  } as unknown as RegionBlock;
}

it("looks once a turn of a loop of four blocks", () => {
  const region: Region = { blocks: [block(2, 1, -1), block(2, 2, -1), block(2, 3, -1), block(4, 0, -1)], pages: [] };
  const { need, looks } = placeLooks(region, analyse(region));
  expect([...looks].map((e) => e.to)).toEqual([0]);
  expect([...need]).toEqual([6, 4, 2, 0]);
});

it("never runs past a cut at which nothing is left, and never far without a look", () => {
  const r = new Random(3);
  for (let n = 0; n < 300; n++) {
    const size = 1 + r.below(12);
    const blocks = Array.from({ length: size }, () =>
      block(1 + r.below(30), r.below(size + 2) - 1, r.below(size + 1) - 1),
    );
    for (const b of blocks) for (const e of edgesOf(b)) if (e.to >= size) e.to = -1;
    const region: Region = { blocks, pages: [] };
    const { need, looks } = placeLooks(region, analyse(region));
    for (let way = 0; way < 20; way++) {
      let left = 1 + r.below(400);
      let unseen = 0;
      // The entry refuses to begin with too little left.
      for (let b = 0; left > need[b]!; ) {
        left -= blocks[b]!.instructions;
        unseen += blocks[b]!.instructions;
        const out = r.pick(edgesOf(blocks[b]!));
        if (out.to < 0) break;
        if (looks.has(out)) {
          expect(unseen).toBeLessThanOrEqual(64 + 30);
          unseen = 0;
          if (left <= need[out.to]!) break;
        }
        expect(left).toBeGreaterThan(0);
        b = out.to;
      }
    }
  }
});
