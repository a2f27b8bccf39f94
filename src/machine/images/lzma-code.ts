/**
 * The decoder of LZMA data as a WebAssembly function (the LZMA specification of the LZMA SDK). Bits of trees are decoded without branches,
 * which nothing could predict; TypeScript's comparisons can't be made numbers that cheaply. Input, output and model are in one memory.
 */
import { Assembler, buildModule, type FunctionType, I32, type Label, MEM, OP } from "../../../cpu/emit/assembler.ts";
import { advance, copyMatch } from "./copy-code.ts";

const PROBABILITY_BITS = 11;
const PROBABILITY_ONE = 1 << PROBABILITY_BITS;
export const PROBABILITY_INIT: number = PROBABILITY_ONE >> 1;
const MOVE_BITS = 5;
/** The range coder shifts in a byte when the range is below this. */
const RANGE_MIN = 1 << 24;

const STATES = 12;
/** States below this one follow a literal. */
const FIRST_MATCH_STATE = 7;
const POSITION_STATES = 16;
const MATCH_LENGTH_MIN = 2;
const LITERAL_CODER_SIZE = 0x300;
/** Distance slots from 4 have extra bits; from 14 most of those are sent without a model. */
const FIRST_MODELLED_SLOT = 4;
const FIRST_DIRECT_SLOT = 14;
const ALIGN_BITS = 4;

// Indices of 16-bit probabilities from address 0. A length coder: choice, choice 2, 16 low trees of 8, 16 middle trees of 8, one high
// tree of 256.
const LENGTH_LOW = 2;
const LENGTH_MID: number = LENGTH_LOW + POSITION_STATES * 8;
const LENGTH_HIGH: number = LENGTH_MID + POSITION_STATES * 8;
const LENGTH_SIZE: number = LENGTH_HIGH + 256;

const IS_MATCH = 0;
const IS_REP: number = IS_MATCH + STATES * POSITION_STATES;
const IS_REP0: number = IS_REP + STATES;
const IS_REP1: number = IS_REP0 + STATES;
const IS_REP2: number = IS_REP1 + STATES;
const IS_REP0_LONG: number = IS_REP2 + STATES;
const DISTANCE_SLOT: number = IS_REP0_LONG + STATES * POSITION_STATES;
const DISTANCE_SPECIAL: number = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN: number = DISTANCE_SPECIAL + 128;
const MATCH_LENGTH: number = DISTANCE_ALIGN + (1 << ALIGN_BITS);
const REP_LENGTH: number = MATCH_LENGTH + LENGTH_SIZE;
const LITERAL: number = REP_LENGTH + LENGTH_SIZE;
/** LZMA2 limits lc + lp to 4. */
export const PROBABILITIES: number = LITERAL + (LITERAL_CODER_SIZE << 4);

/** Byte addresses of i32s: what is kept from one chunk to the next. */
const FIELDS: number = (PROBABILITIES * 2 + 7) & ~7;
export const AT_STATE: number = FIELDS;
export const AT_REPS: number = FIELDS + 4;
export const AT_LC: number = FIELDS + 20;
export const AT_LP: number = FIELDS + 24;
export const AT_PB: number = FIELDS + 28;
/** Where output may begin. */
export const OUTPUT_FROM = 0x10000;
/** Bytes behind the input that may be read: more than one symbol takes. */
export const INPUT_SLACK = 64;

/** (source, sourceEnd, output, outputEnd, dictionary) -> 1, or 0: corrupted data. A chunk has at least five bytes. */
export type DecodeChunk = (
  source: number,
  sourceEnd: number,
  output: number,
  outputEnd: number,
  dictionary: number,
) => number;
const TYPE: FunctionType = { params: [I32, I32, I32, I32, I32], results: [I32] };

