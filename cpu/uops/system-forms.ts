/**
 * MOV and POP are one mnemonic each, but some of their forms belong to the system files: loads of segment
 * registers, moves to and from control and debug registers. Those files name their lifters here with `defineSystemForm`, and
 * lift-move.ts and lift-stack.ts hand such instructions over. Every other form is lifted there.
 */
import type { Lifter } from "./builder.ts";

/** MOV Sreg, r/m16. */
export const FORM_MOV_TO_SREG = 0;
/** POP Sreg. */
export const FORM_POP_SREG = 1;
/** MOV r, CRn and MOV CRn, r. */
export const FORM_MOV_CR = 2;
/** MOV r, DRn and MOV DRn, r. */
export const FORM_MOV_DR = 3;

export const SYSTEM_FORMS: (Lifter | undefined)[] = [];

export function defineSystemForm(form: number, lifter: Lifter): void {
  if (SYSTEM_FORMS[form] !== undefined) throw new Error(`system form ${form} is lifted twice`);
  SYSTEM_FORMS[form] = lifter;
}
