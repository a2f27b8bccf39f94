/** One experiment: a single instruction, the state before it, and what there is after it. */
/** Size of the code that a vector runs as: 64-bit mode, or 32- and 16-bit code in compatibility mode. */
export type CodeSize = 16 | 32 | 64;
/**
 * Segments of 16-bit vectors: base and limit of CS, DS, ES and SS, all different so that a base or limit taken from the wrong one
 * shows. 32-bit vectors are flat.
 */
export const SEGMENTS_16 = {
  cs: { base: 0x40000000, limit: 0xfff },
  ds: { base: 0x50000000, limit: 0x3fff },
  es: { base: 0x50000010, limit: 0x3bff },
  ss: { base: 0x50000020, limit: 0x3cff },
} as const;
/** RIP of the instruction. */
export const startOf = (size: CodeSize): bigint => (size === 16 ? 0x100n : 0x40000100n);
/** Offset in DS of the window. */
export const windowOf = (size: CodeSize): number => (size === 16 ? 0x800 : WINDOW);
export const CODE_PAGE = 0x40000000;
export const DATA = 0x50000000;
export const DATA_BYTES = 0x4000;
export const WINDOW = 0x50000800;
export const WINDOW_BYTES = 256;
/** Bytes of an FXSAVE image that are registers (the rest is reserved or for software). */
export const FX_BYTES = 512;
export const YMMH_BYTES = 256;

export interface Vector {
  size: CodeSize;
  code: Uint8Array;
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15. */
  gpr: bigint[];
  rflags: number;
  mem: Uint8Array;
  /** FXSAVE image (64-bit form), if the instruction touches x87, MMX or SSE state. */
  fx: Uint8Array | null;
  /** Upper halves of YMM0..15, if the instruction touches them or might; null: zeros, not compared. */
  ymmh: Uint8Array | null;
  /** Flags to compare after it. */
  mask: number;
  /** The opcode table's line. */
  row: string;
}

export interface Outcome {
  /** Linux signal, 0 none. */
  sig: number;
  rip: bigint;
  gpr: bigint[];
  rflags: number;
  mem: Uint8Array;
  fx: Uint8Array;
  ymmh: Uint8Array;
}