const POS = 0;
const SOURCE_END = 1;
const AT = 2;
const OUTPUT_END = 3;
const DICTIONARY = 4;
const STATE = 5;
const REP0 = 6;
const REP1 = 7;
const REP2 = 8;
const REP3 = 9;
const RANGE = 10;
const CODE = 11;
/** Address of a probability, its value, the part of the range that is bit 0, the bit. */
const P = 12;
const V = 13;
const BOUND = 14;
const BIT = 15;
/** Address of a tree's probability 0, the node reached in it. */
const TREE = 16;
const NODE = 17;
/** Bytes since the dictionary was reset, and the bits of that which are context. */
const POSITION = 18;
const POSITION_STATE = 19;
/** Address of the length coder. */
const CODER = 20;
const LENGTH = 21;
const MATCHED = 22;
const OFFSET = 23;
const BITS = 24;
const END = 25;
const FROM = 26;
const DISTANCE = 27;
const REPEATED = 28;
const LOCALS: readonly number[] = new Array<number>(REPEATED - DICTIONARY).fill(I32);

/** Pushes `local` < or >= `value`, unsigned. */
function compare(w: Assembler, local: number, op: number, value: number): void {
  w.get(local);
  w.i32(value);
  w.op(op);
}

function copyLocal(w: Assembler, to: number, from: number): void {
  w.get(from);
  w.set(to);
}

function setConstant(w: Assembler, local: number, value: number): void {
  w.i32(value);
  w.set(local);
}

/** CODE = CODE * 256 + the next byte. */
function shiftIn(w: Assembler): void {
  w.get(CODE);
  w.i32(8);
  w.op(OP.i32_shl);
  w.get(POS);
  w.mem(MEM.i32_load8_u, 0);
  w.op(OP.i32_or);
  w.set(CODE);
  advance(w, POS, 1);
}

function normalize(w: Assembler): void {
  compare(w, RANGE, OP.i32_lt_u, RANGE_MIN);
  w.if();
  w.get(RANGE);
  w.i32(8);
  w.op(OP.i32_shl);
  w.set(RANGE);
  shiftIn(w);
  w.end();
}

/** With the address of a probability on the stack, which `index` more are added to: P, V, and BOUND, which is pushed. */
function beginBit(w: Assembler, index: number): void {
  w.tee(P);
  w.mem(MEM.i32_load16_u, index * 2);
  w.tee(V);
  w.get(RANGE);
  w.i32(PROBABILITY_BITS);
  w.op(OP.i32_shr_u, OP.i32_mul);
  w.tee(BOUND);
}

/** Decodes a bit of which one value is likely, and goes on with `zero` or `one`. `address` pushes the address of its probability. */
function flag(w: Assembler, address: () => void, index: number, zero: () => void, one: () => void): void {
  normalize(w);
  address();
  beginBit(w, index);
  w.get(CODE);
  w.op(OP.i32_gt_u);
  w.if();
  copyLocal(w, RANGE, BOUND);
  w.get(P);
  w.get(V);
  w.i32(PROBABILITY_ONE);
  w.get(V);
  w.op(OP.i32_sub);
  w.i32(MOVE_BITS);
  w.op(OP.i32_shr_u, OP.i32_add);
  w.mem(MEM.i32_store16, index * 2);
  zero();
  w.else();
  for (const local of [RANGE, CODE]) {
    w.get(local);
    w.get(BOUND);
    w.op(OP.i32_sub);
    w.set(local);
  }
  w.get(P);
  w.get(V);
  w.get(V);
  w.i32(MOVE_BITS);
  w.op(OP.i32_shr_u, OP.i32_sub);
  w.mem(MEM.i32_store16, index * 2);
  one();
  w.end();
}

