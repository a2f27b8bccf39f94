/** Vector micro-ops that move lanes about: blends, alignments, widening, insertion and extraction, masks of signs, PTEST, shifts by a register. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { type Assembler, MEM, OP } from "./assembler.ts";
import { emitShift, SHIFTS, shuffle } from "./emit-vector.ts";
import type { Emitter } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

const V128_LOAD = 0x00;
const V128_CONST = 0x0c;
const I8X16_SWIZZLE = 0x0e;
const I8X16_SPLAT = 0x0f;
const I16X8_SPLAT = 0x10;
const I8X16_EQ = 0x23;
const [V128_AND, V128_ANDNOT, V128_OR, V128_BITSELECT, V128_ANY_TRUE] = [0x4e, 0x4f, 0x50, 0x52, 0x53];
const I8X16_ADD = 0x6e;
const STORES = [MEM.i64_store8, MEM.i64_store16, MEM.i64_store32, MEM.i64_store];
const LOADS = [MEM.i64_load8_u, MEM.i64_load16_u, MEM.i64_load32_u, MEM.i64_load];
const BYTES: readonly number[] = Array.from({ length: 16 }, (_, i) => i);

/** The low lanes of a, twice as wide. */
const WIDEN: Readonly<Record<U.VWiden, number>> = {
  sxbw: 0x87,
  zxbw: 0x89,
  sxwd: 0xa7,
  zxwd: 0xa9,
  sxdq: 0xc7,
  zxdq: 0xc9,
};
/** Arithmetic shift that fills an element with its sign, and its count: bytes, dwords, qwords. */
const SIGNS: readonly (readonly [sz: number, op: number, count: number])[] = [
  [0, 0x6c, 7],
  [2, 0xac, 31],
  [3, 0xcc, 63],
];

function constant(w: Assembler, bytes: readonly number[]): void {
  w.simd(V128_CONST);
  for (const byte of bytes) w.byte(byte);
}

/** PBLENDW and its like: byte i of b where bit i of imm is set, else of a. */
function emitBlend(e: Emitter): void {
  const { w, l } = e;
  const known = e.knownImm();
  e.openVector("d");
  if (known !== null) {
    e.getVector("a");
    e.getVector("b");
    shuffle(
      w,
      BYTES.map((i) => ((known >> i) & 1 ? 16 + i : i)),
    );
  } else {
    e.getVector("b");
    e.getVector("a");
    // Each byte sees its half of imm, and its bit there.
    e.imm();
    w.op(OP.i32_wrap_i64);
    w.simd(I16X8_SPLAT);
    w.tee(l.v);
    w.get(l.v);
    shuffle(
      w,
      BYTES.map((i) => i >> 3),
    );
    const bits = BYTES.map((i) => 1 << (i & 7));
    constant(w, bits);
    w.simd(V128_AND);
    constant(w, bits);
    w.simd(I8X16_EQ);
    w.simd(V128_BITSELECT);
  }
  e.closeVector();
}

/** PALIGNR: a:b shifted right by imm bytes, 0 to 15. */
function emitAlign(e: Emitter): void {
  const { w, l } = e;
  const known = e.knownImm();
  e.openVector("d");
  if (known !== null) {
    e.getVector("b");
    e.getVector("a");
    shuffle(
      w,
      BYTES.map((i) => i + known),
    );
  } else {
    // Byte numbers outside of a vector give zero.
    e.getVector("b");
    constant(w, BYTES);
    e.imm();
    w.op(OP.i32_wrap_i64);
    w.simd(I8X16_SPLAT);
    w.simd(I8X16_ADD);
    w.tee(l.v);
    w.simd(I8X16_SWIZZLE);
    e.getVector("a");
    w.get(l.v);
    constant(
      w,
      BYTES.map(() => 0xf0),
    );
    w.simd(I8X16_ADD);
    w.simd(I8X16_SWIZZLE);
    w.simd(V128_OR);
  }
  e.closeVector();
}

/** Pushes the address of lane c of vector `field`, without A.XMM. */
function laneAddress(e: Emitter, field: "d" | "a", sz: number): void {
  e.vectorAddress(field);
  e.c();
  e.w.i32(sz);
  e.w.op(OP.i32_shl, OP.i32_add);
}

