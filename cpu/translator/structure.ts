/**
 * Control flow of a region as WebAssembly's structured blocks: the dominator tree is walked, loop headers become
 * `loop`, blocks with several forward predecessors become the end of a `block` (N. Ramsey, "Beyond Relooper", ICFP 2022). Back edges whose
 * target does not dominate them (irreducible flow) leave the region instead.
 */
import type { Edge, Region, RegionBlock } from "./region.ts";

export interface Structure {
  /** Position in reverse postorder, by block; -1 unreachable. */
  readonly order: Int32Array;
  /** Blocks that `block` immediately dominates, in reverse postorder. */
  readonly children: readonly (readonly number[])[];
  readonly isHeader: readonly boolean[];
  /** Has several forward predecessors. */
  readonly isMerge: readonly boolean[];
}

export const edgesOf = (b: RegionBlock): Edge[] =>
  [b.taken, b.straight, ...b.targets].filter((e): e is Edge => e !== null);

/** Analyses the region; edges that would make it irreducible are turned into exits. */
export function analyse(region: Region): Structure {
  const { blocks } = region;
  const n = blocks.length;
  const order = new Int32Array(n).fill(-1);
  const sequence = reversePostorder(region);
  sequence.forEach((b, i) => {
    order[b] = i;
  });
  const predecessors: number[][] = blocks.map(() => []);
  for (const b of sequence) for (const e of edgesOf(blocks[b]!)) if (e.to >= 0) predecessors[e.to]!.push(b);

  // Cooper, Harvey, Kennedy: iterate to the immediate dominators.
  const idom = new Int32Array(n).fill(-1);
  idom[0] = 0;
  const meet = (a: number, b: number): number => {
    let x = a;
    let y = b;
    while (x !== y) {
      while (order[x]! > order[y]!) x = idom[x]!;
      while (order[y]! > order[x]!) y = idom[y]!;
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const b of sequence) {
      if (b === 0) continue;
      let dominator = -1;
      for (const p of predecessors[b]!) if (idom[p]! >= 0) dominator = dominator < 0 ? p : meet(dominator, p);
      if (dominator !== idom[b]) {
        idom[b] = dominator;
        changed = true;
      }
    }
  }
  const dominates = (a: number, b: number): boolean => {
    let x = b;
    while (order[x]! > order[a]!) x = idom[x]!;
    return x === a;
  };

  const isHeader = new Array<boolean>(n).fill(false);
  const forward = new Int32Array(n);
  for (const b of sequence)
    for (const e of edgesOf(blocks[b]!)) {
      if (e.to < 0) continue;
      if (order[e.to]! > order[b]!) forward[e.to]!++;
      else if (dominates(e.to, b)) isHeader[e.to] = true;
      else e.to = -1;
    }
  const children: number[][] = blocks.map(() => []);
  for (const b of sequence) if (b !== 0) children[idom[b]!]!.push(b);
  return { order, children, isHeader, isMerge: [...forward].map((count) => count > 1) };
}

function reversePostorder(region: Region): number[] {
  const seen = new Set<number>();
  const out: number[] = [];
  const visit = (b: number): void => {
    seen.add(b);
    // Straight successors last, so that they come first: code falls through in the order of its addresses.
    for (const e of edgesOf(region.blocks[b]!)) if (e.to >= 0 && !seen.has(e.to)) visit(e.to);
    out.push(b);
  };
  visit(0);
  return out.reverse();
}