/** Decodes BIT. `address` pushes the address of its probability. */
function bit(w: Assembler, address: () => void): void {
  normalize(w);
  address();
  beginBit(w, 0);
  w.get(CODE);
  w.op(OP.i32_le_u);
  w.set(BIT);
  w.get(RANGE);
  w.get(BOUND);
  w.op(OP.i32_sub);
  w.get(BOUND);
  w.get(BIT);
  w.op(OP.select);
  w.set(RANGE);
  w.get(CODE);
  w.get(BOUND);
  w.i32(0);
  w.get(BIT);
  w.op(OP.select, OP.i32_sub);
  w.set(CODE);
  // The probability moves towards 0, or towards one: -(v - (one - 31) >> 5) is (one - v) / 32, rounded down.
  w.get(P);
  w.get(V);
  w.get(V);
  w.get(V);
  w.i32(PROBABILITY_ONE - (1 << MOVE_BITS) + 1);
  w.op(OP.i32_sub);
  w.get(BIT);
  w.op(OP.select);
  w.i32(MOVE_BITS);
  w.op(OP.i32_shr_s, OP.i32_sub);
  w.mem(MEM.i32_store16, 0);
}

/** Pushes the address of the probability of NODE in TREE. */
function nodeAddress(w: Assembler): void {
  w.get(TREE);
  w.get(NODE);
  w.i32(1);
  w.op(OP.i32_shl, OP.i32_add);
}

/** NODE = NODE * 2 + BIT. */
function descend(w: Assembler): void {
  w.get(NODE);
  w.i32(1);
  w.op(OP.i32_shl);
  w.get(BIT);
  w.op(OP.i32_or);
  w.set(NODE);
}

/** Walks `bits` down the tree from its root. */
function walkTree(w: Assembler, bits: number): void {
  setConstant(w, NODE, 1);
  for (let n = 0; n < bits; n++) {
    bit(w, () => nodeAddress(w));
    descend(w);
  }
}

/** A literal after a match: the byte that the match would have continued with is part of the context, until they differ. */
function walkMatched(w: Assembler): void {
  w.get(AT);
  w.get(REP0);
  w.op(OP.i32_sub);
  w.i32(1);
  w.op(OP.i32_sub);
  w.mem(MEM.i32_load8_u, 0);
  w.set(MATCHED);
  setConstant(w, OFFSET, 0x100);
  setConstant(w, NODE, 1);
  for (let n = 0; n < 8; n++) {
    w.get(MATCHED);
    w.i32(1);
    w.op(OP.i32_shl);
    w.tee(MATCHED);
    w.get(OFFSET);
    w.op(OP.i32_and);
    w.set(BITS);
    bit(w, () => {
      nodeAddress(w);
      w.get(OFFSET);
      w.get(BITS);
      w.op(OP.i32_add);
      w.i32(1);
      w.op(OP.i32_shl, OP.i32_add);
    });
    descend(w);
    // OFFSET stays while the bits agree, and is 0 from then on.
    w.get(OFFSET);
    w.get(BITS);
    w.get(BIT);
    w.i32(1);
    w.op(OP.i32_sub, OP.i32_xor, OP.i32_and);
    w.set(OFFSET);
  }
}

/** Pushes 1 << the i32 at `address`, less 1. */
function mask(w: Assembler, address: number): void {
  w.i32(1);
  w.i32(0);
  w.mem(MEM.i32_load, address);
  w.op(OP.i32_shl);
  w.i32(1);
  w.op(OP.i32_sub);
}

