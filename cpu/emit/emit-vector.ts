/** Vector moves and integer SIMD on WebAssembly's 128-bit operations (opcodes: WebAssembly core specification, SIMD table). */
import * as A from "../arena.ts";
import { VEC_GP } from "../core.ts";
import { MXCSR_MM } from "../fpu/sse-state.ts";
import * as U from "../uops/uop.ts";
import { type Assembler, I32, MEM, OP } from "./assembler.ts";
import { type Emitter, IMPORT_READ, IMPORT_WRITE } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

/** MXCSR.MM shifted to C_FORGIVEN. */
const MM_SHIFT = Math.log2(MXCSR_MM / U.C_FORGIVEN);
const V128_LOAD = 0x00;
const V128_STORE = 0x0b;
const V128_CONST = 0x0c;
const I8X16_SHUFFLE = 0x0d;
const I8X16_SWIZZLE = 0x0e;
const I8X16_SPLAT = 0x0f;
const I32X4_SPLAT = 0x11;
const I16X8_REPLACE_LANE = 0x1a;
const I32X4_REPLACE_LANE = 0x1c;
const I8X16_BITMASK = 0x64;
const I8X16_SUB = 0x71;
const I8X16_ADD = 0x6e;
const V128_AND = 0x4e;
const V128_LOAD32_LANE = 0x56;
const V128_LOAD64_LANE = 0x57;
/** Splats of 8, 16, 32 and 64 bits. */
const SPLATS = [0x0f, 0x10, 0x11, 0x12];
const SPLAT_LOADS = [MEM.i32_load8_u, MEM.i32_load16_u, MEM.i32_load, MEM.i64_load];

/** V_OPS that are one WebAssembly instruction on (a, b). */
const DIRECT: Partial<Record<U.VOp, number>> = {
  and: 0x4e,
  or: 0x50,
  xor: 0x51,
  addb: 0x6e,
  addw: 0x8e,
  addd: 0xae,
  addq: 0xce,
  subb: 0x71,
  subw: 0x91,
  subd: 0xb1,
  subq: 0xd1,
  addsb: 0x6f,
  addsw: 0x8f,
  addusb: 0x70,
  addusw: 0x90,
  subsb: 0x72,
  subsw: 0x92,
  subusb: 0x73,
  subusw: 0x93,
  cmpeqb: 0x23,
  cmpeqw: 0x2d,
  cmpeqd: 0x37,
  cmpeqq: 0xd6,
  cmpgtb: 0x27,
  cmpgtw: 0x31,
  cmpgtd: 0x3b,
  cmpgtq: 0xd9,
  minub: 0x77,
  minsw: 0x96,
  maxub: 0x79,
  maxsw: 0x98,
  minsb: 0x76,
  minuw: 0x97,
  minsd: 0xb6,
  minud: 0xb7,
  maxsb: 0x78,
  maxuw: 0x99,
  maxsd: 0xb8,
  maxud: 0xb9,
  avgb: 0x7b,
  avgw: 0x9b,
  mullw: 0x95,
  mulld: 0xb5,
  maddwd: 0xba,
  packsswb: 0x65,
  packssdw: 0x85,
  packuswb: 0x66,
  packusdw: 0x86,
};

/** Interleaves elements of `bytes` bytes of the low or high halves of a and b. */
function unpackLanes(bytes: number, high: boolean): number[] {
  const lanes: number[] = [];
  for (let element = 0; element < 8 / bytes; element++)
    for (const source of [0, 16])
      for (let b = 0; b < bytes; b++) lanes.push(source + (high ? 8 : 0) + element * bytes + b);
  return lanes;
}
const UNPACK: Partial<Record<U.VOp, number[]>> = {
  unpacklbw: unpackLanes(1, false),
  unpacklwd: unpackLanes(2, false),
  unpackldq: unpackLanes(4, false),
  unpacklqdq: unpackLanes(8, false),
  unpackhbw: unpackLanes(1, true),
  unpackhwd: unpackLanes(2, true),
  unpackhdq: unpackLanes(4, true),
  unpackhqdq: unpackLanes(8, true),
};

/** Products of twice the size: of the low and of the high elements of a and b. */
const PRODUCTS: Partial<Record<U.VOp, readonly [low: number, high: number]>> = {
  mulhw: [0xbc, 0xbd],
  mulhuw: [0xbe, 0xbf],
};
/** Of dwords, the low two. */
const LOW_PRODUCTS: Partial<Record<U.VOp, number>> = { muldq: 0xdc, muludq: 0xde };
/** The high words of eight dwords; the even dwords, first. */
const HIGH_WORDS: readonly number[] = Array.from({ length: 16 }, (_, i) => (i >> 1) * 4 + 2 + (i & 1));
const EVEN_DWORDS: readonly number[] = shuffleOfDwords(0b1000, 0);

