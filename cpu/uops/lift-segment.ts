/** Lifting of what loads or looks at segments: segment registers and descriptors, far transfers, system calls, software interrupts. */
import * as A from "../arena.ts";
import { type Core, raise, VEC_BP, VEC_DB, VEC_GP, VEC_OF } from "../core.ts";
import { type Instruction, OP_FAR, OP_IMM } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { FLAG_IOPL, FLAG_OF, FLAG_VM, getFlags } from "../flags.ts";
import * as B from "../system/bits.ts";
import { isAmd } from "../system/cpu-model.ts";
import { loadAccessRights, loadLimit, setZf, verify } from "../system/descriptors.ts";
import {
  deliverSoftware,
  EVENT_PRIVILEGED_SOFTWARE,
  EVENT_SOFTWARE_EXCEPTION,
  EVENT_SOFTWARE_INTERRUPT,
} from "../system/exceptions.ts";
import { farCall, farJump, farReturn, iret } from "../system/far.ts";
import { SHADOW_MOV_SS, startShadow, updateMode } from "../system/mode.ts";
import { commitStack, currentStack, loadLdt, loadSegment, loadTr, move, SEG_SS, Stack } from "../system/segments.ts";
import { syscall, sysenter, sysexit, sysret } from "../system/syscall.ts";
import { type BlockBuilder, gprSlot, type Lifter, sizeIndex } from "./builder.ts";
import { defineHelper } from "./helpers.ts";
import { isMemory, loadTop } from "./lift-common.ts";
import { defineSystemForm, FORM_MOV_TO_SREG, FORM_POP_SREG } from "./system-forms.ts";
import {
  define,
  disp,
  fieldA,
  fieldB,
  fieldD,
  hi,
  lengthOf,
  lo,
  mayBeFast,
  mayBePv,
  setSlot,
  simple,
  source16,
} from "./system-lifting.ts";
import * as U from "./uop.ts";

// ---- segment registers --------------------------------------------------------------------------------------------------

function afterSegment(core: Core, seg: number, shadow: boolean): number {
  if (!B.is64(core)) updateMode(core);
  if (seg === SEG_SS && shadow) startShadow(core, SHADOW_MOV_SS);
  return U.H_OK;
}

const HELPER_LOAD_SEGMENT: number = defineHelper("MOV Sreg", (core, u) => {
  const seg = fieldD(core, u);
  const r = loadSegment(core, seg, lo(core, fieldA(core, u)) & 0xffff);
  return r === U.H_OK ? afterSegment(core, seg, true) : r;
});
defineSystemForm(FORM_MOV_TO_SREG, (b, ins) => {
  const slot = source16(b, ins, 1);
  b.helperEnd(HELPER_LOAD_SEGMENT, ins.reg[0]!, slot, 0, ins.length);
});

const stack = new Stack();

const HELPER_POP_SEGMENT: number = defineHelper("POP Sreg", (core, u) => {
  const seg = fieldD(core, u);
  currentStack(core, stack);
  move(stack, fieldB(core, u));
  const r = loadSegment(core, seg, lo(core, A.S_T0) & 0xffff);
  if (r !== U.H_OK) return r;
  commitStack(core, stack);
  return afterSegment(core, seg, true);
});
defineSystemForm(FORM_POP_SREG, (b, ins) => {
  loadTop(b, 2, A.S_T0);
  b.helperEnd(HELPER_POP_SEGMENT, ins.reg[0]!, 0, ins.opSize, ins.length);
});

