/** x87 instructions and the instructions that save and restore floating-point state. */
import {
  FAULT_VECTOR,
  FPU_DP,
  FPU_IP,
  FPU_OP,
  FPU_SW,
  MXCSR,
  S_RCX,
  S_RIPBASE,
  S_T0,
  S_T1,
  S_T5,
  S_ZERO,
  SLOTS,
} from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_MF, VEC_SS } from "../core.ts";
import type { Instruction } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { mxcsrMask } from "../fpu/sse-state.ts";
import {
  ENV_16,
  ENV_REAL,
  environmentBytes,
  loadEnvironment,
  restoreState,
  saveState,
  storeEnvironment,
} from "../fpu/x87-image.ts";
import { SW_ES } from "../fpu/x87-state.ts";
import { X87_CONTROL, X87_NO_WAIT, X87_STORE, x87Entry } from "../fpu/x87-table.ts";
import {
  fxrstor,
  fxsave,
  type ImageForm,
  XSAVE_COMPACTED,
  XSAVE_OPTIMIZED,
  XSAVE_PLAIN,
  xgetbv,
  xrstor,
  xsave,
} from "../fpu/xsave.ts";
import { type BlockBuilder, defineLifter, sizeIndex } from "./builder.ts";
import { defineHelper, HELPER_SLOTS } from "./helpers.ts";
import { DISP, FIELD_OFF, HELPER_UNDEFINED } from "./helpers-integer.ts";
import { defineVectorLifter, guarded, HELPER_DEVICE_NOT_AVAILABLE } from "./lift-vector.ts";
import * as U from "./uop.ts";
import { x87Form } from "./x87-forms.ts";

/** disp of the x87 helper: the 11 bits of FOP (opcode - D8, ModRM), and whether S_T5 holds an operand's address. */
const FOP_MASK = 0x7ff;
const HAS_OPERAND = 0x800;
const T5 = (SLOTS + S_T5) >>> 2;
const RIPBASE = (SLOTS + S_RIPBASE) >>> 2;
/** The largest size that the segment check takes. */
const CHECKED_BYTES = 255;

/** #MF if an unmasked exception is pending. */
function pending(core: Core): number {
  return (core.i32[FPU_SW >>> 2] as number) & SW_ES ? raise(core, VEC_MF) : U.H_OK;
}

/** For other files: the check of MMX instructions for pending x87 exceptions. U_HELPER. */
export const HELPER_WAIT: number = defineHelper("wait", pending);
HELPER_SLOTS.set(HELPER_WAIT, 0);

/** An x87 operation; memory operands are in S_T0 and S_T1 (x87-transfer.ts). */
function operate(core: Core, u: number): number {
  const disp = core.i32[(u + DISP) >>> 2] as number;
  const entry = x87Entry(0xd8 | ((disp >> 8) & 7), disp & 0xff);
  if (entry === undefined) return U.H_OK;
  if ((entry.flags & X87_NO_WAIT) === 0 && pending(core) !== U.H_OK) return U.H_FAULT;
  if ((entry.flags & X87_CONTROL) === 0) {
    const i = core.i32;
    const low = ((i[RIPBASE] as number) >>> 0) + (core.u8[u + FIELD_OFF] as number);
    i[FPU_OP >>> 2] = disp & FOP_MASK;
    i[FPU_IP >>> 2] = low;
    i[(FPU_IP + 4) >>> 2] = (i[RIPBASE + 1] as number) + (low > 0xffffffff ? 1 : 0);
    if (disp & HAS_OPERAND) {
      i[FPU_DP >>> 2] = i[T5] as number;
      i[(FPU_DP + 4) >>> 2] = i[T5 + 1] as number;
    }
  }
  entry.operation(core, disp & 7);
  return U.H_OK;
}
const HELPER_X87: number = defineHelper("x87", operate);
HELPER_SLOTS.set(
  HELPER_X87,
  [S_T0, S_T1, S_T5, S_RIPBASE].reduce((bits, slot) => bits | (1 << (slot >>> 3)), 0),
);
/** The same of an instruction that reads or writes RFLAGS or AX: FCMOVcc, FCOMI and its like, FNSTSW AX. */
const HELPER_X87_FLAGS: number = defineHelper("x87 with flags", operate);
const USES_FLAGS = /^(FCMOV|FU?COMIP?$|FNSTSW$)/;

