/** One experiment: a single instruction, the state before it, and what there is after it. */
export const START = 0x40000100n;
export const CODE_PAGE = 0x40000000;
export const DATA = 0x50000000;
export const DATA_BYTES = 0x4000;
export const WINDOW = 0x50000800;
export const WINDOW_BYTES = 256;
/** Bytes of an FXSAVE image that are registers (the rest is reserved or for software). */
export const FX_BYTES = 512;

export interface Vector {
  code: Uint8Array;
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15. */
  gpr: bigint[];
  rflags: number;
  mem: Uint8Array;
  /** FXSAVE image (64-bit form), if the instruction touches x87, MMX or SSE state. */
  fx: Uint8Array | null;
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
}
