/** An engine that translates short programs too: what was executed twice is warm, and nothing waits for company. */
import type { Core } from "../../cpu/core.ts";
import { linkInterpreter, makeEnvironment } from "../../cpu/interpreter/link.ts";
import type { BlockRunner, Engine } from "../../cpu/run.ts";
import { Translator } from "../../cpu/translator/translator.ts";

const EAGER = { warm: 2, batch: 1, patience: 1, calls: 3, misses: 2 };

/** For an Engine's `makeRunner`. @param made is given the translators, so that a test can ask what they did */
export function eagerTranslator(made: Translator[] = []): (engine: Engine, core: Core) => BlockRunner {
  return (engine, core) => {
    const environment = makeEnvironment(core);
    const translator = new Translator(core, engine.blocks, environment, EAGER);
    made.push(translator);
    return { run: linkInterpreter(core, environment), translator };
  };
}