const wait = (b: BlockBuilder): void => b.emit(U.x87op("wait"), 0, 0, 0, 0, 0, 0, HELPER_WAIT);

/** #NM for CR0.EM or CR0.TS. True if the instruction may go on. */
function x87Allowed(b: BlockBuilder): boolean {
  if ((b.mode & (U.MODE_EM | U.MODE_TS)) === 0) return true;
  b.helperEnd(HELPER_DEVICE_NOT_AVAILABLE);
  return false;
}

/** S_T5 = the address that `mem` prepared, without the segment base that micro-ops add. */
function effectiveAddress(b: BlockBuilder): void {
  b.emit(U.U_LEA64, S_T5, b.ma, b.mb, S_ZERO, b.mc & U.C_SCALE_MASK, b.mdisp, 0);
}

function liftX87(b: BlockBuilder, ins: Instruction): void {
  const entry = x87Entry(ins.opcode, ins.modrm);
  if (entry === undefined) {
    b.helperEnd(HELPER_UNDEFINED);
    return;
  }
  if (!x87Allowed(b)) return;
  const fop = ((ins.opcode & 7) << 8) | ins.modrm;
  const form = x87Form(ins.opcode, ins.modrm);
  const operation = (disp: number): void => {
    const helper = USES_FLAGS.test(MN.MNEMONIC_NAMES[ins.mn]!) ? HELPER_X87_FLAGS : HELPER_X87;
    b.emit(form === undefined ? U.U_HELPER : U.x87op(form.op), 0, 0, 0, 0, form?.c ?? 0, disp, helper);
  };
  if (entry.size === 0) {
    operation(fop);
    return;
  }
  // #MF for an earlier instruction comes before faults of this one's operand.
  if ((entry.flags & X87_NO_WAIT) === 0) wait(b);
  const store = (entry.flags & X87_STORE) !== 0;
  b.mem(ins, entry.size, store);
  effectiveAddress(b);
  // A store reads its operand first: all faults come before the operation, and an operation that must not
  // store (an unmasked exception) leaves the old bytes to be written back.
  const load = store ? U.U_LOADW : U.U_LOAD;
  const sz = entry.size === 10 ? 3 : sizeIndex(entry.size);
  b.m(load + sz, S_T0);
  if (entry.size === 10) b.m(load + 1, S_T1, 0, 8);
  operation(fop | HAS_OPERAND);
  if (!store) return;
  b.m(U.U_STORE + sz, S_T0);
  if (entry.size === 10) b.m(U.U_STORE + 1, S_T1, 0, 8);
}

defineLifter(
  liftX87,
  ...[MN.MN_F2XM1, MN.MN_FABS, MN.MN_FADD, MN.MN_FADDP, MN.MN_FBLD, MN.MN_FBSTP, MN.MN_FCHS],
  ...[MN.MN_FCMOVB, MN.MN_FCMOVBE, MN.MN_FCMOVE, MN.MN_FCMOVNB, MN.MN_FCMOVNBE, MN.MN_FCMOVNE, MN.MN_FCMOVNU],
  ...[MN.MN_FCMOVU, MN.MN_FCOM, MN.MN_FCOMI, MN.MN_FCOMIP, MN.MN_FCOMP, MN.MN_FCOMPP, MN.MN_FCOS, MN.MN_FDECSTP],
  ...[MN.MN_FDIV, MN.MN_FDIVP, MN.MN_FDIVR, MN.MN_FDIVRP, MN.MN_FFREE, MN.MN_FFREEP, MN.MN_FIADD, MN.MN_FICOM],
  ...[MN.MN_FICOMP, MN.MN_FIDIV, MN.MN_FIDIVR, MN.MN_FILD, MN.MN_FIMUL, MN.MN_FINCSTP, MN.MN_FIST, MN.MN_FISTP],
  ...[MN.MN_FISTTP, MN.MN_FISUB, MN.MN_FISUBR, MN.MN_FLD, MN.MN_FLD1, MN.MN_FLDCW, MN.MN_FLDL2E, MN.MN_FLDL2T],
  ...[MN.MN_FLDLG2, MN.MN_FLDLN2, MN.MN_FLDPI, MN.MN_FLDZ, MN.MN_FMUL, MN.MN_FMULP, MN.MN_FNCLEX, MN.MN_FNDISI],
  ...[MN.MN_FNENI, MN.MN_FNINIT, MN.MN_FNOP, MN.MN_FNSETPM, MN.MN_FNSTCW, MN.MN_FNSTSW, MN.MN_FPATAN, MN.MN_FPREM],
  ...[MN.MN_FPREM1, MN.MN_FPTAN, MN.MN_FRNDINT, MN.MN_FSCALE, MN.MN_FSIN, MN.MN_FSINCOS, MN.MN_FSQRT, MN.MN_FST],
  ...[MN.MN_FSTP, MN.MN_FSUB, MN.MN_FSUBP, MN.MN_FSUBR, MN.MN_FSUBRP, MN.MN_FTST, MN.MN_FUCOM, MN.MN_FUCOMI],
  ...[MN.MN_FUCOMIP, MN.MN_FUCOMP, MN.MN_FUCOMPP, MN.MN_FXAM, MN.MN_FXCH, MN.MN_FXTRACT, MN.MN_FYL2X, MN.MN_FYL2XP1],
);