function emitInsert(e: Emitter, sz: number): void {
  if (!e.sameVector("d", "a")) {
    e.openVector("d");
    e.getVector("a");
    e.closeVector();
  }
  laneAddress(e, "d", sz);
  e.get("b", sz);
  e.w.mem(STORES[sz]!, A.XMM);
}

function emitExtract(e: Emitter, sz: number): void {
  e.open("d");
  laneAddress(e, "a", sz);
  e.w.mem(LOADS[sz]!, A.XMM);
  e.close("d", 3);
}

/** MOVMSKPS and MOVMSKPD: S[d] = the signs of a's elements, of 32 bytes if `long`. */
function emitSignMask(e: Emitter, bitmask: number, lanes: number, long: boolean): void {
  const { w } = e;
  e.open("d");
  for (const half of long ? [0, 1] : [0]) {
    e.vectorAddress("a");
    w.simdMem(V128_LOAD, A.XMM + half * A.YMM_UPPER_BYTES);
    w.simd(bitmask);
    if (half === 1) {
      w.i32(lanes);
      w.op(OP.i32_shl, OP.i32_or);
    }
  }
  w.op(OP.i64_extend_i32_u);
  e.close("d", 3);
}

/** PTEST: ZF, no common bits of a and b; CF, no bits of b outside a; the other flags clear. */
function emitTest(e: Emitter, long: boolean): void {
  const { w } = e;
  /** Pushes 1 if the two vectors have a bit in common, `outside`: b one that a has not. */
  const any = (outside: boolean): void => {
    for (const half of long ? [0, 1] : [0]) {
      for (const field of ["b", "a"] as const) {
        e.vectorAddress(field);
        w.simdMem(V128_LOAD, A.XMM + half * A.YMM_UPPER_BYTES);
      }
      w.simd(outside ? V128_ANDNOT : V128_AND);
      if (half === 1) w.simd(V128_OR);
    }
    w.simd(V128_ANY_TRUE);
  };
  e.openFlag(A.CC_C);
  any(true);
  w.op(OP.i32_eqz, OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_Z);
  any(false);
  w.op(OP.i64_extend_i32_u);
  e.closeFlag(A.CC_Z);
  // PF clear: an odd low byte; SF clear: not negative.
  e.openFlag(A.CC_S);
  w.i64(1);
  e.closeFlag(A.CC_S);
  e.clearFlag(A.CC_O);
  e.clearFlag(A.CC_A);
}

export function installLanes(table: EmitTable): void {
  table[U.U_VBLEND] = emitBlend;
  table[U.U_VALIGN] = emitAlign;
  table[U.U_VSELECT] = (e) => {
    e.openVector("d");
    e.getVector("b");
    e.getVector("a");
    e.getVector("d");
    e.w.simd(V128_BITSELECT);
    e.closeVector();
  };
  for (const [sz, op, count] of SIGNS)
    table[U.U_VSIGNS + sz] = (e) => {
      e.openVector("d");
      e.getVector("a");
      e.w.i32(count);
      e.w.simd(op);
      e.closeVector();
    };
  for (const name of U.V_WIDEN)
    table[U.vwiden(name)] = (e) => {
      e.openVector("d");
      e.getVector("a");
      e.w.simd(WIDEN[name]);
      e.closeVector();
    };
  family(table, U.U_VINSERT, 0, emitInsert);
  family(table, U.U_VEXTRACT, 0, emitExtract);
  for (const [kind, bitmask, lanes, long] of [
    [U.U_VMSKD, 0xa4, 4, false],
    [U.U_VMSKD256, 0xa4, 4, true],
    [U.U_VMSKQ, 0xc4, 2, false],
    [U.U_VMSKQ256, 0xc4, 2, true],
  ] as const)
    table[kind] = (e) => emitSignMask(e, bitmask, lanes, long);
  table[U.U_VTEST] = (e) => emitTest(e, false);
  table[U.U_VTEST256] = (e) => emitTest(e, true);
  SHIFTS.forEach(([op, bits, arithmetic], n) => {
    table[U.U_VSHIFT_R + n] = (e) =>
      emitShift(e, op, bits, arithmetic, () => {
        const { w, l } = e;
        e.vectorAddress("b");
        w.mem(MEM.i64_load, A.XMM);
        w.tee(l.t);
        w.i64(bits);
        w.get(l.t);
        w.i64(bits);
        w.op(OP.i64_lt_u, OP.select, OP.i32_wrap_i64);
      });
  });
}
