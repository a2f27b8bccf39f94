/** What generated code imports: the arena's memory, the table of translated functions, the slow paths, the helpers. */
import { type Core, raise } from "../core.ts";
import { readSlow, rmwSlow, writeSlow } from "../mmu/access.ts";
import { HELPERS } from "../uops/helpers.ts";
import { generateInterpreter } from "./generate.ts";

export interface Environment {
  memory: WebAssembly.Memory;
  /** Translated functions (generate.ts TRANSLATED_TYPE); entries without one are null. */
  table: WebAssembly.Table;
  read(lo: number, hi: number, size: number, u: number): number;
  write(lo: number, hi: number, size: number, u: number): number;
  rmw(lo: number, hi: number, size: number, u: number): number;
  helper(number: number, u: number): number;
  fault(vector: number, error: number): number;
}

/** One environment for the cores of `core`'s group: all generated code works on the active one. */
export function makeEnvironment(core: Core): Environment {
  const { arena, shared } = core;
  return {
    memory: arena.memory,
    table: new WebAssembly.Table({ initial: 1, element: "anyfunc" }),
    read: (lo, hi, size, u) => readSlow(shared.active!, lo, hi, size, u),
    write: (lo, hi, size, u) => writeSlow(shared.active!, lo, hi, size, u),
    rmw: (lo, hi, size, u) => rmwSlow(shared.active!, lo, hi, size, u),
    helper: (number, u) => HELPERS[number]!(shared.active!, u),
    fault: (vector, error) => raise(shared.active!, vector, error),
  };
}

/** WebAssembly pages of the arena, for import declarations. */
export const memoryPages = (core: Core): number => core.arena.memory.buffer.byteLength / 0x10000;

/** Generates and links the interpreter. */
export function linkInterpreter(core: Core, environment: Environment): (block: number) => number {
  const module = new WebAssembly.Module(generateInterpreter(memoryPages(core)));
  const instance = new WebAssembly.Instance(module, { env: { ...environment } });
  return instance.exports.run as (block: number) => number;
}
