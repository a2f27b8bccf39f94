/** A guest that writes code for ever: the translator forgets in time, and nothing else changes. */
import { afterEach, describe, expect, it } from "vitest";
import { linkInterpreter, makeEnvironment } from "../../../cpu/interpreter/link.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { MODULE_BYTES, Translator } from "../../../cpu/translator/translator.ts";
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
/**
 * The same with a second place each time, that stays as it is written: 4,096 of 64 bytes from 0x80000 on; the first are 64 places.
 *
 *       xor r12d, r12d;  mov r13d, 0x80000
 *    1: mov ebx, 0x40000
 *    2: mov rdi, rbx;  call 4f;  mov rdi, r13;  call 4f
 *       add rbx, 64;  add r13, 64;  inc r12d;  cmp r13, 0xc0000;  jae 5f;  cmp rbx, 0x41000;  jb 2b;  jmp 1b
 *    4: mov byte [rdi], 0xb8;  mov [rdi+1], r12d;  mov byte [rdi+5], 1;  mov byte [rdi+6], 0xc5;  mov byte [rdi+7], 0xc3
 *       mov ecx, 3
 *    3: call rdi;  dec ecx;  jnz 3b;  ret
 *    5: jmp 5b
 */
const MIXED =
  "4531e441bd00000800bb000004004889dfe8270000004c89efe81f0000004883c3404983c54041ffc44981fd00000c00732a4881fb0010040072d3ebccc607b844896701c6470501c64706c5c64707c3b903000000ffd7ffc975fac3ebfe";
const BOUND = 2_000_000;

/** Bytes of the modules that functions of `table` belong to, and how many they are: what cannot be collected. */
function holds(
  table: WebAssembly.Table,
  modules: WeakMap<object, { bytes: number }>,
): { bytes: number; count: number } {
  const found = new Set<{ bytes: number }>();
  for (let i = 0; i < table.length; i++) {
    const of = table.get(i) === null ? undefined : modules.get(table.get(i));
    if (of !== undefined) found.add(of);
  }
  return { bytes: [...found].reduce((sum, { bytes }) => sum + bytes, 0), count: found.size };
}

describe("the translator", () => {
  const { Module, Instance } = WebAssembly;
  afterEach(() => Object.assign(WebAssembly, { Module, Instance }));

  it.each([
    ["generates code for ever", PROGRAM, 300_000, 4],
    ["generates code of which a part stays for ever", MIXED, 450_000, 1000],
  ])("keeps its code below the bound under a guest that %s", (_, program, cycles, patience) => {
    const bytes = new WeakMap<object, { bytes: number }>();
    const ofFunction = new WeakMap<object, { bytes: number }>();
    WebAssembly.Module = class extends Module {
      constructor(code: Uint8Array<ArrayBuffer>) {
        super(code);
        bytes.set(this, { bytes: code.length });
      }
    };
    WebAssembly.Instance = class extends Instance {
      constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
        super(module, imports);
        for (const value of Object.values(this.exports)) ofFunction.set(value, bytes.get(module)!);
      }
    };
    const code = Uint8Array.from(Buffer.from(program, "hex"));
    let translator: Translator | undefined;
    let table: WebAssembly.Table | undefined;
    const translated = new BareCore((engine, core) => {
      const environment = makeEnvironment(core);
      table = environment.table;
      translator = new Translator(core, engine.blocks, environment, { warm: 2, batch: 4, patience, bound: BOUND });
      return { run: linkInterpreter(core, environment), translator };
    });
    const interpreted = new BareCore(makeInterpreter);
    for (const bare of [translated, interpreted]) bare.reset(code);
    for (let cycle = 0; cycle < cycles; ) {
      cycle += cycles / 30;
      translated.run(cycle);
      interpreted.run(cycle);
      expect(translator!.held).toBeLessThanOrEqual(BOUND);
      const really = holds(table!, ofFunction);
      // Beside code, a module has headers and imports.
      expect(really.bytes + really.count * (MODULE_BYTES - 2000)).toBeLessThanOrEqual(BOUND);
    }
    expect(translator!.counts.flushes).toBeGreaterThan(2);
    expect(translator!.counts.functions).toBeGreaterThan(100);
    // Entries of the table are used again.
    expect(table!.length).toBeLessThan(translator!.counts.functions / 2);
    expect(translated.state()).toEqual(interpreted.state());
  });
});
