/**
 * The table of helpers: TypeScript functions that micro-ops call by number. Numbers follow the order of definition at
 * module load, so they are the same in every run of one build; saved state never contains them.
 */
import type { Core } from "../core.ts";

/**
 * @param core the active core
 * @param u arena byte address of the U_HELPER or U_HELPER_END micro-op, whose d, a, b, s, c, disp are the helper's own
 * @returns one of the H_* codes of uop.ts. A plain U_HELPER returns H_OK or H_FAULT only, and changes
 *   architectural state only after the last point where it can fault.
 */
export type Helper = (core: Core, u: number) => number;

export const HELPERS: Helper[] = [];
export const HELPER_NAMES: string[] = [];

/**
 * Of helpers that neither read nor write flags: which slots they do (bit n: slot n of the slot file). Translated code puts only these in
 * memory for the call; what calls a helper on one of several ways may only call such, so that flags are the same on all of them.
 */
export const HELPER_SLOTS: Map<number, number> = new Map();
/** Helpers that write the segment base in slot a: translated code takes it from memory again. */
export const BASE_HELPERS: Set<number> = new Set();

export function defineHelper(name: string, helper: Helper): number {
  HELPERS.push(helper);
  HELPER_NAMES.push(name);
  return HELPERS.length - 1;
}
