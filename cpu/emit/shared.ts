/** Functions that emitted code calls: they are in the interpreter's module, and translations import them. */
import type { FunctionBody } from "./assembler.ts";
import { EXACT_LOCALS, EXACT_TYPE, exactCode } from "./exact.ts";
import { floatLanes } from "./float-lanes.ts";
import { fmaFunctions } from "./fma.ts";
import { x87Arithmetic } from "./x87-arith.ts";
import { x87Moves } from "./x87-moves.ts";

/** @param first the index of the first in the module */
export function sharedFunctions(first: number): FunctionBody[] {
  const exact: FunctionBody = {
    name: "exact",
    type: EXACT_TYPE,
    locals: EXACT_LOCALS,
    get code() {
      return exactCode();
    },
  };
  return [exact, ...x87Arithmetic(first + 1), ...x87Moves(), ...fmaFunctions(), ...floatLanes()];
}

/** Names and types, by number. */
export const SHARED_FUNCTIONS: readonly Pick<FunctionBody, "name" | "type">[] = sharedFunctions(0).map(
  ({ name, type }) => ({ name, type }),
);
/** Number of a shared function. */
export const shared = (name: string): number => SHARED_FUNCTIONS.findIndex((f) => f.name === name);
