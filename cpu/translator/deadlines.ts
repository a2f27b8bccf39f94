/**
 * Where a region looks at the deadline. Every edge between blocks is a cut, where the slice ends if nothing of it is left. But a look that finds
 * more left than the longest way to the next look takes will do for all edges on that way; if it finds less, the region is left, and the
 * interpreter goes on from cut to cut. So loops look once a turn, at the edge back.
 */
import type { Edge, Region } from "./region.ts";
import { edgesOf, type Structure } from "./structure.ts";

/** Instructions between two looks, at most: what the interpreter has to do at the end of a slice. */
const MOST = 64;

export interface Deadlines {
  /** Instructions of which more must be left where a block is entered, by block. */
  readonly need: Int32Array;
  /** Edges with a look. Also those of a block that calls something which may end the slice need one. */
  readonly looks: ReadonlySet<Edge>;
}

export function placeLooks({ blocks }: Region, { order }: Structure): Deadlines {
  const need = new Int32Array(blocks.length);
  const looks = new Set<Edge>();
  const backwards = blocks.map((_, b) => b).filter((b) => order[b]! >= 0);
  backwards.sort((a, b) => order[b]! - order[a]!);
  for (const b of backwards) {
    const { instructions, targets } = blocks[b]!;
    for (const edge of edgesOf(blocks[b]!)) {
      if (edge.to < 0) continue;
      const way = instructions + need[edge.to]!;
      // Of several computed targets all are looked at together.
      if (order[edge.to]! <= order[b]! || way > MOST || targets.length > 1) looks.add(edge);
      else need[b] = Math.max(need[b]!, way);
    }
  }
  return { need, looks };
}
