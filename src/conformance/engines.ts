/** The engines that vectors are checked on. */
import type { Core } from "../../cpu/core.ts";
import { linkInterpreter, makeEnvironment } from "../../cpu/interpreter/link.ts";
import { makeReference } from "../../cpu/reference/evaluator.ts";
import { type BlockRunner, type Engine, makeInterpreter } from "../../cpu/run.ts";
import { Translator, type Tuning } from "../../cpu/translator/translator.ts";

export const CONFORMANCE_ENGINES = ["interpreter", "translator", "reference"] as const;
export type ConformanceEngine = (typeof CONFORMANCE_ENGINES)[number];

/** Nothing becomes warm by itself; what was made warm is compiled as one module when the engine is entered next. */
const TOLD: Partial<Tuning> = { warm: 1 << 30, batch: Number.MAX_SAFE_INTEGER, patience: 1, bound: 1 << 30 };

function makeTold(engine: Engine, core: Core): BlockRunner {
  const environment = makeEnvironment(core);
  return {
    run: linkInterpreter(core, environment),
    translator: new Translator(core, engine.blocks, environment, TOLD),
  };
}

export const RUNNERS: Readonly<Record<ConformanceEngine, (engine: Engine, core: Core) => BlockRunner>> = {
  interpreter: makeInterpreter,
  translator: makeTold,
  reference: makeReference,
};
