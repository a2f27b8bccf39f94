/**
 * What translations import: WebAssembly functions that note what a slow path has to know, and call it. V8 makes a wrapper for every
 * import of a module that is a JavaScript function, with its optimising compiler; of these there is one module, of translations there are
 * a hundred in a boot.
 */
import * as A from "../arena.ts";
import { Assembler, buildModule, type FunctionBody, I32, MEM, OP } from "../emit/assembler.ts";
import { IMPORT_FAULT, IMPORT_HELPER, IMPORTS, TRANSLATION_IMPORTS } from "../emit/emitter.ts";
import { NOT_DONE } from "./misses.ts";

/** Imported besides IMPORTS: the interpreter's. */
const ACCESS: number = IMPORTS.length;

const WHAT = 0;
const DETAIL = 1;
/** The micro-op, of `fault`; REMAINING, of the others. */
const MORE = 2;
const STATUS = 3;

function store(w: Assembler, address: number, local: number): void {
  w.i32(0);
  w.get(local);
  w.mem(MEM.i32_store, address);
}

/** A translation counts its instructions at its end: what is charged meanwhile is none of them, so it is added to INSNS. */
function accessGate(target: number): Assembler {
  const w = new Assembler();
  store(w, A.UOP, DETAIL);
  store(w, A.REMAINING, MORE);
  if (target !== IMPORT_HELPER) {
    // The usual miss (misses.ts) charges nothing.
    w.i32(target);
    w.get(WHAT);
    w.call(ACCESS);
    w.tee(STATUS);
    w.i32(NOT_DONE);
    w.op(OP.i32_ne);
    w.if();
    w.get(STATUS);
    w.op(OP.return);
    w.end();
  }
  w.get(WHAT);
  w.get(DETAIL);
  w.call(target);
  w.set(STATUS);
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.INSNS);
  w.i32(0);
  w.mem(MEM.i32_load, A.REMAINING);
  w.op(OP.i32_add);
  w.get(MORE);
  w.op(OP.i32_sub);
  w.mem(MEM.i32_store, A.INSNS);
  w.get(STATUS);
  return w;
}

function faultGate(): Assembler {
  const w = new Assembler();
  store(w, A.UOP, MORE);
  w.get(WHAT);
  w.get(DETAIL);
  w.call(IMPORT_FAULT);
  return w;
}

/** A module that imports IMPORTS and `access`, and exports functions of the same names with the types of TRANSLATION_IMPORTS. */
export function generateGates(): Uint8Array {
  const gates = IMPORTS.map(({ name }, target): FunctionBody => {
    const w = target === IMPORT_FAULT ? faultGate() : accessGate(target);
    return { name, type: TRANSLATION_IMPORTS[target]!.type, locals: [I32], code: w.bytes.slice(0, w.length) };
  });
  return buildModule(
    A.FIXED_PAGES,
    [...IMPORTS, { name: "access", type: { params: [I32, I32], results: [I32] } }],
    gates,
  );
}
