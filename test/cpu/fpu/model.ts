// Runs the oracle's records on the model.
import {
  Arena,
  CORE,
  CR4,
  FPR,
  FPU_CW,
  FPU_SW,
  FPU_TW,
  MXCSR,
  S_RAX,
  S_T0,
  S_T1,
  XMM,
  XMM_STRIDE,
} from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import { getFlags, setFlags } from "../../../cpu/flags.ts";
import { SSE_TABLE } from "../../../cpu/fpu/sse-table.ts";
import { fullTagWord, topOf } from "../../../cpu/fpu/x87-state.ts";
import { x87Entry } from "../../../cpu/fpu/x87-table.ts";
import { type Case, IMAGE, MEMORY, MXCSR_AT, RAX, RFLAGS, setControl, TRAPPED, XMM0, XMM1 } from "./oracle.ts";

export function newCore(): Core {
  return new Core(new Arena(4096), 0, new CoreGroup());
}

function load(core: Core, view: Case): void {
  core.i32[FPU_CW >> 2] = view.getUint16(IMAGE, true);
  core.i32[FPU_SW >> 2] = view.getUint16(IMAGE + 4, true);
  core.i32[FPU_TW >> 2] = view.getUint16(IMAGE + 8, true);
  const top = topOf(core);
  for (let i = 0; i < 8; i++) {
    const at = FPR + ((top + i) & 7) * 16;
    core.u64[at >> 3] = view.getBigUint64(IMAGE + 28 + i * 10, true);
    core.u16[(at + 8) >> 1] = view.getUint16(IMAGE + 36 + i * 10, true);
  }
  setFlags(core, Number(view.getBigUint64(RFLAGS, true)));
  core.setSlot(S_RAX, view.getBigUint64(RAX, true));
  for (const [at, register] of [
    [XMM0, 0],
    [XMM1, 1],
  ] as const) {
    core.u64[(XMM + register * XMM_STRIDE) >> 3] = view.getBigUint64(at, true);
    core.u64[(XMM + register * XMM_STRIDE + 8) >> 3] = view.getBigUint64(at + 8, true);
  }
  core.i32[MXCSR >> 2] = view.getUint32(MXCSR_AT, true);
}

function save(core: Core, view: Case): void {
  setControl(view, core.i32[FPU_CW >> 2] as number, core.i32[FPU_SW >> 2] as number, fullTagWord(core));
  const top = topOf(core);
  for (let i = 0; i < 8; i++) {
    const at = FPR + ((top + i) & 7) * 16;
    view.setBigUint64(IMAGE + 28 + i * 10, core.u64[at >> 3] as bigint, true);
    view.setUint16(IMAGE + 36 + i * 10, core.u16[(at + 8) >> 1] as number, true);
  }
  view.setBigUint64(RFLAGS, BigInt(getFlags(core)), true);
  view.setBigUint64(RAX, core.slot(S_RAX), true);
  for (const [at, register] of [
    [XMM0, 0],
    [XMM1, 1],
  ] as const) {
    view.setBigUint64(at, core.u64[(XMM + register * XMM_STRIDE) >> 3] as bigint, true);
    view.setBigUint64(at + 8, core.u64[(XMM + register * XMM_STRIDE + 8) >> 3] as bigint, true);
  }
  view.setUint32(MXCSR_AT, core.i32[MXCSR >> 2] as number, true);
}

export function copy(view: Case): Case {
  return new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Runs x87 instruction `opcode` `modrm` (memory forms: the operand is the record's memory). */
export function runX87(core: Core, input: Case, opcode: number, modrm: number): Case {
  const output = copy(input);
  load(core, output);
  const entry = x87Entry(opcode, modrm);
  if (entry === undefined) throw new Error(`no operation for ${opcode.toString(16)} ${modrm.toString(16)}`);
  core.setSlot(S_T0, output.getBigUint64(MEMORY, true));
  core.setSlot(S_T1, output.getBigUint64(MEMORY + 8, true));
  entry.operation(core, modrm & 7);
  if (entry.size > 0) {
    const bytes = core.u8.subarray(CORE + S_T0, CORE + S_T0 + 16);
    for (let i = 0; i < entry.size; i++) output.setUint8(MEMORY + i, bytes[i] as number);
  }
  save(core, output);
  return output;
}

/** Runs SSE instruction `name` on xmm0, xmm1, rax, mm0 and mm1 as sse-encodings.ts encodes it. */
export function runSse(core: Core, input: Case, name: string, wide: boolean, imm: number): Case {
  const output = copy(input);
  load(core, output);
  core.i32[CR4 >> 2] = 0x600;
  const entry = SSE_TABLE.get(name);
  if (entry === undefined) throw new Error(`no operation for ${name}`);
  const places = [
    [XMM, XMM + XMM_STRIDE],
    [FPR, FPR + 16],
    [CORE + S_RAX, CORE + S_RAX],
  ];
  const dst = places[entry.destination]?.[0] as number;
  const src = places[entry.source]?.[1] as number;
  const operation = wide && entry.wide !== null ? entry.wide : entry.operation;
  const fault = operation(core, dst, XMM, src, imm);
  output.setUint32(TRAPPED, fault === 0 ? 0 : 8, true);
  save(core, output);
  return output;
}
