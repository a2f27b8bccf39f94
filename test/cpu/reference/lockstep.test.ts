import { afterEach, describe, expect, it } from "vitest";
import { EVALUATE, makeReference } from "../../../cpu/reference/evaluator.ts";
import { coreState, disassembleAhead, lastMicroOps, memoryState } from "../../../cpu/reference/inspect.ts";
import { describeDifference, narrow, type Side } from "../../../cpu/reference/lockstep.ts";
import { U_INC, U_STORE } from "../../../cpu/uops/uop.ts";
import { BareCore, bytes } from "../../support/bare-core.ts";

const interpreter = new BareCore();
const reference = new BareCore(makeReference);

/** A loop: inc eax; mov [rsi+rax*4], eax; nop; jmp back. */
const LOOP = bytes("ff c0  89 04 86  90  eb f8");

function side(bare: BareCore): Side {
  bare.reset(LOOP, { registers: [0n, 0n, 0n, 0n, 0x31000n, 0n, 0x20000n] });
  const { core } = bare;
  return {
    get cycle() {
      return core.now();
    },
    advance: (cycle) => core.now() >= cycle || bare.run(cycle) === 0,
    state: () => ({ ...coreState(core), memory: memoryState(core.arena) }),
    ahead: () => disassembleAhead(core, 4),
    behind: () => lastMicroOps(core),
  };
}
const sides = (): readonly [Side, Side] => [side(interpreter), side(reference)];

describe("lockstep", () => {
  const kinds = [U_INC + 2, U_STORE + 2];
  const kept = kinds.map((kind) => EVALUATE[kind]);
  afterEach(() => {
    kinds.forEach((kind, n) => {
      EVALUATE[kind] = kept[n];
    });
  });

  it("finds no difference between engines that agree", () => {
    expect(narrow(sides, 0, 8000)).toBeNull();
  });

  it("names the block, its instructions and micro-ops, and the register that differs", () => {
    EVALUATE[U_INC + 2] = (m, u) => {
      const status = kept[0]!(m, u);
      if (m.get(0, 2) === 700n) m.set(8, 3, 1n);
      return status;
    };
    const difference = narrow(sides, 0, 8000)!;
    expect(difference.equalAt).toBe(699 * 4);
    expect(difference.fields).toEqual([["rcx", "0", "1"]]);
    const text = describeDifference(difference, ["interpreter", "reference"]).join("\n");
    expect(text).toContain("10000  ff c0                          inc eax");
    expect(text).toContain("inc32 rax");
    expect(text).toContain("store32 rax, [rsi+rax*4]");
    expect(text).toMatch(/rcx {2}0 {2}1/);
  });

  it("sees a difference in memory alone", () => {
    EVALUATE[U_STORE + 2] = (m, u) => {
      const wrong = m.get(0, 2) === 333n;
      if (wrong) m.set(0, 2, 334n);
      const status = kept[1]!(m, u);
      if (wrong) m.set(0, 2, 333n);
      return status;
    };
    const difference = narrow(sides, 0, 4000)!;
    expect(difference.equalAt).toBe(332 * 4);
    expect(difference.fields.map(([name]) => name)).toEqual(["memory"]);
  });
});
