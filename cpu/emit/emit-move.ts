/** Data movement, addresses, conditions, the stack, flag bits and helper calls. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { type Emitter, IMPORT_RMW } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

/**
 * Pushes condition `cc` (0..15 as in opcodes 70+cc) as an i32, from the lazy flag words.
 */
export function condition(e: Emitter, cc: number): void {
  const { w } = e;
  const negative = (flag: number): void => {
    e.getFlag(flag);
    w.i64(0);
    w.op(OP.i64_lt_s);
  };
  const zero = (): void => {
    e.getFlag(A.CC_Z);
    w.op(OP.i64_eqz);
  };
  const less = (): void => {
    e.getFlag(A.CC_S);
    e.getFlag(A.CC_O);
    w.op(OP.i64_xor);
    w.i64(0);
    w.op(OP.i64_lt_s);
  };
  switch (cc >> 1) {
    case 0:
      negative(A.CC_O);
      break;
    case 1:
      negative(A.CC_C);
      break;
    case 2:
      zero();
      break;
    case 3:
      negative(A.CC_C);
      zero();
      w.op(OP.i32_or);
      break;
    case 4:
      negative(A.CC_S);
      break;
    case 5:
      e.getFlag(A.CC_S);
      w.op(OP.i32_wrap_i64);
      w.i32(0xff);
      w.op(OP.i32_and, OP.i32_popcnt);
      w.i32(1);
      w.op(OP.i32_and, OP.i32_eqz);
      break;
    case 6:
      less();
      break;
    default:
      less();
      zero();
      w.op(OP.i32_or);
  }
  if (cc & 1) w.op(OP.i32_eqz);
}

/** Pushes the condition whose number is the i32 that `number` pushes: 16 nested cases. */
export function conditionByNumber(e: Emitter, number: () => void): void {
  const { w } = e;
  const done = w.block(0x7f);
  const cases = [];
  for (let i = 0; i < 16; i++) cases.push(w.block());
  cases.reverse();
  number();
  w.brTable(cases.slice(0, 15), cases[15]!);
  for (let cc = 0; cc < 16; cc++) {
    w.end();
    condition(e, cc);
    w.br(done);
  }
  w.end();
}

/** Pushes S[a] + (S[b] << scale) + disp. */
function effective(e: Emitter): void {
  const { w } = e;
  e.get("a", 3);
  e.get("b", 3);
  e.scale();
  w.op(OP.i64_shl, OP.i64_add);
  e.disp();
  w.op(OP.i64_add);
}

function extend(e: Emitter, from: number, to: number, signed: boolean, memory: boolean): void {
  if (memory) {
    e.load(from);
    e.w.set(e.l.r);
  }
  e.open("d");
  if (memory) e.w.get(e.l.r);
  else e.get("a", from);
  if (signed) e.signExtend(from);
  e.close("d", to, !signed);
}

/** Stores local y at RSP - 8 and moves RSP there. */
export function push(e: Emitter): void {
  const { w, l } = e;
  e.getFixed(A.S_RSP, 3);
  w.i64(8);
  w.op(OP.i64_sub);
  w.set(l.lin);
  e.storeAt(3, l.y);
  e.openFixed(A.S_RSP);
  w.get(l.lin);
  e.closeFixed(A.S_RSP, 3);
}

/** Loads the quadword at RSP into local y and moves RSP past it. */
export function pop(e: Emitter): void {
  const { w, l } = e;
  e.getFixed(A.S_RSP, 3);
  w.set(l.lin);
  e.loadAt(3);
  w.set(l.y);
  e.openFixed(A.S_RSP);
  w.get(l.lin);
  w.i64(8);
  w.op(OP.i64_add);
  e.closeFixed(A.S_RSP, 3);
}

