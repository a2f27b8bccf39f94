/** Cores take turns, and each puts the other's pages out of the fetch TLB: all engines miss them alike. */
import { expect, it } from "vitest";
import { Core } from "../../../cpu/core.ts";
import { fetchEntry, newFetchEpoch } from "../../../cpu/mmu/tlb.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { BareCore, bytes, CODE } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";

/** Two pages that jump to each other, the second after an inc of eax and a jump of its own. */
const [HERE, THERE] = [bytes("e9 fb 0f 00 00"), bytes("ff c0 eb 00 e9 f7 ef ff ff")];

function missesInTurns(bare: BareCore, slice: number): unknown {
  bare.reset(HERE);
  bare.arena.u8.set(THERE, bare.arena.ram + CODE + 0x1000);
  const other = new Core(bare.arena, 1, bare.group);
  for (let turn = 0; turn < 100; turn++) {
    // Long turns, in which translated code goes from page to page, and short ones that may stay in one.
    bare.run(bare.core.now() + (turn % 2 === 0 ? 50 + (turn % 14) : slice));
    other.activate();
    for (const page of [CODE, CODE + 0x1000]) bare.core.i32[fetchEntry(true, page)] = 0;
    newFetchEpoch(bare.core);
    bare.core.activate();
  }
  return bare.state();
}

it.each([1, 2, 3])("cores whose short turns are %i cycles miss the fetch TLB alike in all engines", (slice) => {
  const translated = new BareCore(eagerTranslator());
  const expected = missesInTurns(new BareCore(makeReference), slice);
  expect(missesInTurns(new BareCore(makeInterpreter), slice)).toEqual(expected);
  expect(missesInTurns(translated, slice)).toEqual(expected);
});