function literal(w: Assembler): void {
  // TREE: by the low bits of the position, and by the high bits of the byte before (0 in an empty dictionary).
  w.get(POSITION);
  mask(w, AT_LP);
  w.op(OP.i32_and);
  w.i32(0);
  w.mem(MEM.i32_load, AT_LC);
  w.op(OP.i32_shl);
  w.get(AT);
  w.i32(1);
  w.op(OP.i32_sub);
  w.mem(MEM.i32_load8_u, 0);
  w.i32(0);
  w.get(POSITION);
  w.op(OP.select);
  w.i32(8);
  w.i32(0);
  w.mem(MEM.i32_load, AT_LC);
  w.op(OP.i32_sub, OP.i32_shr_u, OP.i32_add);
  w.i32(LITERAL_CODER_SIZE * 2);
  w.op(OP.i32_mul);
  w.i32(LITERAL * 2);
  w.op(OP.i32_add);
  w.set(TREE);
  compare(w, STATE, OP.i32_lt_u, FIRST_MATCH_STATE);
  w.if();
  walkTree(w, 8);
  w.else();
  walkMatched(w);
  w.end();
  w.get(AT);
  w.get(NODE);
  w.mem(MEM.i32_store8, 0);
  advance(w, AT, 1);
  // 0 from below 4, 3 less from below 10, else 6 less.
  w.i32(0);
  w.get(STATE);
  w.i32(3);
  w.i32(6);
  compare(w, STATE, OP.i32_lt_u, 10);
  w.op(OP.select, OP.i32_sub);
  compare(w, STATE, OP.i32_lt_u, 4);
  w.op(OP.select);
  w.set(STATE);
}

/** STATE becomes `literal` if it follows a literal, else `match`. */
function setState(w: Assembler, literal: number, match: number): void {
  w.i32(literal);
  w.i32(match);
  compare(w, STATE, OP.i32_lt_u, FIRST_MATCH_STATE);
  w.op(OP.select);
  w.set(STATE);
}

/** Pushes the offset of the bit of STATE and POSITION_STATE in a table of both. */
function ofStateAndPosition(w: Assembler): void {
  w.get(STATE);
  w.i32(4);
  w.op(OP.i32_shl);
  w.get(POSITION_STATE);
  w.op(OP.i32_add);
  w.i32(1);
  w.op(OP.i32_shl);
}

/** A match at one of the last four distances, which becomes REP0. `short`: it is one byte at REP0, has no length and is done. */
function repeated(w: Assembler, corrupted: Label, short: Label): void {
  const ofState = (): void => {
    w.get(STATE);
    w.i32(1);
    w.op(OP.i32_shl);
  };
  setConstant(w, CODER, REP_LENGTH * 2);
  flag(
    w,
    ofState,
    IS_REP0,
    () =>
      flag(
        w,
        () => ofStateAndPosition(w),
        IS_REP0_LONG,
        () => {
          w.get(REP0);
          w.get(POSITION);
          w.op(OP.i32_ge_u);
          w.brIf(corrupted);
          w.get(AT);
          w.get(AT);
          w.get(REP0);
          w.op(OP.i32_sub);
          w.i32(1);
          w.op(OP.i32_sub);
          w.mem(MEM.i32_load8_u, 0);
          w.mem(MEM.i32_store8, 0);
          advance(w, AT, 1);
          setState(w, 9, 11);
          w.br(short);
        },
        () => {},
      ),
    () => {
      flag(
        w,
        ofState,
        IS_REP1,
        () => copyLocal(w, DISTANCE, REP1),
        () => {
          flag(
            w,
            ofState,
            IS_REP2,
            () => copyLocal(w, DISTANCE, REP2),
            () => {
              copyLocal(w, DISTANCE, REP3);
              copyLocal(w, REP3, REP2);
            },
          );
          copyLocal(w, REP2, REP1);
        },
      );
      copyLocal(w, REP1, REP0);
      copyLocal(w, REP0, DISTANCE);
    },
  );
}

/** LENGTH: choose low, middle or high tree, then walk it. */
function length(w: Assembler): void {
  const coder = (): void => w.get(CODER);
  const walk = (tree: number, bits: number, from: number): void => {
    w.get(CODER);
    w.i32(tree * 2);
    w.op(OP.i32_add);
    if (bits === 3) {
      w.get(POSITION_STATE);
      w.i32(4);
      w.op(OP.i32_shl, OP.i32_add);
    }
    w.set(TREE);
    walkTree(w, bits);
    w.get(NODE);
    w.i32(from + MATCH_LENGTH_MIN - (1 << bits));
    w.op(OP.i32_add);
    w.set(LENGTH);
  };
  flag(
    w,
    coder,
    0,
    () => walk(LENGTH_LOW, 3, 0),
    () =>
      flag(
        w,
        coder,
        1,
        () => walk(LENGTH_MID, 3, 8),
        () => walk(LENGTH_HIGH, 8, 16),
      ),
  );
}

