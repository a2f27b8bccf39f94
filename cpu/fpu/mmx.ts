/**
 * MMX registers: the low 64 bits of the physical x87 registers (SDM volume 1, 9.2). MMX instructions work in vector
 * temporaries, into and out of which these helpers move the registers.
 */
import { FPR, FPU_SW, FPU_TW, XMM } from "../arena.ts";
import { type Core, raise, VEC_MF } from "../core.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_FAULT, H_OK } from "../uops/uop.ts";
import { SW_ES, SW_TOP_SHIFT } from "./x87-state.ts";

const SW = FPU_SW >>> 2;
const TW = FPU_TW >>> 2;
const TAGS_EMPTY = 0xffff;

/** True, with #MF recorded, if an x87 exception waits: MMX instructions deliver it as waiting x87 instructions do. */
function pendingX87(core: Core): boolean {
  if (!(core.i32[SW]! & SW_ES)) return false;
  raise(core, VEC_MF);
  return true;
}

/** Every MMX instruction: TOP = 0, all tags valid (EMMS then empties them). */
function enterMmx(core: Core): void {
  core.i32[SW]! &= ~(7 << SW_TOP_SHIFT);
  core.i32[TW] = 0;
}

/** U_HELPER: #MF if an x87 exception waits. */
export const HELPER_MMX_CHECK: number = defineHelper("MMX check", (core) => (pendingX87(core) ? H_FAULT : H_OK));

/** U_HELPER: vector d = MMX register a, zero-extended; checks as HELPER_MMX_CHECK. */
export const HELPER_MMX_READ: number = defineHelper("MMX read", (core, u) => {
  if (pendingX87(core)) return H_FAULT;
  const d = (XMM + (core.u8[u + 2]! << 4)) >>> 2;
  const a = (FPR + (core.u8[u + 3]! << 4)) >>> 2;
  core.i32[d] = core.i32[a]!;
  core.i32[d + 1] = core.i32[a + 1]!;
  core.i32[d + 2] = 0;
  core.i32[d + 3] = 0;
  return H_OK;
});

/** U_HELPER: MMX register d = low (c = 0) or high (c = 1) half of vector a; sign and exponent become ones. */
export const HELPER_MMX_WRITE: number = defineHelper("MMX write", (core, u) => {
  const d = FPR + (core.u8[u + 2]! << 4);
  const a = (XMM + (core.u8[u + 3]! << 4) + (core.u8[u + 7]! << 3)) >>> 2;
  core.i32[d >>> 2] = core.i32[a]!;
  core.i32[(d + 4) >>> 2] = core.i32[a + 1]!;
  core.u16[(d + 8) >>> 1] = 0xffff;
  enterMmx(core);
  return H_OK;
});

/** U_HELPER: the change of x87 state by an MMX instruction that writes no MMX register. */
export const HELPER_MMX_ENTER: number = defineHelper("MMX enter", (core) => {
  enterMmx(core);
  return H_OK;
});

/** U_HELPER: EMMS. */
export const HELPER_EMMS: number = defineHelper("EMMS", (core) => {
  if (pendingX87(core)) return H_FAULT;
  enterMmx(core);
  core.i32[TW] = TAGS_EMPTY;
  return H_OK;
});