/** Byte selectors of four dwords by an immediate of 2 bits each, the last two from the vector whose bytes begin at `second`. */
function shuffleOfDwords(imm: number, second: number): number[] {
  return Array.from({ length: 16 }, (_, i) => {
    const lane = i >> 2;
    return ((imm >> (lane * 2)) & 3) * 4 + (i & 3) + (lane < 2 ? 0 : second);
  });
}

export function shuffle(w: Assembler, lanes: readonly number[]): void {
  w.simd(I8X16_SHUFFLE);
  for (const lane of lanes) w.byte(lane);
}

/** Operations on b alone. */
const OF_B: Partial<Record<U.VOp, number>> = { absb: 0x60, absw: 0x80, absd: 0xa0 };
const [I16X8_EQ, I16X8_Q15MULR_SAT_S, V128_XOR] = [0x2d, 0x82, 0x51];
/** Of the low and of the high bytes: to words without and with sign. */
const EXTENSIONS = [
  [0x89, 0x87],
  [0x8a, 0x88],
] as const;
const [I32X4_DOT_I16X8_S, I16X8_NARROW_I32X4_S] = [0xba, 0x85];
const [I8X16_MIN_U, I8X16_MAX_U] = [0x77, 0x79];
const [I16X8_EXTADD_PAIRWISE_U, I32X4_EXTADD_PAIRWISE_U, I32X4_ADD, I64X2_SHR_U] = [0x7d, 0x7f, 0xae, 0xcd];

function emitBinary(e: Emitter, op: U.VOp): void {
  const { w } = e;
  e.openVector("d");
  if (op === "andnot") {
    // PANDN is ~a & b; WebAssembly's andnot(p, q) is p & ~q.
    e.getVector("b");
    e.getVector("a");
    w.simd(0x4f);
  } else if (op === "shufb") {
    // Bit 7 of a selector gives zero, of the others four bits count; a swizzle gives zero for all from 16 on.
    e.getVector("a");
    e.getVector("b");
    w.i32(0x8f);
    w.simd(I8X16_SPLAT);
    w.simd(V128_AND);
    w.simd(I8X16_SWIZZLE);
  } else if (OF_B[op] !== undefined) {
    e.getVector("b");
    w.simd(OF_B[op]);
  } else if (op === "mulhrsw") {
    e.getVector("a");
    e.getVector("b");
    w.simd(I16X8_Q15MULR_SAT_S);
    // -1 * -1 saturates there, and overflows here.
    for (const field of ["a", "b"] as const) {
      e.getVector(field);
      w.i32(0x8000);
      w.simd(SPLATS[1]!);
      w.simd(I16X8_EQ);
    }
    w.simd(V128_AND);
    w.simd(V128_XOR);
  } else if (op === "maddubsw") {
    for (const [unsigned, signed] of EXTENSIONS) {
      e.getVector("a");
      w.simd(unsigned);
      e.getVector("b");
      w.simd(signed);
      w.simd(I32X4_DOT_I16X8_S);
    }
    w.simd(I16X8_NARROW_I32X4_S);
  } else if (op === "sadbw") {
    for (const extreme of [I8X16_MAX_U, I8X16_MIN_U]) {
      e.getVector("a");
      e.getVector("b");
      w.simd(extreme);
    }
    w.simd(I8X16_SUB);
    w.simd(I16X8_EXTADD_PAIRWISE_U);
    w.simd(I32X4_EXTADD_PAIRWISE_U);
    // The sum of both dwords of a qword.
    w.tee(e.l.v);
    w.i32(32);
    w.simd(I64X2_SHR_U);
    w.get(e.l.v);
    w.simd(I32X4_ADD);
    w.i64(0xffffffff);
    w.simd(SPLATS[3]!);
    w.simd(V128_AND);
  } else if (PRODUCTS[op] !== undefined) {
    for (const product of PRODUCTS[op]) {
      e.getVector("a");
      e.getVector("b");
      w.simd(product);
    }
    shuffle(w, HIGH_WORDS);
  } else if (LOW_PRODUCTS[op] !== undefined) {
    for (const field of ["a", "b"] as const) {
      e.getVector(field);
      e.getVector(field);
      shuffle(w, EVEN_DWORDS);
    }
    w.simd(LOW_PRODUCTS[op]);
  } else {
    e.getVector("a");
    e.getVector("b");
    const direct = DIRECT[op];
    if (direct !== undefined) w.simd(direct);
    else shuffle(w, UNPACK[op]!);
  }
  e.closeVector();
}

