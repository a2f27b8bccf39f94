/** A guest that writes code for ever: the translator forgets in time, and nothing else changes. */
import { describe, expect, it } from "vitest";
import { linkInterpreter, makeEnvironment } from "../../../cpu/interpreter/link.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore } from "../../support/bare-core.ts";

/**
 * For ever: at each of 4,096 places, write `mov eax, n; add ebp, eax; ret`, then call it eight times.
 *
 *       xor r12d, r12d
 *    1: mov ebx, 0x40000
 *    2: mov byte [rbx], 0xb8;  mov [rbx+1], r12d;  mov byte [rbx+5], 1;  mov byte [rbx+6], 0xc5;  mov byte [rbx+7], 0xc3
 *       mov ecx, 8
 *    3: call rbx;  dec ecx;  jnz 3b
 *       add rbx, 64;  inc r12d;  cmp rbx, 0x80000;  jb 2b;  jmp 1b
 */
const PROGRAM =
  "4531e4bb00000400c603b844896301c6430501c64306c5c64307c3b908000000ffd3ffc975fa4883c34041ffc44881fb0000080072d2ebcb";
const BOUND = 16_000;
const CYCLES = 300_000;

describe("the translator", () => {
  it("keeps its code below the bound under a guest that generates code for ever", () => {
    const code = Uint8Array.from(Buffer.from(PROGRAM, "hex"));
    let translator: Translator | undefined;
    let table: WebAssembly.Table | undefined;
    const translated = new BareCore((engine, core) => {
      const environment = makeEnvironment(core);
      table = environment.table;
      translator = new Translator(core, engine.blocks, environment, { warm: 2, batch: 4, patience: 1, bound: BOUND });
      return { run: linkInterpreter(core, environment), translator };
    });
    const interpreted = new BareCore(makeInterpreter);
    for (const bare of [translated, interpreted]) {
      bare.reset(code);
      bare.run(CYCLES);
    }
    expect(translator!.counts.flushes).toBeGreaterThan(2);
    expect(translator!.counts.functions).toBeGreaterThan(100);
    expect(translator!.codeBytes).toBeLessThanOrEqual(BOUND);
    // Entries of the table are used again.
    expect(table!.length).toBeLessThan(translator!.counts.functions / 2);
    const [found, expected] = [translated.state(), interpreted.state()];
    expect(found).toEqual(expected);
  });
});
