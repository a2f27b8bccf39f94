/** Words of the arena by their constant addresses, and what is asked of addresses. */
import { type Assembler, MEM, OP } from "./assembler.ts";

/** Pushes the i32 at `address`. */
export function word(w: Assembler, address: number): void {
  w.i32(0);
  w.mem(MEM.i32_load, address);
}

/** Stores the i32 that `value` pushes at `address`. */
export function put(w: Assembler, address: number, value: () => void): void {
  w.i32(0);
  value();
  w.mem(MEM.i32_store, address);
}
/** The same of an i64. */
export function put64(w: Assembler, address: number, value: () => void): void {
  w.i32(0);
  value();
  w.mem(MEM.i64_store, address);
}

/** Adds to the i32 at `address`. */
export function add(w: Assembler, address: number, amount: number): void {
  put(w, address, () => {
    word(w, address);
    w.i32(amount);
    w.op(OP.i32_add);
  });
}

/** Pushes 1 if the address in i64 local `address` is not canonical: bits 63 to 47 are not all alike. */
export function notCanonical(w: Assembler, address: number): void {
  w.get(address);
  w.i64(16);
  w.op(OP.i64_shl);
  w.i64(16);
  w.op(OP.i64_shr_s);
  w.get(address);
  w.op(OP.i64_ne);
}
