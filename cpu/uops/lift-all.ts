/** Loads every lifter: importing this file fills LIFTERS and HELPERS. */
import "./helpers-div.ts";
import "./lift-alu.ts";
import "./lift-bits.ts";
import "./lift-crypto.ts";
import "./lift-flow.ts";
import "./lift-misc.ts";
import "./lift-mmx.ts";
import "./lift-move.ts";
import "./lift-shift.ts";
import "./lift-sse-int.ts";
import "./lift-sse-move.ts";
import "./lift-ssefp.ts";
import "./lift-stack.ts";
import "./lift-string.ts";
import "./lift-system.ts";
import "./lift-x87.ts";