/** Shifts of each element, in the order of U_VSHIFT_I: SIMD opcode, bits, arithmetic. */
export const SHIFTS: readonly (readonly [op: number, bits: number, arithmetic: boolean])[] = [
  [0x8b, 16, false],
  [0xab, 32, false],
  [0xcb, 64, false],
  [0x8d, 16, false],
  [0xad, 32, false],
  [0xcd, 64, false],
  [0x8c, 16, true],
  [0xac, 32, true],
];

/** Shift of every element of `bits` by what `count` pushes (i32); WebAssembly takes the count modulo the size, x86 does not. */
export function emitShift(e: Emitter, op: number, bits: number, arithmetic: boolean, count: () => void): void {
  const { w } = e;
  e.openVector("d");
  e.getVector("a");
  count();
  w.tee(e.l.i);
  if (arithmetic) {
    // A count over the size fills with the sign, as a shift by size - 1 does.
    w.i32(bits - 1);
    w.get(e.l.i);
    w.i32(bits);
    w.op(OP.i32_lt_u, OP.select);
  }
  w.simd(op);
  if (!arithmetic) {
    zeroVector(w);
    w.get(e.l.i);
    w.i32(bits);
    w.op(OP.i32_lt_u, OP.select);
  }
  e.closeVector();
}

/** PSLLDQ, PSRLDQ: a swizzle by (lane index -/+ count); indices out of range give zero. */
function emitByteShift(e: Emitter, left: boolean): void {
  const { w } = e;
  e.openVector("d");
  e.getVector("a");
  w.simd(V128_CONST);
  for (let i = 0; i < 16; i++) w.byte(i);
  e.imm();
  w.op(OP.i32_wrap_i64);
  w.simd(I8X16_SPLAT);
  w.simd(left ? I8X16_SUB : I8X16_ADD);
  w.simd(I8X16_SWIZZLE);
  e.closeVector();
}

/** PSHUFD: four 2-bit selectors of imm become byte indices of a swizzle. */
function emitShuffleDwords(e: Emitter): void {
  const { w, l } = e;
  const known = e.knownImm();
  if (known !== null) {
    e.openVector("d");
    e.getVector("a");
    e.getVector("a");
    shuffle(w, shuffleOfDwords(known, 0));
    e.closeVector();
    return;
  }
  e.imm();
  w.op(OP.i32_wrap_i64);
  w.set(l.i);
  e.openVector("d");
  e.getVector("a");
  // Each lane: selector * 0x04040404 + 0x03020100.
  w.i32(0);
  w.simd(I32X4_SPLAT);
  for (let lane = 0; lane < 4; lane++) {
    w.get(l.i);
    w.i32(lane * 2);
    w.op(OP.i32_shr_u);
    w.i32(3);
    w.op(OP.i32_and);
    w.i32(0x04040404);
    w.byte(0x6c);
    w.i32(0x03020100);
    w.op(OP.i32_add);
    w.simd(I32X4_REPLACE_LANE);
    w.byte(lane);
  }
  w.simd(I8X16_SWIZZLE);
  e.closeVector();
}

/** SHUFPS. */
function emitShufflePair(e: Emitter): void {
  const { w, l } = e;
  const known = e.knownImm();
  e.openVector("d");
  if (known !== null) {
    e.getVector("a");
    e.getVector("b");
    shuffle(w, shuffleOfDwords(known, 16));
  } else {
    e.imm();
    w.op(OP.i32_wrap_i64);
    w.set(l.i);
    zeroVector(w);
    for (let lane = 0; lane < 4; lane++) {
      e.vectorAddress(lane < 2 ? "a" : "b");
      w.get(l.i);
      w.i32(lane * 2);
      w.op(OP.i32_shr_u);
      w.i32(3);
      w.op(OP.i32_and);
      w.i32(2);
      w.op(OP.i32_shl, OP.i32_add);
      w.mem(MEM.i32_load, A.XMM);
      w.simd(I32X4_REPLACE_LANE);
      w.byte(lane);
    }
  }
  e.closeVector();
}