/** WAIT: #NM needs CR0.MP and TS together. */
defineLifter((b) => {
  const both = U.MODE_MP | U.MODE_TS;
  if ((b.mode & both) === both) b.helperEnd(HELPER_DEVICE_NOT_AVAILABLE);
  else wait(b);
}, MN.MN_FWAIT);

// ---- images -----------------------------------------------------------------------------------------------------

/** What an image helper does: `lo`, `hi` linear address, `c` the micro-op's small constant. */
type ImageOperation = (core: Core, lo: number, hi: number, c: number) => number;

/** d of an image helper: the operand is in the stack segment. */
const STACK_IMAGE = 1;

/** U_HELPER_END with the linear address in S_T5 and a form in c. */
function defineImageHelper(name: string, operation: ImageOperation): number {
  return defineHelper(name, (core, u) => {
    const hi = core.i32[T5 + 1] as number;
    const r = operation(core, core.i32[T5] as number, hi, core.u8[u + 7] as number);
    // The image's address is linear; that of one in the stack segment is #SS where it is not canonical.
    const stack = core.u8[u + 2] === STACK_IMAGE && (hi << 16) >> 16 !== hi;
    return r === U.H_FAULT && stack && core.i32[FAULT_VECTOR >>> 2] === VEC_GP ? raise(core, VEC_SS) : r;
  });
}

/** Emits the helper for an image of `bytes` at the memory operand. */
function liftImage(
  b: BlockBuilder,
  ins: Instruction,
  helper: number,
  form: number,
  bytes: number,
  write: boolean,
): void {
  b.mem(ins, Math.min(bytes, CHECKED_BYTES), write);
  effectiveAddress(b);
  if (b.ms !== S_ZERO) b.emit(U.U_LEA64, S_T5, S_T5, b.ms, S_ZERO, 0, 0, 0);
  b.helperEnd(helper, b.mc & U.C_STACK ? STACK_IMAGE : 0, 0, 0, form);
}

const ENVIRONMENTS: readonly (readonly [mnemonic: number, helper: number, registers: boolean, write: boolean])[] = [
  [MN.MN_FNSTENV, defineImageHelper("FNSTENV", storeEnvironment), false, true],
  [MN.MN_FNSAVE, defineImageHelper("FNSAVE", saveState), true, true],
  [
    MN.MN_FLDENV,
    defineImageHelper("FLDENV", (core, lo, hi, form) => pending(core) || loadEnvironment(core, lo, hi, form)),
    false,
    false,
  ],
  [
    MN.MN_FRSTOR,
    defineImageHelper("FRSTOR", (core, lo, hi, form) => pending(core) || restoreState(core, lo, hi, form)),
    true,
    false,
  ],
];
for (const [mnemonic, helper, registers, write] of ENVIRONMENTS) {
  defineLifter((b, ins) => {
    if (!x87Allowed(b)) return;
    const real = (b.mode & U.MODE_PE) === 0 || (b.mode & U.MODE_VM) !== 0;
    const form = (ins.opSize === 2 ? ENV_16 : 0) | (real ? ENV_REAL : 0);
    liftImage(b, ins, helper, form, environmentBytes(form) + (registers ? 80 : 0), write);
  }, mnemonic);
}

