import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { EVALUATE } from "../../../cpu/reference/evaluator.ts";
import { ALU_ADD, alu, FORM_RI } from "../../../cpu/uops/uop.ts";
import type { MachineApi } from "../../../src/machine/api.ts";
import { LockstepError } from "../../../src/machine/lockstep.ts";
import { Machine } from "../../../src/machine/machine.ts";

const kernel = new Uint8Array(readFileSync(fileURLToPath(new URL("../../../guests/pvh/pvh.elf", import.meta.url))));

async function machine(): Promise<{ m: MachineApi; text: () => string }> {
  const m = await Machine.create({
    engine: "lockstep",
    domains: [{ name: "guest", type: "pvh", kernel, cmdline: "", memory: 16 << 20 }],
  });
  let text = "";
  m.console(1).onOutput((bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  });
  return { m, text: () => text };
}

describe("a machine in lockstep", () => {
  const kind = alu(ALU_ADD, FORM_RI, 3);
  const kept = EVALUATE[kind];
  afterEach(() => {
    EVALUATE[kind] = kept;
  });

  it("runs our own PVH kernel to its end, the engines agreeing all the way", async () => {
    const { m, text } = await machine();
    expect(m.run({ maxCycles: 20_000_000 })).toBe("all-shutdown");
    expect(text()).toMatch(/hello: \d+ passed, 0 failed/);
    expect(m.report().machine.engine).toBe("lockstep");
  });

  it("stops at the first block that an engine gets wrong, and names it", async () => {
    EVALUATE[kind] = (state, u) => {
      const status = kept!(state, u);
      if (state.get(state.d(u), 0) === 0x10n) state.set(0x78, 3, 0x1234567n);
      return status;
    };
    const { m } = await machine();
    const error = (() => {
      try {
        m.run({ maxCycles: 20_000_000 });
      } catch (caught) {
        return caught;
      }
      return null;
    })();
    expect(error).toBeInstanceOf(LockstepError);
    expect(String(error)).toMatch(/d1v0 r15 .*1234567/);
  });
});
