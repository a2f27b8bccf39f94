/** What generated code imports: the arena's memory, the table of translated functions, the slow paths, the helpers. */
import * as A from "../arena.ts";
import { type Core, raise } from "../core.ts";
import { SHARED_FUNCTIONS } from "../emit/shared.ts";
import type { CalledOut, HostProfile, Sampler } from "../host-profile.ts";
import { readSlow, rmwSlow, writeSlow } from "../mmu/access.ts";
import { HELPER_NAMES, HELPERS } from "../uops/helpers.ts";
import { generateGates } from "./gates.ts";
import { generateInterpreter, RUN_SAMPLE, TRANSLATED_GOES_ON, TRANSLATED_LAST_STATUS } from "./generate.ts";

const LO: number = A.ACCESS_LIN >>> 2;

export interface Environment {
  memory: WebAssembly.Memory;
  /** Translated functions (generate.ts TRANSLATED_TYPE); entries without one are null. */
  table: WebAssembly.Table;
  read(size: number, u: number): number;
  write(size: number, u: number): number;
  rmw(size: number, u: number): number;
  helper(number: number, u: number): number;
  fault(vector: number, error: number): number;
  /** For translations: emit/flags.ts settleFlags. The interpreter's module has it, so it is null until that is linked. */
  settle: (() => void) | null;
  /** Likewise: emit/shared.ts, by name. */
  shared: Readonly<Record<string, unknown>> | null;
  /** Likewise: misses.ts, for the gates, and to be tested. */
  access: ((access: number, bytes: number) => number) | null;
  fetch: ((linear: bigint) => number) | null;
}

/** One environment for the cores of `core`'s group: all generated code works on the active one. */
export function makeEnvironment(core: Core): Environment {
  const { arena, shared, i32 } = core;
  return {
    memory: arena.memory,
    table: new WebAssembly.Table({ initial: 1, element: "anyfunc" }),
    read: (size, u) => readSlow(shared.active!, i32[LO]!, i32[LO + 1]!, size, u),
    write: (size, u) => writeSlow(shared.active!, i32[LO]!, i32[LO + 1]!, size, u),
    rmw: (size, u) => rmwSlow(shared.active!, i32[LO]!, i32[LO + 1]!, size, u),
    helper: (number, u) => HELPERS[number]!(shared.active!, u),
    fault: (vector, error) => raise(shared.active!, vector, error),
    settle: null,
    shared: null,
    access: null,
    fetch: null,
  };
}

const modules: { plain?: WebAssembly.Module; sampled?: WebAssembly.Module } = {};

/**
 * The module of the interpreter, the same for all machines. Made by the first that asks: V8's optimising compiler needs half a second
 * for it, so who asks early, while a kernel is unpacked, has the better code when the kernel begins.
 * @param sampled for machines whose work is timed
 */
export function interpreterModule(sampled: boolean): WebAssembly.Module {
  const kind = sampled ? "sampled" : "plain";
  modules[kind] ??= new WebAssembly.Module(generateInterpreter(sampled));
  return modules[kind];
}

/** Generates and links the interpreter. */
export function linkInterpreter(core: Core, environment: Environment): (block: number) => number {
  const { profile } = core.shared;
  const module = interpreterModule(profile !== null);
  const env = profile === null ? environment : sampledImports(core, environment, profile.fromInterpreter);
  const { exports } = new WebAssembly.Instance(module, { env: { ...env } });
  const { run, chain } = exports as Record<string, Code>;
  environment.settle = exports.settle as Environment["settle"];
  environment.shared = Object.fromEntries(SHARED_FUNCTIONS.map(({ name }) => [name, exports[name]!]));
  environment.access = exports.access as Environment["access"];
  environment.fetch = exports.fetch as Environment["fetch"];
  return profile === null ? run! : sampledCode(core, profile, run!, chain!);
}

/** Imports of translations, which keep REMAINING in a local: INSNS is too large by it, and it comes with each call. */
export interface TranslationImports {
  memory: WebAssembly.Memory;
  table: WebAssembly.Table;
  read(size: number, u: number, remaining: number): number;
  write(size: number, u: number, remaining: number): number;
  rmw(size: number, u: number, remaining: number): number;
  helper(number: number, u: number, remaining: number): number;
  fault(vector: number, error: number, u: number): number;
  settle(): void;
  /** And those of emit/shared.ts. */
  [shared: string]: unknown;
}

