/** Loads the lifters of all integer instructions. */
import "./lift-move.ts";
import "./lift-alu.ts";
import "./lift-shift.ts";
import "./lift-bits.ts";
import "./lift-stack.ts";
import "./lift-flow.ts";
import "./lift-string.ts";
import "./lift-misc.ts";