/** PSHUFLW (first = 0) and PSHUFHW (first = 4): four words from word `first` on. */
function emitShuffleWords(e: Emitter, first: number): void {
  const { w, l } = e;
  const known = e.knownImm();
  e.openVector("d");
  e.getVector("a");
  if (known !== null) {
    const word = (i: number): number => ((i & 4) === first ? first + ((known >> ((i & 3) * 2)) & 3) : i);
    e.getVector("a");
    shuffle(
      w,
      Array.from({ length: 16 }, (_, i) => word(i >> 1) * 2 + (i & 1)),
    );
  } else {
    e.imm();
    w.op(OP.i32_wrap_i64);
    w.set(l.i);
    for (let lane = 0; lane < 4; lane++) {
      e.vectorAddress("a");
      w.get(l.i);
      w.i32(lane * 2);
      w.op(OP.i32_shr_u);
      w.i32(3);
      w.op(OP.i32_and);
      w.i32(1);
      w.op(OP.i32_shl, OP.i32_add);
      w.mem(MEM.i32_load16_u, A.XMM + first * 2);
      w.simd(I16X8_REPLACE_LANE);
      w.byte(first + lane);
    }
  }
  e.closeVector();
}

/** #GP(0) for an operand that is not aligned; with `mayForgive` C_FORGIVEN and MXCSR.MM are asked. */
function checkAligned(e: Emitter, bytes: number, mayForgive: boolean): void {
  const { w, l } = e;
  w.get(l.lin);
  w.i64(bytes - 1);
  w.op(OP.i64_and, OP.i64_eqz, OP.i32_eqz);
  w.unlikely();
  w.if();
  if (mayForgive) {
    w.i32(0);
    w.mem(MEM.i32_load, A.MXCSR);
    w.i32(MM_SHIFT);
    w.op(OP.i32_shr_u);
    e.c();
    w.i32(U.C_FORGIVEN);
    w.op(OP.i32_and, OP.i32_and, OP.i32_eqz);
    w.if();
  }
  e.fault(VEC_GP);
  if (mayForgive) w.end();
  w.end();
}

/** Loads `bytes` (16 or 32) at the memory operand into vector d, and its upper half. */
function emitLoad(e: Emitter, bytes: number, aligned: boolean): void {
  const { w } = e;
  e.address();
  if (aligned) checkAligned(e, bytes, bytes === 16);
  e.probe(A.TLB_READ, bytes);
  w.likely();
  w.if(I32);
  e.hitAddress();
  w.else();
  e.slow(IMPORT_READ, bytes);
  w.i32(A.BUS_DATA);
  w.end();
  w.set(e.l.i);
  for (let half = 0; half < bytes; half += 16) {
    e.vectorAddress("d");
    w.get(e.l.i);
    w.simdMem(V128_LOAD, half);
    w.simdMem(V128_STORE, A.XMM + (half === 0 ? 0 : A.YMM_UPPER_BYTES));
  }
}

/** The reverse. */
function emitStore(e: Emitter, bytes: number, aligned: boolean): void {
  const { w } = e;
  const store = (to: () => void, offset: number): void => {
    for (let half = 0; half < bytes; half += 16) {
      to();
      e.vectorAddress("d");
      w.simdMem(V128_LOAD, A.XMM + (half === 0 ? 0 : A.YMM_UPPER_BYTES));
      w.simdMem(V128_STORE, offset + half);
    }
  };
  e.address();
  if (aligned) checkAligned(e, bytes, false);
  e.probe(A.TLB_WRITE, bytes);
  w.likely();
  w.if();
  e.hitAddress();
  w.set(e.l.i);
  store(() => w.get(e.l.i), 0);
  w.else();
  store(() => w.i32(0), A.BUS_DATA);
  e.slow(IMPORT_WRITE, bytes);
  w.end();
}

/** d = zero-extended i64 that `value` pushes. */
function setZeroExtended(e: Emitter, value: () => void): void {
  const { w } = e;
  e.vectorAddress("d");
  value();
  w.mem(MEM.i64_store, A.XMM);
  e.vectorAddress("d");
  w.i64(0);
  w.mem(MEM.i64_store, A.XMM + 8);
}

/** d = b in the low `bytes` (4 or 8), a above. */
function emitMerge(e: Emitter, bytes: number): void {
  const { w } = e;
  e.vectorAddress("d");
  e.vectorAddress("b");
  if (e.sameVector("d", "a")) {
    w.mem(bytes === 8 ? MEM.i64_load : MEM.i32_load, A.XMM);
    w.mem(bytes === 8 ? MEM.i64_store : MEM.i32_store, A.XMM);
    return;
  }
  e.getVector("a");
  w.simdMem(bytes === 8 ? V128_LOAD64_LANE : V128_LOAD32_LANE, A.XMM);
  w.byte(0);
  e.closeVector();
}

/** Pushes the sign bits of the bytes of vector a, or of its upper half, as an i64. */
function byteSigns(e: Emitter, offset: number): void {
  e.vectorAddress("a");
  e.w.simdMem(V128_LOAD, A.XMM + offset);
  e.w.simd(I8X16_BITMASK);
  e.w.op(OP.i64_extend_i32_u);
}

