// LZMA2: a sequence of chunks, each stored bytes or LZMA data with its own range coder (the .xz file format
// specification, section 5.3.1; the LZMA specification of the LZMA SDK). Uncompressed output doubles as the dictionary.

import { ImageError } from "./error.ts";

const PROBABILITY_BITS = 11;
const PROBABILITY_ONE = 1 << PROBABILITY_BITS;
const PROBABILITY_INIT = PROBABILITY_ONE >> 1;
const MOVE_BITS = 5;
/** The range coder shifts in a byte when no bit of this mask is left in the range. */
const TOP_MASK = 0xff00_0000 | 0;

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

// A length coder: choice, choice 2, 16 low trees of 8, 16 middle trees of 8, one high tree of 256.
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
const PROBABILITIES: number = LITERAL + (LITERAL_CODER_SIZE << 4);

// Control byte of a chunk.
const CONTROL_END = 0x00;
const CONTROL_STORED_RESET = 0x01;
const CONTROL_STORED = 0x02;
const CONTROL_LZMA = 0x80;

interface LzmaState {
  probabilities: Uint16Array;
  state: number;
  rep0: number;
  rep1: number;
  rep2: number;
  rep3: number;
  lc: number;
  lp: number;
  pb: number;
}

/** Result of `decodeLzma2`: positions just past the last byte read and written. */
export interface Lzma2End {
  source: number;
  output: number;
}

function corrupted(): ImageError {
  return new ImageError("xz: corrupted LZMA2 data");
}

function resetState(s: LzmaState): void {
  s.probabilities.fill(PROBABILITY_INIT);
  s.state = s.rep0 = s.rep1 = s.rep2 = s.rep3 = 0;
}

function setProperties(s: LzmaState, byte: number): void {
  if (byte > (4 * 5 + 4) * 9 + 8) throw corrupted();
  s.pb = Math.floor(byte / 45);
  s.lp = Math.floor((byte % 45) / 9);
  s.lc = byte % 9;
  if (s.lc + s.lp > 4) throw corrupted();
}

/**
 * Decodes LZMA2 from `src` at `source` (no further than `sourceEnd`) into `out` at `output` (no further than its end).
 * `onChunk` is called with the output position after every chunk (at most 2 MiB of output).
 */
export function decodeLzma2(
  src: Uint8Array,
  source: number,
  sourceEnd: number,
  out: Uint8Array,
  output: number,
  onChunk: (output: number) => void,
): Lzma2End {
  const s: LzmaState = {
    probabilities: new Uint16Array(PROBABILITIES),
    state: 0,
    rep0: 0,
    rep1: 0,
    rep2: 0,
    rep3: 0,
    lc: 0,
    lp: 0,
    pb: 0,
  };
  let pos = source;
  let at = output;
  let dictionary = output;
  let needDictionary = true;
  let needState = true;
  let needProperties = true;
  for (;;) {
    if (pos >= sourceEnd) throw new ImageError("xz: truncated");
    const control = src[pos++]!;
    if (control === CONTROL_END) return { source: pos, output: at };
    if (control === CONTROL_STORED_RESET || control >= 0xe0) {
      dictionary = at;
      needDictionary = false;
      needProperties ||= control === CONTROL_STORED_RESET;
    } else if (needDictionary) {
      throw corrupted();
    }
    if (control < CONTROL_LZMA) {
      if (control > CONTROL_STORED) throw corrupted();
      if (pos + 2 > sourceEnd) throw new ImageError("xz: truncated");
      const size = ((src[pos]! << 8) | src[pos + 1]!) + 1;
      pos += 2;
      if (size > sourceEnd - pos) throw new ImageError("xz: truncated");
      if (size > out.length - at) throw corrupted();
      out.set(src.subarray(pos, pos + size), at);
      pos += size;
      at += size;
    } else {
      if (pos + 5 > sourceEnd) throw new ImageError("xz: truncated");
      const size = (((control & 0x1f) << 16) | (src[pos]! << 8) | src[pos + 1]!) + 1;
      const packed = ((src[pos + 2]! << 8) | src[pos + 3]!) + 1;
      pos += 4;
      // Bits 6..5: 0 nothing, 1 reset state, 2 and new properties, 3 and reset the dictionary.
      const reset = (control >>> 5) & 3;
      if (reset >= 2) {
        setProperties(s, src[pos++]!);
        needProperties = false;
      } else if (needProperties) {
        throw corrupted();
      }
      if (reset >= 1) {
        resetState(s);
        needState = false;
      } else if (needState) {
        throw corrupted();
      }
      if (packed > sourceEnd - pos) throw new ImageError("xz: truncated");
      if (size > out.length - at || packed < 5) throw corrupted();
      decodeChunk(s, src, pos, pos + packed, out, at, at + size, dictionary);
      pos += packed;
      at += size;
    }
    onChunk(at);
  }
}

/**
 * One LZMA chunk. A single function, with every bit decoded in place, so that the range coder's state stays in registers:
 * a call per bit, or state in fields, makes it several times slower. `range` and `code` are unsigned 32-bit values held in
 * int32, compared with `>>> 0`.
 */
