/** What a table of micro-op emitters is, and how families of four sizes enter one. */
import type { Emitter } from "./emitter.ts";

export type Emit = (e: Emitter) => void;
/** Absent: the kind does not exist (size 8 of a family that has none), or it is a terminal, which engines emit themselves. */
export type EmitTable = (Emit | undefined)[];

/** Fills the four sizes of a family from size index `from`. */
export function family(table: EmitTable, kind: number, from: number, emit: (e: Emitter, sz: number) => void): void {
  for (let sz = from; sz < 4; sz++) table[kind + sz] = (e) => emit(e, sz);
}
