/** Loads the lifters of MMX and of the SSE instructions that are not floating-point arithmetic. */
import "./lift-mmx.ts";
import "./lift-sse-int.ts";
import "./lift-sse-move.ts";