/** Links the gates (gates.ts) of translations to `environment`. */
export function translationImports(environment: Environment): TranslationImports {
  const { memory, table, settle, shared } = environment;
  if (settle === null || shared === null) throw new Error("the interpreter is to be linked before translations are");
  const module = new WebAssembly.Module(generateGates());
  const { exports } = new WebAssembly.Instance(module, { env: { ...environment } });
  return { ...exports, memory, table, settle, ...shared } as TranslationImports;
}

type Code = (block: number) => number;

/** What `chain` answers lets the interpreter go on. */
const goesOn = (status: number): boolean => status === TRANSLATED_GOES_ON || status > TRANSLATED_LAST_STATUS;

/** The environment, with some of the calls of its functions timed. */
export function sampledImports(core: Core, environment: Environment, { memory, helpers }: CalledOut): Environment {
  const { shared, i32 } = core;
  const profile = shared.profile!;
  const { now } = profile;
  const access = (slow: typeof readSlow): Environment["read"] => {
    return (size, u) => {
      if (!memory.due()) return slow(shared.active!, i32[LO]!, i32[LO + 1]!, size, u);
      const from = now();
      const status = slow(shared.active!, i32[LO]!, i32[LO + 1]!, size, u);
      memory.add(now() - from);
      return status;
    };
  };
  return {
    ...environment,
    read: access(readSlow),
    write: access(writeSlow),
    rmw: access(rmwSlow),
    helper: (number, u) => {
      if (!helpers.due()) return HELPERS[number]!(shared.active!, u);
      const from = now();
      const status = HELPERS[number]!(shared.active!, u);
      const elapsed = now() - from;
      helpers.add(elapsed);
      // A PV guest's hypervisor answers this one without leaving the engine.
      if (HELPER_NAMES[number] === "SYSCALL" && shared.active!.pvSyscall !== null)
        profile.noteHypercall(elapsed, helpers.weight);
      return status;
    },
  };
}

/**
 * `run`, with some of the calls of `chain` and some of the stretches of interpreted code timed: A.SAMPLE counts the calls of `chain`
 * down, and the one that reaches zero comes back here with RUN_SAMPLE. A stretch of interpreted code begins with `run` or behind a
 * call of `chain`, and ends with the next.
 */
function sampledCode(core: Core, profile: HostProfile, run: Code, chain: Code): Code {
  const { i32 } = core;
  const { now, interpreted, translated } = profile;
  const [SAMPLE, INSNS, BLOCK] = [A.SAMPLE >>> 2, A.INSNS >>> 2, A.BLOCK >>> 2];
  i32[SAMPLE] = 1;
  return (block) => {
    /** The stretch that is timed: whose sample it is, null none; where it began; the count that is to go on behind it. */
    let stretch: Sampler | null = null;
    let from = 0;
    let instructions = 0;
    let left = 0;
    if (interpreted.due()) {
      stretch = interpreted;
      left = i32[SAMPLE]!;
      i32[SAMPLE] = 1;
      instructions = i32[INSNS]!;
      from = now();
    }
    for (;;) {
      let status = run(block);
      const closes = stretch !== null;
      if (stretch !== null) {
        profile.noteInterpreted(now() - from, i32[INSNS]! - instructions, stretch.weight);
        stretch = null;
        i32[SAMPLE] = left;
      }
      if (status !== RUN_SAMPLE) return status;
      if (closes) status = chain(i32[BLOCK]!);
      else {
        left = translated.draw();
        instructions = i32[INSNS]!;
        from = now();
        status = chain(i32[BLOCK]!);
        translated.add(now() - from, i32[INSNS]! - instructions);
        i32[SAMPLE] = left;
        if (goesOn(status)) {
          stretch = translated;
          i32[SAMPLE] = 1;
          instructions = i32[INSNS]!;
          from = now();
        }
      }
      if (!goesOn(status)) return status;
      block = status === TRANSLATED_GOES_ON ? i32[BLOCK]! : status + 1;
    }
  };
}