/** LES.. : S_T0 offset, S_T1 selector; d = segment register, a = destination, b = operand size. */
const HELPER_LOAD_POINTER: number = defineHelper("load far pointer", (core, u) => {
  const seg = fieldD(core, u);
  const r = loadSegment(core, seg, lo(core, A.S_T1) & 0xffff);
  if (r !== U.H_OK) return r;
  const slot = fieldA(core, u);
  const size = fieldB(core, u);
  if (size === 2) core.u16[(A.SLOTS + slot) >>> 1] = lo(core, A.S_T0);
  else setSlot(core, slot, lo(core, A.S_T0), size === 8 ? hi(core, A.S_T0) : 0);
  return afterSegment(core, seg, false);
});
function loadFar(b: BlockBuilder, ins: Instruction, size: number): void {
  b.mem(ins, size + 2, false);
  b.m(U.U_LOAD + sizeIndex(size), A.S_T0);
  b.m(U.U_LOAD_ZX16_32, A.S_T1, 0, size);
}
/** Operand size of far pointers: AMD's processors have none of 64 bits (APM volume 3, CALL, JMP and LDS). */
const pointerSize = (b: BlockBuilder, ins: Instruction): number => (ins.opSize === 8 && isAmd(b.core) ? 4 : ins.opSize);
function loadPointer(seg: number): Lifter {
  return (b, ins) => {
    const size = pointerSize(b, ins);
    loadFar(b, ins, size);
    b.helperEnd(HELPER_LOAD_POINTER, seg, gprSlot(ins.reg[0]!), size, ins.length);
  };
}
define(loadPointer(0), MN.MN_LES);
define(loadPointer(2), MN.MN_LSS);
define(loadPointer(3), MN.MN_LDS);
define(loadPointer(4), MN.MN_LFS);
define(loadPointer(5), MN.MN_LGS);

// ---- far transfers ----------------------------------------------------------------------------------------------------------

type FarTransfer = (core: Core, selector: number, low: number, high: number, bytes: number, length: number) => number;
function far(mnemonic: number, name: string, transfer: FarTransfer): void {
  const helper = defineHelper(name, (core, u) =>
    transfer(core, lo(core, A.S_T1) & 0xffff, lo(core, A.S_T0), hi(core, A.S_T0), fieldD(core, u), lengthOf(core, u)),
  );
  define((b, ins) => {
    if (ins.kind[0] === OP_FAR) {
      b.ri(U.U_MOV_RI + 2, A.S_T0, ins.immLo);
      b.ri(U.U_MOV_RI + 2, A.S_T1, ins.imm2);
    } else loadFar(b, ins, pointerSize(b, ins));
    b.helperEnd(helper, pointerSize(b, ins), 0, 0, ins.length);
  }, mnemonic);
}
far(MN.MN_JMPF, "JMP far", farJump);
far(MN.MN_CALLF, "CALL far", farCall);

const HELPER_RETF: number = defineHelper("RET far", (core, u) => farReturn(core, fieldD(core, u), disp(core, u)));
define((b, ins) => {
  const release = ins.kind[0] === OP_IMM ? ins.immLo & 0xffff : 0;
  b.helperEnd(HELPER_RETF, ins.opSize, 0, 0, ins.length, release);
}, MN.MN_RETF);
const HELPER_IRET: number = defineHelper("IRET", (core, u) => iret(core, fieldD(core, u), lengthOf(core, u)));
define((b, ins) => {
  const inPlace = mayBePv(b) ? U.U_PV_IRETQ_END : mayBeFast(b) ? U.U_IRET_END : U.U_HELPER_END;
  b.terminal(ins.opSize === 8 ? inPlace : U.U_HELPER_END, ins.opSize, 0, 0, ins.length, 0, HELPER_IRET);
}, MN.MN_IRET);
const HELPER_SYSCALL: number = defineHelper("SYSCALL", (core, u) => syscall(core, lengthOf(core, u)));
const HELPER_SYSRET: number = defineHelper("SYSRET", (core, u) => sysret(core, fieldD(core, u)));
define((b, ins) => {
  const kind = mayBePv(b) ? U.U_PV_SYSCALL_END : mayBeFast(b) ? U.U_SYSCALL_END : U.U_HELPER_END;
  b.terminal(kind, ins.opSize, 0, 0, ins.length, 0, HELPER_SYSCALL);
}, MN.MN_SYSCALL);
define((b, ins) => {
  const fast = mayBeFast(b) && ins.opSize === 8;
  b.terminal(fast ? U.U_SYSRET_END : U.U_HELPER_END, ins.opSize, 0, 0, ins.length, 0, HELPER_SYSRET);
}, MN.MN_SYSRET);
simple(MN.MN_SYSENTER, "SYSENTER", (core, length) => sysenter(core, length));
simple(MN.MN_SYSEXIT, "SYSEXIT", (core, _length, size) => sysexit(core, size));