/** c of the FXSAVE and XSAVE helpers: bit 0 REX.W, bit 1 64-bit mode. */
const FORMS: readonly ImageForm[] = [
  { pointers64: false, registers: 8 },
  { pointers64: true, registers: 8 },
  { pointers64: false, registers: 16 },
  { pointers64: true, registers: 16 },
];
const formOf = (c: number): ImageForm => FORMS[c & 3] as ImageForm;

/** By plain and 64-bit mnemonic; the flags tell whether it stores and whether it belongs to the XSAVE feature set. */
const EXTENDED: readonly (readonly [plain: number, wide: number, helper: number, write: boolean, xsave: boolean])[] = [
  [
    MN.MN_FXSAVE,
    MN.MN_FXSAVE64,
    defineImageHelper("FXSAVE", (core, lo, hi, c) => fxsave(core, lo, hi, formOf(c))),
    true,
    false,
  ],
  [
    MN.MN_FXRSTOR,
    MN.MN_FXRSTOR64,
    defineImageHelper("FXRSTOR", (core, lo, hi, c) => fxrstor(core, lo, hi, formOf(c))),
    false,
    false,
  ],
  [
    MN.MN_XSAVE,
    MN.MN_XSAVE64,
    defineImageHelper("XSAVE", (core, lo, hi, c) => xsave(core, lo, hi, formOf(c), XSAVE_PLAIN)),
    true,
    true,
  ],
  [
    MN.MN_XSAVEOPT,
    MN.MN_XSAVEOPT64,
    defineImageHelper("XSAVEOPT", (core, lo, hi, c) => xsave(core, lo, hi, formOf(c), XSAVE_OPTIMIZED)),
    true,
    true,
  ],
  [
    MN.MN_XSAVEC,
    MN.MN_XSAVEC64,
    defineImageHelper("XSAVEC", (core, lo, hi, c) => xsave(core, lo, hi, formOf(c), XSAVE_COMPACTED)),
    true,
    true,
  ],
  [
    MN.MN_XRSTOR,
    MN.MN_XRSTOR64,
    defineImageHelper("XRSTOR", (core, lo, hi, c) => xrstor(core, lo, hi, formOf(c), true)),
    false,
    true,
  ],
];
for (const [plain, wide, helper, write, extended] of EXTENDED) {
  for (const mnemonic of [plain, wide]) {
    defineLifter((b, ins) => {
      if (extended && !(b.mode & U.MODE_OSXSAVE)) {
        b.helperEnd(HELPER_UNDEFINED);
        return;
      }
      if (b.mode & (extended ? U.MODE_TS : U.MODE_TS | U.MODE_EM)) {
        b.helperEnd(HELPER_DEVICE_NOT_AVAILABLE);
        return;
      }
      const form = (mnemonic === wide ? 1 : 0) | (b.is64 ? 2 : 0);
      liftImage(b, ins, helper, form, extended ? 576 : 512, write);
    }, mnemonic);
  }
}

const HELPER_XGETBV: number = defineHelper("XGETBV", (core) => xgetbv(core, core.i32[(SLOTS + S_RCX) >>> 2] as number));
defineLifter((b) => {
  if (b.mode & U.MODE_OSXSAVE) b.helper(HELPER_XGETBV);
  else b.helperEnd(HELPER_UNDEFINED);
}, MN.MN_XGETBV);

const T0 = (SLOTS + S_T0) >>> 2;
const HELPER_LDMXCSR: number = defineHelper("LDMXCSR", (core) => {
  const value = core.i32[T0] as number;
  if (value & ~mxcsrMask(core)) return raise(core, VEC_GP);
  core.i32[MXCSR >>> 2] = value;
  return U.H_OK;
});
const HELPER_STMXCSR: number = defineHelper("STMXCSR", (core) => {
  core.i32[T0] = core.i32[MXCSR >>> 2] as number;
  return U.H_OK;
});
defineVectorLifter(
  guarded((b, ins) => {
    b.mem(ins, 4, false);
    b.m(U.U_LOAD + 2, S_T0);
    b.helper(HELPER_LDMXCSR);
  }),
  MN.MN_LDMXCSR,
);
defineVectorLifter(
  guarded((b, ins) => {
    b.helper(HELPER_STMXCSR);
    b.mem(ins, 4, true);
    b.m(U.U_STORE + 2, S_T0);
  }),
  MN.MN_STMXCSR,
);