export function installMove(table: EmitTable): void {
  family(table, U.U_MOV_RR, 0, (e, sz) => {
    e.open("d");
    e.get("a", sz);
    e.close("d", sz, true);
  });
  family(table, U.U_MOV_RI, 0, (e, sz) => {
    e.open("d");
    if (sz === 3) e.imm64();
    else e.imm();
    e.close("d", sz);
  });
  for (const kind of [U.U_LOAD, U.U_LOADW])
    family(table, kind, 0, (e, sz) => {
      e.load(sz, kind === U.U_LOADW ? IMPORT_RMW : undefined);
      e.w.set(e.l.r);
      e.open("d");
      e.w.get(e.l.r);
      e.close("d", sz, true);
    });
  family(table, U.U_STORE, 0, (e, sz) => {
    e.address();
    e.get("d", sz);
    e.w.set(e.l.r);
    e.storeAt(sz, e.l.r);
  });
  family(table, U.U_STOREI, 0, (e, sz) => {
    e.address();
    e.imm();
    e.w.set(e.l.r);
    e.storeAt(sz, e.l.r);
  });
  family(table, U.U_XCHG_RR, 0, (e, sz) => {
    const { w, l } = e;
    e.get("d", sz);
    w.set(l.x);
    e.open("d");
    e.get("a", sz);
    e.close("d", sz, true);
    e.open("a");
    w.get(l.x);
    e.close("a", sz, true);
  });
  family(table, U.U_XCHG_RM, 0, (e, sz) => {
    const { w, l } = e;
    e.load(sz, IMPORT_RMW);
    w.set(l.x);
    e.get("d", sz);
    w.set(l.r);
    e.storeAt(sz, l.r);
    e.open("d");
    w.get(l.x);
    e.close("d", sz, true);
  });
  for (const [kind, memory, from, to, signed] of [
    [U.U_ZX8_32, U.U_LOAD_ZX8_32, 0, 2, false],
    [U.U_ZX16_32, U.U_LOAD_ZX16_32, 1, 2, false],
    [U.U_SX8_32, U.U_LOAD_SX8_32, 0, 2, true],
    [U.U_SX16_32, U.U_LOAD_SX16_32, 1, 2, true],
    [U.U_SX8_64, U.U_LOAD_SX8_64, 0, 3, true],
    [U.U_SX16_64, U.U_LOAD_SX16_64, 1, 3, true],
    [U.U_SX32_64, U.U_LOAD_SX32_64, 2, 3, true],
  ] as const) {
    table[kind] = (e) => extend(e, from, to, signed, false);
    table[memory] = (e) => extend(e, from, to, signed, true);
  }
  table[U.U_LEA64] = (e) => {
    e.open("d");
    effective(e);
    e.close("d", 3);
  };
  table[U.U_LEA32] = (e) => {
    e.open("d");
    effective(e);
    e.close("d", 2);
  };
  table[U.U_EA16] = (e) => {
    e.open("d");
    effective(e);
    e.w.i64(0xffff);
    e.w.op(OP.i64_and);
    e.close("d", 3);
  };
  family(table, U.U_CMOV, 1, (e, sz) => {
    const { w } = e;
    e.open("d");
    e.get("a", sz);
    e.get("d", sz);
    e.conditionOfC();
    w.op(OP.select);
    e.close("d", sz, true);
  });
  table[U.U_SETCC] = (e) => {
    e.open("d");
    e.conditionOfC();
    e.w.op(OP.i64_extend_i32_u);
    e.close("d", 0);
  };
  table[U.U_PUSH64] = (e) => {
    e.get("a", 3);
    e.w.set(e.l.y);
    push(e);
  };
  table[U.U_PUSHI64] = (e) => {
    e.imm();
    e.w.set(e.l.y);
    push(e);
  };
  table[U.U_POP64] = (e) => {
    pop(e);
    e.open("d");
    e.w.get(e.l.y);
    e.close("d", 3);
  };
  table[U.U_LEAVE64] = (e) => {
    const { w, l } = e;
    e.getFixed(A.S_RBP, 3);
    w.set(l.lin);
    e.loadAt(3);
    w.set(l.y);
    e.openFixed(A.S_RSP);
    w.get(l.lin);
    w.i64(8);
    w.op(OP.i64_add);
    e.closeFixed(A.S_RSP, 3);
    e.openFixed(A.S_RBP);
    w.get(l.y);
    e.closeFixed(A.S_RBP, 3);
  };
  table[U.U_CLC] = (e) => e.clearFlag(A.CC_C);
  table[U.U_STC] = (e) => {
    e.openFlag(A.CC_C);
    e.w.i64(-1);
    e.closeFlag(A.CC_C);
  };
  table[U.U_CMC] = (e) => {
    e.openFlag(A.CC_C);
    e.getFlag(A.CC_C);
    e.w.i64(-1);
    e.w.op(OP.i64_xor);
    e.closeFlag(A.CC_C);
  };
  table[U.U_NOP] = () => {};
  table[U.U_HELPER] = (e) => e.callImmHelper();
}
