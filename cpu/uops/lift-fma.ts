/** FMA and F16C: fused multiply-add, conversions between half and single precision. */
import { S_T0, XMM, XMM_STRIDE } from "../arena.ts";
import { OP_MEM } from "../decode/instruction.ts";
import { mnemonic } from "../decode/mnemonics.ts";
import { FMA_132, FMA_213, FMA_231, FMA_SIGNS, fusedMultiply } from "../fpu/fma.ts";
import { halfToSingle, singleToHalf } from "../fpu/half.ts";
import { defineVectorHelper } from "../fpu/simd-lanes.ts";
import { F32, F64 } from "../fpu/softfloat.ts";
import type { SseOperation } from "../fpu/sse-arith.ts";
import { defineLifter } from "./builder.ts";
import { clearUpper, guarded, isLong, V_T0, V_T1, vectorSource } from "./lift-vector.ts";
import * as U from "./uop.ts";

/** A helper that does `operation` on vectors d, a and b, with immediate c. */
function vectorHelper(name: string, operation: SseOperation): number {
  return defineVectorHelper(name, (core, u) => {
    const at = (field: number): number => XMM + core.u8[u + field]! * XMM_STRIDE;
    return operation(core, at(2), at(3), at(4), core.u8[u + 7]!);
  });
}

const ORDERS = [
  ["132", FMA_132],
  ["213", FMA_213],
  ["231", FMA_231],
] as const;
const SUFFIXES = [
  ["PS", F32, 4],
  ["PD", F64, 2],
  ["SS", F32, 1],
  ["SD", F64, 1],
] as const;
for (const [stem, signs] of Object.entries(FMA_SIGNS))
  for (const [digits, order] of ORDERS)
    for (const [suffix, fmt, lanes] of SUFFIXES) {
      if (lanes === 1 && signs.even !== signs.odd) continue;
      const name = `V${stem}${digits}${suffix}`;
      const narrow = vectorHelper(name, fusedMultiply(order, signs, fmt, lanes));
      const long =
        lanes === 1 ? narrow : vectorHelper(`${name} (32 bytes)`, fusedMultiply(order, signs, fmt, lanes * 2));
      defineLifter(
        guarded((b, ins) => {
          const third = vectorSource(b, ins, 2, V_T0);
          const length = lanes === 1 ? 0 : isLong(ins) ? 2 : 1;
          const c = order | (signs.product << 2) | (signs.even << 3) | (signs.odd << 4) | (length << 5);
          const kind = fmt === F64 ? U.U_FMA64 : U.U_FMA32;
          b.emit(kind, ins.reg[0]!, ins.reg[1]!, third, 0, c, 0, isLong(ins) ? long : narrow);
          clearUpper(b, ins);
        }),
        mnemonic(name),
      );
    }

const toSingle = vectorHelper("VCVTPH2PS", halfToSingle(4));
const toSingleLong = vectorHelper("VCVTPH2PS (32 bytes)", halfToSingle(8));
defineLifter(
  guarded((b, ins) => {
    const half = vectorSource(b, ins, 1, V_T0);
    b.helper(isLong(ins) ? toSingleLong : toSingle, ins.reg[0]!, 0, half);
    clearUpper(b, ins);
  }),
  mnemonic("VCVTPH2PS"),
);

const toHalf = vectorHelper("VCVTPS2PH", singleToHalf(4, 16));
const toHalfLong = vectorHelper("VCVTPS2PH (32 bytes)", singleToHalf(8, 16));
defineLifter(
  guarded((b, ins) => {
    const long = isLong(ins);
    const helper = long ? toHalfLong : toHalf;
    const imm = ins.immLo & 255;
    if (ins.kind[0] !== OP_MEM) {
      b.helper(helper, ins.reg[0]!, 0, ins.reg[1]!, imm);
      clearUpper(b, ins);
      return;
    }
    // Whether memory can be written is asked before the conversion changes MXCSR.
    b.mem(ins, long ? 16 : 8, true);
    b.m(U.U_LOADW + 3, S_T0);
    if (long) b.m(U.U_LOADW + 3, S_T0, 0, 8);
    b.helper(helper, V_T1, 0, ins.reg[1]!, imm);
    b.m(long ? U.U_VSTORE : U.U_VSTORE64, V_T1);
  }),
  mnemonic("VCVTPS2PH"),
);