/** Runs `body` BITS times; local FROM counts up from 0. */
function repeat(w: Assembler, body: () => void): void {
  setConstant(w, FROM, 0);
  const more = w.loop();
  body();
  advance(w, FROM, 1);
  w.get(FROM);
  w.get(BITS);
  w.op(OP.i32_lt_u);
  w.brIf(more);
  w.end();
}

/** REP0 of a match: a slot of six bits, then its extra bits. */
function distance(w: Assembler): void {
  w.get(LENGTH);
  w.i32(MATCH_LENGTH_MIN);
  w.op(OP.i32_sub);
  w.tee(BITS);
  w.i32(3);
  compare(w, BITS, OP.i32_lt_u, 3);
  w.op(OP.select);
  w.i32(7);
  w.op(OP.i32_shl);
  w.i32(DISTANCE_SLOT * 2);
  w.op(OP.i32_add);
  w.set(TREE);
  walkTree(w, 6);
  w.get(NODE);
  w.i32(64);
  w.op(OP.i32_sub);
  w.tee(REP0);
  w.i32(FIRST_MODELLED_SLOT);
  w.op(OP.i32_ge_u);
  w.if();
  const slot = DISTANCE;
  copyLocal(w, slot, REP0);
  w.get(slot);
  w.i32(1);
  w.op(OP.i32_shr_u);
  w.i32(1);
  w.op(OP.i32_sub);
  w.set(BITS);
  w.get(slot);
  w.i32(1);
  w.op(OP.i32_and);
  w.i32(2);
  w.op(OP.i32_or);
  w.set(REP0);
  compare(w, slot, OP.i32_lt_u, FIRST_DIRECT_SLOT);
  w.if();
  w.get(REP0);
  w.get(BITS);
  w.op(OP.i32_shl);
  w.tee(REP0);
  w.get(slot);
  w.op(OP.i32_sub);
  w.i32(1);
  w.op(OP.i32_shl);
  w.i32(DISTANCE_SPECIAL * 2);
  w.op(OP.i32_add);
  w.set(TREE);
  w.else();
  advance(w, BITS, -ALIGN_BITS);
  repeat(w, () => directBit(w));
  w.get(REP0);
  w.i32(ALIGN_BITS);
  w.op(OP.i32_shl);
  w.set(REP0);
  setConstant(w, BITS, ALIGN_BITS);
  setConstant(w, TREE, DISTANCE_ALIGN * 2);
  w.end();
  setConstant(w, NODE, 1);
  // The lowest bit comes first.
  repeat(w, () => {
    bit(w, () => nodeAddress(w));
    descend(w);
    w.get(BIT);
    w.get(FROM);
    w.op(OP.i32_shl);
    w.get(REP0);
    w.op(OP.i32_add);
    w.set(REP0);
  });
  w.end();
}

/** REP0 = REP0 * 2 + a bit without a model. */
function directBit(w: Assembler): void {
  normalize(w);
  w.get(CODE);
  w.get(RANGE);
  w.i32(1);
  w.op(OP.i32_shr_u);
  w.tee(RANGE);
  w.op(OP.i32_ge_u);
  w.set(BIT);
  w.get(CODE);
  w.get(RANGE);
  w.i32(0);
  w.get(BIT);
  w.op(OP.select, OP.i32_sub);
  w.set(CODE);
  w.get(REP0);
  w.i32(1);
  w.op(OP.i32_shl);
  w.get(BIT);
  w.op(OP.i32_or);
  w.set(REP0);
}

/** Locals and the addresses where they are kept. */
const KEPT: readonly [number, number][] = [
  [STATE, AT_STATE],
  [REP0, AT_REPS],
  [REP1, AT_REPS + 4],
  [REP2, AT_REPS + 8],
  [REP3, AT_REPS + 12],
];

