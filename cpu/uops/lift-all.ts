/** Loads every lifter: importing this file fills LIFTERS and HELPERS. */
import "./helpers-div.ts";
import "./lift-alu.ts";
import "./lift-bits.ts";
import "./lift-flow.ts";
import "./lift-misc.ts";
import "./lift-move.ts";
import "./lift-shift.ts";
import "./lift-stack.ts";
