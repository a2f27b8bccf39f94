// LZMA2: a sequence of chunks, each stored bytes or LZMA data with its own range coder (the .xz file format
// specification, section 5.3.1). Uncompressed output doubles as the dictionary.

import { ImageError } from "./error.ts";
import {
  AT_LC,
  AT_LP,
  AT_PB,
  AT_REPS,
  AT_STATE,
  type DecodeChunk,
  linkDecodeChunk,
  PROBABILITIES,
  PROBABILITY_INIT,
} from "./lzma-code.ts";

// Control byte of a chunk.
const CONTROL_END = 0x00;
const CONTROL_STORED_RESET = 0x01;
const CONTROL_STORED = 0x02;
const CONTROL_LZMA = 0x80;

/** Result of `decode`: positions just past the last byte read and written. */
export interface Lzma2End {
  source: number;
  output: number;
}

function corrupted(): ImageError {
  return new ImageError("xz: corrupted LZMA2 data");
}

/** Decodes what lies in `memory` to where it lies in `memory`: output from OUTPUT_FROM on, INPUT_SLACK bytes behind the input. */
export class Lzma2Decoder {
  private readonly bytes: Uint8Array;
  private readonly fields: Int32Array;
  private readonly probabilities: Uint16Array;
  private readonly decodeChunk: DecodeChunk;

  constructor(memory: WebAssembly.Memory) {
    this.bytes = new Uint8Array(memory.buffer);
    this.fields = new Int32Array(memory.buffer);
    this.probabilities = new Uint16Array(memory.buffer, 0, PROBABILITIES);
    this.decodeChunk = linkDecodeChunk(memory);
  }

  private resetState(): void {
    this.probabilities.fill(PROBABILITY_INIT);
    this.fields[AT_STATE >>> 2] = 0;
    this.fields.fill(0, AT_REPS >>> 2, (AT_REPS >>> 2) + 4);
  }

  private setProperties(byte: number): void {
    if (byte > (4 * 5 + 4) * 9 + 8) throw corrupted();
    const lp = Math.floor((byte % 45) / 9);
    const lc = byte % 9;
    if (lc + lp > 4) throw corrupted();
    this.fields[AT_LC >>> 2] = lc;
    this.fields[AT_LP >>> 2] = lp;
    this.fields[AT_PB >>> 2] = Math.floor(byte / 45);
  }

  /**
   * Decodes from `source` (no further than `sourceEnd`) to `output` (no further than `outputEnd`). `onChunk` is called with the output
   * position after every chunk (at most 2 MiB of output).
   */
  decode(
    source: number,
    sourceEnd: number,
    output: number,
    outputEnd: number,
    onChunk: (output: number) => void,
  ): Lzma2End {
    const { bytes } = this;
    let pos = source;
    let at = output;
    let dictionary = output;
    let needDictionary = true;
    let needState = true;
    let needProperties = true;
    for (;;) {
      if (pos >= sourceEnd) throw new ImageError("xz: truncated");
      const control = bytes[pos++]!;
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
        const size = ((bytes[pos]! << 8) | bytes[pos + 1]!) + 1;
        pos += 2;
        if (size > sourceEnd - pos) throw new ImageError("xz: truncated");
        if (size > outputEnd - at) throw corrupted();
        bytes.copyWithin(at, pos, pos + size);
        pos += size;
        at += size;
      } else {
        if (pos + 5 > sourceEnd) throw new ImageError("xz: truncated");
        const size = (((control & 0x1f) << 16) | (bytes[pos]! << 8) | bytes[pos + 1]!) + 1;
        const packed = ((bytes[pos + 2]! << 8) | bytes[pos + 3]!) + 1;
        pos += 4;
        // Bits 6..5: 0 nothing, 1 reset state, 2 and new properties, 3 and reset the dictionary.
        const reset = (control >>> 5) & 3;
        if (reset >= 2) {
          this.setProperties(bytes[pos++]!);
          needProperties = false;
        } else if (needProperties) {
          throw corrupted();
        }
        if (reset >= 1) {
          this.resetState();
          needState = false;
        } else if (needState) {
          throw corrupted();
        }
        if (packed > sourceEnd - pos) throw new ImageError("xz: truncated");
        if (size > outputEnd - at || packed < 5) throw corrupted();
        if (this.decodeChunk(pos, pos + packed, at, at + size, dictionary) === 0) throw corrupted();
        pos += packed;
        at += size;
      }
      onChunk(at);
    }
  }
}