function zeroVector(w: Assembler): void {
  w.simd(V128_CONST);
  for (let i = 0; i < 16; i++) w.byte(0);
}

export function installVector(table: EmitTable): void {
  table[U.U_VLOAD] = (e) => emitLoad(e, 16, false);
  table[U.U_VLOADA] = (e) => emitLoad(e, 16, true);
  table[U.U_VSTORE] = (e) => emitStore(e, 16, false);
  table[U.U_VSTOREA] = (e) => emitStore(e, 16, true);
  table[U.U_VLOAD256] = (e) => emitLoad(e, 32, false);
  table[U.U_VLOADA256] = (e) => emitLoad(e, 32, true);
  table[U.U_VSTORE256] = (e) => emitStore(e, 32, false);
  table[U.U_VSTOREA256] = (e) => emitStore(e, 32, true);
  for (const [load, store, sz] of [
    [U.U_VLOAD64, U.U_VSTORE64, 3],
    [U.U_VLOAD32, U.U_VSTORE32, 2],
  ] as const) {
    table[load] = (e) => {
      e.load(sz);
      e.w.set(e.l.r);
      setZeroExtended(e, () => e.w.get(e.l.r));
    };
    table[store] = (e) => {
      e.address();
      e.vectorAddress("d");
      e.w.mem(MEM.i64_load, A.XMM);
      e.w.set(e.l.r);
      e.storeAt(sz, e.l.r);
    };
  }
  table[U.U_VMOV] = (e) => {
    e.openVector("d");
    e.getVector("a");
    e.closeVector();
  };
  table[U.U_VMOVLO64] = (e) => emitMerge(e, 8);
  table[U.U_VMOVZ64] = (e) =>
    setZeroExtended(e, () => {
      e.vectorAddress("a");
      e.w.mem(MEM.i64_load, A.XMM);
    });
  table[U.U_VMOVLO32] = (e) => emitMerge(e, 4);
  table[U.U_VFROM32] = (e) => setZeroExtended(e, () => e.get("a", 2));
  table[U.U_VFROM64] = (e) => setZeroExtended(e, () => e.get("a", 3));
  for (const [kind, sz] of [
    [U.U_VTO32, 2],
    [U.U_VTO64, 3],
  ] as const)
    table[kind] = (e) => {
      e.open("d");
      e.vectorAddress("a");
      e.w.mem(sz === 2 ? MEM.i64_load32_u : MEM.i64_load, A.XMM);
      e.close("d", sz, true);
    };
  for (const op of U.V_OPS) table[U.vop(op)] = (e) => emitBinary(e, op);
  SHIFTS.forEach(([op, bits, arithmetic], n) => {
    table[U.U_VSHIFT_I + n] = (e) =>
      emitShift(e, op, bits, arithmetic, () => {
        e.imm();
        e.w.op(OP.i32_wrap_i64);
      });
  });
  table[U.U_VBYTESHL] = (e) => emitByteShift(e, true);
  table[U.U_VBYTESHR] = (e) => emitByteShift(e, false);
  table[U.U_VSHUFD] = (e) => emitShuffleDwords(e);
  table[U.U_VSHUFPS] = (e) => emitShufflePair(e);
  table[U.U_VSHUFLW] = (e) => emitShuffleWords(e, 0);
  table[U.U_VSHUFHW] = (e) => emitShuffleWords(e, 4);
  table[U.U_VMOVMSKB] = (e) => {
    e.open("d");
    byteSigns(e, 0);
    e.close("d", 3);
  };
  table[U.U_VMOVMSKB256] = (e) => {
    e.open("d");
    byteSigns(e, 0);
    byteSigns(e, A.YMM_UPPER_BYTES);
    e.w.i64(16);
    e.w.op(OP.i64_shl, OP.i64_or);
    e.close("d", 3);
  };
  table[U.U_VZERO] = (e) => {
    e.openVector("d");
    zeroVector(e.w);
    e.closeVector();
  };
  table[U.U_VZEROUPPER] = ({ w }) => {
    for (let n = 0; n < 16; n++) {
      w.i32(0);
      zeroVector(w);
      w.simdMem(V128_STORE, A.XMM + A.YMM_UPPER_BYTES + n * A.XMM_STRIDE);
    }
  };
  family(table, U.U_VSPLAT, 0, (e, sz) => {
    e.openVector("d");
    e.vectorAddress("a");
    e.w.mem(SPLAT_LOADS[sz]!, A.XMM);
    e.w.simd(SPLATS[sz]!);
    e.closeVector();
  });
}