function decodeChunk(
  s: LzmaState,
  src: Uint8Array,
  source: number,
  sourceEnd: number,
  out: Uint8Array,
  output: number,
  outputEnd: number,
  dictionary: number,
): void {
  const p = s.probabilities;
  const lc = s.lc;
  const positionMask = (1 << s.pb) - 1;
  const literalMask = (1 << s.lp) - 1;
  let state = s.state;
  let rep0 = s.rep0;
  let rep1 = s.rep1;
  let rep2 = s.rep2;
  let rep3 = s.rep3;
  let pos = source + 5;
  let at = output;
  let range = -1;
  // The first byte of a range coder's data carries nothing.
  let code = (src[source + 1]! << 24) | (src[source + 2]! << 16) | (src[source + 3]! << 8) | src[source + 4]!;
  let v = 0;
  let bound = 0;

  while (at < outputEnd) {
    const position = at - dictionary;
    const positionState = position & positionMask;

    if ((range & TOP_MASK) === 0) {
      range <<= 8;
      code = (code << 8) | src[pos++]!;
    }
    let i = IS_MATCH + (state << 4) + positionState;
    v = p[i]!;
    bound = Math.imul(range >>> PROBABILITY_BITS, v);
    if (code >>> 0 < bound >>> 0) {
      // A literal.
      range = bound;
      p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
      const previous = position > 0 ? out[at - 1]! : 0;
      const base = LITERAL + LITERAL_CODER_SIZE * (((position & literalMask) << lc) + (previous >> (8 - lc)));
      let symbol = 1;
      if (state >= FIRST_MATCH_STATE) {
        // After a match the byte that the match would have continued with is part of the context, until they differ.
        let matched = rep0 < position ? out[at - rep0 - 1]! : 0;
        do {
          const matchBit = (matched >> 7) & 1;
          matched <<= 1;
          if ((range & TOP_MASK) === 0) {
            range <<= 8;
            code = (code << 8) | src[pos++]!;
          }
          i = base + ((1 + matchBit) << 8) + symbol;
          v = p[i]!;
          bound = Math.imul(range >>> PROBABILITY_BITS, v);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
            symbol <<= 1;
            if (matchBit !== 0) break;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            p[i] = v - (v >> MOVE_BITS);
            symbol = (symbol << 1) | 1;
            if (matchBit === 0) break;
          }
        } while (symbol < 0x100);
      }
      while (symbol < 0x100) {
        if ((range & TOP_MASK) === 0) {
          range <<= 8;
          code = (code << 8) | src[pos++]!;
        }
        i = base + symbol;
        v = p[i]!;
        bound = Math.imul(range >>> PROBABILITY_BITS, v);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
          symbol <<= 1;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          p[i] = v - (v >> MOVE_BITS);
          symbol = (symbol << 1) | 1;
        }
      }
      out[at++] = symbol;
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    range = (range - bound) | 0;
    code = (code - bound) | 0;
    p[i] = v - (v >> MOVE_BITS);

    if ((range & TOP_MASK) === 0) {
      range <<= 8;
      code = (code << 8) | src[pos++]!;
    }
    let lengthCoder = MATCH_LENGTH;
    i = IS_REP + state;
    v = p[i]!;
    bound = Math.imul(range >>> PROBABILITY_BITS, v);
    const repeated = code >>> 0 >= bound >>> 0;
    if (!repeated) {
      range = bound;
      p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
    } else {
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      p[i] = v - (v >> MOVE_BITS);
      lengthCoder = REP_LENGTH;
      if ((range & TOP_MASK) === 0) {
        range <<= 8;
        code = (code << 8) | src[pos++]!;
      }
      i = IS_REP0 + state;
      v = p[i]!;
      bound = Math.imul(range >>> PROBABILITY_BITS, v);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
        if ((range & TOP_MASK) === 0) {
          range <<= 8;
          code = (code << 8) | src[pos++]!;
        }
        i = IS_REP0_LONG + (state << 4) + positionState;
        v = p[i]!;
        bound = Math.imul(range >>> PROBABILITY_BITS, v);
        if (code >>> 0 < bound >>> 0) {
          // A short repeat: one byte at the last distance.
          range = bound;
          p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
          if (rep0 < 0 || rep0 >= position) throw corrupted();
          out[at] = out[at - rep0 - 1]!;
          at++;
          state = state < FIRST_MATCH_STATE ? 9 : 11;
          continue;
        }
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        p[i] = v - (v >> MOVE_BITS);
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        p[i] = v - (v >> MOVE_BITS);
        let distance = rep1;
        if ((range & TOP_MASK) === 0) {
          range <<= 8;
          code = (code << 8) | src[pos++]!;
        }
        i = IS_REP1 + state;
        v = p[i]!;
        bound = Math.imul(range >>> PROBABILITY_BITS, v);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          p[i] = v - (v >> MOVE_BITS);
          if ((range & TOP_MASK) === 0) {
            range <<= 8;
            code = (code << 8) | src[pos++]!;
          }
          i = IS_REP2 + state;
          v = p[i]!;
          bound = Math.imul(range >>> PROBABILITY_BITS, v);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
            distance = rep2;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            p[i] = v - (v >> MOVE_BITS);
            distance = rep3;
            rep3 = rep2;
          }
          rep2 = rep1;
        }
        rep1 = rep0;
        rep0 = distance;
      }
    }

    // The length: choose low, middle or high tree, then walk it.
    let tree = lengthCoder + LENGTH_LOW + (positionState << 3);
    let limit = 8;
    let length = MATCH_LENGTH_MIN;
    if ((range & TOP_MASK) === 0) {
      range <<= 8;
      code = (code << 8) | src[pos++]!;
    }
    v = p[lengthCoder]!;
    bound = Math.imul(range >>> PROBABILITY_BITS, v);
    if (code >>> 0 < bound >>> 0) {
      range = bound;
      p[lengthCoder] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
    } else {
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      p[lengthCoder] = v - (v >> MOVE_BITS);
      if ((range & TOP_MASK) === 0) {
        range <<= 8;
        code = (code << 8) | src[pos++]!;
      }
      i = lengthCoder + 1;
      v = p[i]!;
      bound = Math.imul(range >>> PROBABILITY_BITS, v);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
        tree = lengthCoder + LENGTH_MID + (positionState << 3);
        length += 8;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        p[i] = v - (v >> MOVE_BITS);
        tree = lengthCoder + LENGTH_HIGH;
        limit = 256;
        length += 16;
      }
    }
    let node = 1;
    do {
      if ((range & TOP_MASK) === 0) {
        range <<= 8;
        code = (code << 8) | src[pos++]!;
      }
      i = tree + node;
      v = p[i]!;
      bound = Math.imul(range >>> PROBABILITY_BITS, v);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
        node <<= 1;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        p[i] = v - (v >> MOVE_BITS);
        node = (node << 1) | 1;
      }
    } while (node < limit);
    length += node - limit;

    if (repeated) {
      state = state < FIRST_MATCH_STATE ? 8 : 11;
    } else {
      state = state < FIRST_MATCH_STATE ? 7 : 10;
      rep3 = rep2;
      rep2 = rep1;
      rep1 = rep0;
      // The distance: a slot of six bits, then its extra bits.
      tree = DISTANCE_SLOT + (Math.min(length - MATCH_LENGTH_MIN, 3) << 6);
      node = 1;
      do {
        if ((range & TOP_MASK) === 0) {
          range <<= 8;
          code = (code << 8) | src[pos++]!;
        }
        i = tree + node;
        v = p[i]!;
        bound = Math.imul(range >>> PROBABILITY_BITS, v);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
          node <<= 1;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          p[i] = v - (v >> MOVE_BITS);
          node = (node << 1) | 1;
        }
      } while (node < 64);
      const slot = node - 64;
      rep0 = slot;
      if (slot >= FIRST_MODELLED_SLOT) {
        let bits = (slot >> 1) - 1;
        rep0 = (2 | (slot & 1)) << bits;
        if (slot < FIRST_DIRECT_SLOT) {
          tree = DISTANCE_SPECIAL + rep0 - slot;
        } else {
          for (; bits > ALIGN_BITS; bits--) {
            if ((range & TOP_MASK) === 0) {
              range <<= 8;
              code = (code << 8) | src[pos++]!;
            }
            range >>>= 1;
            if (code >>> 0 >= range >>> 0) {
              code = (code - range) | 0;
              rep0 += 1 << (bits - 1);
            }
          }
          tree = DISTANCE_ALIGN;
        }
        node = 1;
        for (let bit = 0; bit < bits; bit++) {
          if ((range & TOP_MASK) === 0) {
            range <<= 8;
            code = (code << 8) | src[pos++]!;
          }
          i = tree + node;
          v = p[i]!;
          bound = Math.imul(range >>> PROBABILITY_BITS, v);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            p[i] = v + ((PROBABILITY_ONE - v) >> MOVE_BITS);
            node <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            p[i] = v - (v >> MOVE_BITS);
            node = (node << 1) | 1;
            rep0 += 1 << bit;
          }
        }
        rep0 |= 0;
      }
    }
    // Distances from 2^31 are negative here; no dictionary is that long.
    if (rep0 < 0 || rep0 >= position || length > outputEnd - at) throw corrupted();
    const end = at + length;
    let from = at - rep0 - 1;
    do out[at++] = out[from++]!;
    while (at < end);
  }
  if ((range & TOP_MASK) === 0) {
    code = (code << 8) | src[pos++]!;
  }
  // A sound chunk ends exactly here, with nothing left in the coder.
  if (pos !== sourceEnd || code !== 0) throw corrupted();
  s.state = state;
  s.rep0 = rep0;
  s.rep1 = rep1;
  s.rep2 = rep2;
  s.rep3 = rep3;
}