// ---- software interrupts ------------------------------------------------------------------------------------------------------

const HELPER_INT: number = defineHelper("INT n", (core, u) => {
  const vm = (core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_VM) !== 0;
  if (vm && (core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_IOPL) !== FLAG_IOPL) return raise(core, VEC_GP, 0);
  return deliverSoftware(core, fieldD(core, u), EVENT_SOFTWARE_INTERRUPT, lengthOf(core, u));
});
define((b, ins) => b.helperEnd(HELPER_INT, ins.immLo & 0xff, 0, 0, ins.length), MN.MN_INT);
simple(MN.MN_INT3, "INT3", (core, length) => deliverSoftware(core, VEC_BP, EVENT_SOFTWARE_EXCEPTION, length));
simple(MN.MN_INT1, "INT1", (core, length) => deliverSoftware(core, VEC_DB, EVENT_PRIVILEGED_SOFTWARE, length));
simple(MN.MN_INTO, "INTO", (core, length) =>
  getFlags(core) & FLAG_OF ? deliverSoftware(core, VEC_OF, EVENT_SOFTWARE_EXCEPTION, length) : U.H_OK,
);

// ---- descriptors ----------------------------------------------------------------------------------------------------------------

/** An instruction with a 16-bit selector as operand `operand`. */
function selectorOperand(
  mnemonic: number,
  name: string,
  operand: number,
  run: (core: Core, selector: number, u: number) => number,
): void {
  const helper = defineHelper(name, (core, u) => run(core, lo(core, fieldA(core, u)) & 0xffff, u));
  define((b, ins) => {
    const slot = source16(b, ins, operand);
    b.helperEnd(helper, operand === 1 ? gprSlot(ins.reg[0]!) : 0, slot, ins.opSize, ins.length);
  }, mnemonic);
}
selectorOperand(MN.MN_LLDT, "LLDT", 0, loadLdt);
selectorOperand(MN.MN_LTR, "LTR", 0, loadTr);
selectorOperand(MN.MN_VERR, "VERR", 0, (core, selector) => verify(core, selector, false));
selectorOperand(MN.MN_VERW, "VERW", 0, (core, selector) => verify(core, selector, true));
selectorOperand(MN.MN_LAR, "LAR", 1, (core, selector, u) =>
  loadAccessRights(core, fieldD(core, u), fieldB(core, u), selector),
);
selectorOperand(MN.MN_LSL, "LSL", 1, (core, selector, u) =>
  loadLimit(core, fieldD(core, u), fieldB(core, u), selector),
);

/** ARPL: a = destination slot, b = source slot; ZF says whether it was changed. */
const HELPER_ARPL: number = defineHelper("ARPL", (core, u) => {
  const d = (A.SLOTS + fieldA(core, u)) >>> 1;
  const rpl = core.u16[(A.SLOTS + fieldB(core, u)) >>> 1]! & 3;
  const raised = (core.u16[d]! & 3) < rpl;
  if (raised) core.u16[d] = (core.u16[d]! & ~3) | rpl;
  setZf(core, raised);
  return U.H_OK;
});
define((b, ins) => {
  const from = gprSlot(ins.reg[1]!);
  if (!isMemory(ins, 0)) {
    b.helper(HELPER_ARPL, 0, gprSlot(ins.reg[0]!), from);
    return;
  }
  b.mem(ins, 2, true);
  b.m(U.U_LOADW + 1, A.S_T0);
  b.helper(HELPER_ARPL, 0, A.S_T0, from);
  b.m(U.U_STORE + 1, A.S_T0);
}, MN.MN_ARPL);