function decoder(): { code: Uint8Array; hints: number[] } {
  const w = new Assembler(1 << 14);
  for (const [local, address] of KEPT) {
    w.i32(0);
    w.mem(MEM.i32_load, address);
    w.set(local);
  }
  setConstant(w, RANGE, -1);
  // The first byte of a range coder's data carries nothing.
  for (let n = 0; n < 5; n++) shiftIn(w);
  const corrupted = w.block();
  const done = w.block();
  const next = w.loop();
  w.get(AT);
  w.get(OUTPUT_END);
  w.op(OP.i32_ge_u);
  w.brIf(done);
  w.get(POS);
  w.get(SOURCE_END);
  w.op(OP.i32_gt_u);
  w.unlikely();
  w.brIf(corrupted);
  w.get(AT);
  w.get(DICTIONARY);
  w.op(OP.i32_sub);
  w.tee(POSITION);
  mask(w, AT_PB);
  w.op(OP.i32_and);
  w.set(POSITION_STATE);
  flag(
    w,
    () => ofStateAndPosition(w),
    IS_MATCH,
    () => {
      literal(w);
      w.br(next);
    },
    () => {},
  );
  flag(
    w,
    () => {
      w.get(STATE);
      w.i32(1);
      w.op(OP.i32_shl);
    },
    IS_REP,
    () => {
      setConstant(w, CODER, MATCH_LENGTH * 2);
      setConstant(w, REPEATED, 0);
    },
    () => {
      repeated(w, corrupted, next);
      setConstant(w, REPEATED, 1);
    },
  );
  length(w);
  w.get(REPEATED);
  w.if();
  setState(w, 8, 11);
  w.else();
  setState(w, 7, 10);
  copyLocal(w, REP3, REP2);
  copyLocal(w, REP2, REP1);
  copyLocal(w, REP1, REP0);
  distance(w);
  w.end();
  // The end marker too, which LZMA2 does not have: its distance is all ones.
  w.get(REP0);
  w.get(POSITION);
  w.op(OP.i32_ge_u);
  w.unlikely();
  w.brIf(corrupted);
  w.get(LENGTH);
  w.get(OUTPUT_END);
  w.get(AT);
  w.op(OP.i32_sub, OP.i32_gt_u);
  w.unlikely();
  w.brIf(corrupted);
  w.get(AT);
  w.get(LENGTH);
  w.op(OP.i32_add);
  w.set(END);
  w.get(AT);
  w.get(REP0);
  w.i32(1);
  w.op(OP.i32_add);
  w.tee(DISTANCE);
  w.op(OP.i32_sub);
  w.set(FROM);
  copyMatch(w, { from: FROM, at: AT, end: END, distance: DISTANCE });
  w.br(next);
  w.end();
  w.end();
  normalize(w);
  // A sound chunk ends exactly here, with nothing left in the coder.
  w.get(POS);
  w.get(SOURCE_END);
  w.op(OP.i32_ne);
  w.brIf(corrupted);
  w.get(CODE);
  w.brIf(corrupted);
  for (const [local, address] of KEPT) {
    w.i32(0);
    w.get(local);
    w.mem(MEM.i32_store, address);
  }
  w.i32(1);
  w.op(OP.return);
  w.end();
  w.i32(0);
  return { code: w.bytes.slice(0, w.length), hints: w.hints };
}

/** The function over `memory`. */
export function linkDecodeChunk(memory: WebAssembly.Memory): DecodeChunk {
  const pages = memory.buffer.byteLength / 0x10000;
  const module = new WebAssembly.Module(
    buildModule(pages, [], [{ name: "decode", type: TYPE, locals: LOCALS, ...decoder() }]),
  );
  return new WebAssembly.Instance(module, { env: { memory } }).exports.decode as DecodeChunk;
}
