/**
 * Lifting of the system instructions. Nearly all are helpers that end their block, because they may change mode,
 * translation or privilege; c of their micro-op is the instruction's length, for exits. The semantics live in system/.
 */
import * as A from "../arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  EXIT_CPUID,
  EXIT_HLT,
  EXIT_IDLE,
  EXIT_INVLPG,
  EXIT_MWAIT,
  EXIT_PAUSE,
  EXIT_RDPMC,
  EXIT_RDTSC,
  EXIT_RDTSCP,
  EXIT_VMCALL,
  EXIT_VMX,
  EXIT_WBINVD,
  EXIT_XSETBV,
  INTERCEPT_CPUID,
  INTERCEPT_HLT,
  INTERCEPT_INVLPG,
  INTERCEPT_MWAIT,
  INTERCEPT_PAUSE,
  INTERCEPT_RDPMC,
  INTERCEPT_RDTSC,
  INTERCEPT_VMCALL,
  INTERCEPT_WBINVD,
  INTERCEPT_XSETBV,
  raise,
  VEC_BP,
  VEC_DB,
  VEC_GP,
  VEC_OF,
  VEC_UD,
} from "../core.ts";
import {
  type Instruction,
  OP_CR,
  OP_DR,
  OP_FAR,
  OP_GPR,
  OP_IMM,
  ROW_PRIV,
  ROW_PROT,
  SEG_FS,
} from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import {
  FLAG_AC,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_OF,
  FLAG_TF,
  FLAG_VM,
  FLAGS_ARITHMETIC,
  getFlags,
} from "../flags.ts";
import { invalidatePage } from "../mmu/tlb.ts";
import { isCanonical } from "../mmu/walker.ts";
import * as B from "../system/bits.ts";
import { isAmd } from "../system/cpu-model.ts";
import { cpuid } from "../system/cpuid.ts";
import * as CR from "../system/cr.ts";
import { loadAccessRights, loadLimit, setZf, verify } from "../system/descriptors.ts";
import { movFromDr, movToDr } from "../system/dr.ts";
import {
  deliverSoftware,
  EVENT_PRIVILEGED_SOFTWARE,
  EVENT_SOFTWARE_EXCEPTION,
  EVENT_SOFTWARE_INTERRUPT,
  interruptsDeliverable,
} from "../system/exceptions.ts";
import { exitAt, intercepts } from "../system/exits.ts";
import { farCall, farJump, farReturn, iret } from "../system/far.ts";
import { portIn, portOut, stringIo } from "../system/io.ts";
import {
  HALTED,
  loadTableRaw,
  SHADOW_MOV_SS,
  SHADOW_STI,
  startShadow,
  updateMode,
  updateView,
} from "../system/mode.ts";
import { rdmsr, wrmsr } from "../system/msr.ts";
import { changeFlags, noticeInterrupts } from "../system/rflags.ts";
import { commitStack, currentStack, loadLdt, loadSegment, loadTr, move, SEG_SS, Stack } from "../system/segments.ts";
import { syscall, sysenter, sysexit, sysret } from "../system/syscall.ts";
import { highWord, lowWord, readTsc, setEdxEax } from "../system/tsc.ts";
import * as W from "../system/words.ts";
import { type BlockBuilder, defineLifter, gprSlot, LIFTERS, type Lifter, sizeIndex } from "./builder.ts";
import { BASE_HELPERS, defineHelper } from "./helpers.ts";
import { addTo, isMemory, loadTop, push, stackSize } from "./lift-common.ts";
import { defineSystemForm, FORM_MOV_CR, FORM_MOV_DR, FORM_MOV_TO_SREG, FORM_POP_SREG } from "./system-forms.ts";
import * as U from "./uop.ts";

// ---- fields of the micro-op, slots ------------------------------------------------------------------------------------

const fieldD = (core: Core, u: number): number => core.u8[u + 2]!;
const fieldA = (core: Core, u: number): number => core.u8[u + 3]!;
const fieldB = (core: Core, u: number): number => core.u8[u + 4]!;
/** Length of the instruction. */
const lengthOf = (core: Core, u: number): number => core.u8[u + 7]!;
const disp = (core: Core, u: number): number => core.i32[(u + 8) >>> 2]!;

const lo = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot) >>> 2]!;
const hi = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot + 4) >>> 2]!;
/** High word of an operand that has one in 64-bit mode only. */
const hi64 = (core: Core, slot: number): number => (B.is64(core) ? hi(core, slot) : 0);
const cpl = (core: Core): number => core.i32[A.CPL >>> 2]!;

function setSlot(core: Core, slot: number, low: number, high: number): void {
  core.i32[(A.SLOTS + slot) >>> 2] = low;
  core.i32[(A.SLOTS + slot + 4) >>> 2] = high;
}

// ---- guards ---------------------------------------------------------------------------------------------------------------

const HELPER_UNDEFINED_SYSTEM: number = defineHelper("undefined system instruction", (core) => raise(core, VEC_UD));

/** #UD outside protected mode for rows that say so, then #GP(0) unless CPL is 0 where the row asks for it. */
function guarded(lifter: Lifter): Lifter {
  return (b, ins) => {
    const flags = ROW_FLAGS[ins.row]!;
    if (flags & ROW_PROT && (!(b.mode & U.MODE_PE) || b.mode & U.MODE_VM)) {
      b.helperEnd(HELPER_UNDEFINED_SYSTEM);
      return;
    }
    if (flags & ROW_PRIV) b.rr(U.U_CPL0, 0, 0);
    lifter(b, ins);
  };
}

const define = (lifter: Lifter, ...mnemonics: number[]): void => defineLifter(guarded(lifter), ...mnemonics);

/** The fast ends of blocks are for 64-bit code whose events go through its own IDT. */
const mayBeFast = (b: BlockBuilder): boolean => b.is64 && (b.mode & (U.MODE_NONROOT | U.MODE_STEP)) === U.MODE_NONROOT;

/** An instruction without operands that `run` executes. */
function simple(mnemonic: number, name: string, run: (core: Core, length: number, opSize: number) => number): void {
  const helper = defineHelper(name, (core, u) => run(core, lengthOf(core, u), fieldD(core, u)));
  define((b, ins) => b.helperEnd(helper, ins.opSize, 0, 0, ins.length), mnemonic);
}

/** S_T0 = linear address of the memory operand. */
function linearAddress(b: BlockBuilder, ins: Instruction): void {
  b.mem(ins, 0, false);
  b.emit(U.U_LEA64, A.S_T0, b.ma, b.mb, A.S_ZERO, b.mc & U.C_SCALE_MASK, b.mdisp, 0);
  if (b.ms !== A.S_ZERO) b.emit(U.U_LEA64, A.S_T0, A.S_T0, b.ms, A.S_ZERO, 0, 0, 0);
  else if (!b.is64) {
    const seg = ins.seg;
    if (seg >= SEG_FS || !(b.mode & U.MODE_FLAT))
      b.emit(U.U_LEA32, A.S_T0, A.S_T0, A.S_SEGBASE + (seg << 3), A.S_ZERO, 0, 0, 0);
  }
}

/** Slot with the 16-bit operand `i`. */
function source16(b: BlockBuilder, ins: Instruction, i: number): number {
  if (!isMemory(ins, i)) return gprSlot(ins.reg[i]!);
  b.mem(ins, 2, false);
  b.m(U.U_LOAD_ZX16_32, A.S_T0);
  return A.S_T0;
}

/** Stores S_T0: a register of the operand's size, or two bytes of memory. */
function storeWord(b: BlockBuilder, ins: Instruction): void {
  if (isMemory(ins, 0)) {
    b.mem(ins, 2, true);
    b.m(U.U_STORE + 1, A.S_T0);
  } else b.rr(U.U_MOV_RR + sizeIndex(ins.opSize), gprSlot(ins.reg[0]!), A.S_T0);
}

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
simple(MN.MN_IRET, "IRET", (core, length, size) => iret(core, size, length));
const HELPER_SYSCALL: number = defineHelper("SYSCALL", (core, u) => syscall(core, lengthOf(core, u)));
const HELPER_SYSRET: number = defineHelper("SYSRET", (core, u) => sysret(core, fieldD(core, u)));
define((b, ins) => {
  const mayBePv = b.is64 && (b.mode & (U.MODE_NONROOT | U.MODE_STEP)) === 0;
  const kind = mayBePv ? U.U_PV_SYSCALL_END : mayBeFast(b) ? U.U_SYSCALL_END : U.U_HELPER_END;
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

// ---- RFLAGS -----------------------------------------------------------------------------------------------------------------

const iopl = (core: Core): number => (core.i32[A.RFLAGS_SYS >>> 2]! >>> 12) & 3;

const HELPER_PUSHF_ALLOWED: number = defineHelper("PUSHF in VM86", (core) =>
  iopl(core) === 3 ? U.H_OK : raise(core, VEC_GP, 0),
);
define((b, ins) => {
  if (b.mode & U.MODE_VM) b.helper(HELPER_PUSHF_ALLOWED);
  b.rr(U.U_RFLAGS, A.S_T0, A.S_ZERO);
  if (ins.opSize === 8) b.rr(U.U_PUSH64, 0, A.S_T0);
  else push(b, ins.opSize, A.S_T0);
}, MN.MN_PUSHF);

const HELPER_POPF_ALLOWED: number = defineHelper("POPF in VM86", (core) =>
  iopl(core) === 3 ? U.H_OK : raise(core, VEC_GP, 0),
);
const POPF_FLAGS: number = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
const HELPER_POPF: number = defineHelper("POPF", (core, u) => {
  const before = core.i32[A.RFLAGS_SYS >>> 2]!;
  let mask = POPF_FLAGS;
  if (cpl(core) === 0) mask |= FLAG_IOPL;
  if (cpl(core) <= iopl(core)) mask |= FLAG_IF;
  if (fieldD(core, u) === 2) mask &= 0xffff;
  changeFlags(core, lo(core, A.S_T0), mask);
  if ((before ^ core.i32[A.RFLAGS_SYS >>> 2]!) & (FLAG_TF | FLAG_AC)) updateMode(core);
  noticeInterrupts(core);
  return U.H_OK;
});
define((b, ins) => {
  if (b.mode & U.MODE_VM) b.helper(HELPER_POPF_ALLOWED);
  loadTop(b, ins.opSize, A.S_T0);
  addTo(b, stackSize(b), A.S_RSP, ins.opSize);
  b.helperEnd(HELPER_POPF, ins.opSize, 0, 0, ins.length);
}, MN.MN_POPF);

define((b) => b.rr(U.U_CLI, 0, 0), MN.MN_CLI);
const HELPER_STI: number = defineHelper("STI", (core) => {
  if (cpl(core) > iopl(core)) return raise(core, VEC_GP, 0);
  const was = core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_IF;
  core.i32[A.RFLAGS_SYS >>> 2]! |= FLAG_IF;
  if (!was) startShadow(core, SHADOW_STI);
  return U.H_OK;
});
define((b, ins) => b.terminal(U.U_STI_END, ins.opSize, 0, 0, ins.length, 0, HELPER_STI), MN.MN_STI);
// #UD by CPUID and CPL, not by CR4: Xen runs them before it sets CR4.SMAP.
const setAc = (core: Core, set: boolean): number => {
  if (cpl(core) !== 0) return raise(core, VEC_UD);
  if (set) core.i32[A.RFLAGS_SYS >>> 2]! |= FLAG_AC;
  else core.i32[A.RFLAGS_SYS >>> 2]! &= ~FLAG_AC;
  updateView(core);
  return U.H_OK;
};
const HELPER_STAC: number = defineHelper("STAC", (core) => setAc(core, true));
const HELPER_CLAC: number = defineHelper("CLAC", (core) => setAc(core, false));
const acLifter =
  (fast: number, helper: number): Lifter =>
  (b, ins) =>
    b.terminal(mayBeFast(b) ? fast : U.U_HELPER_END, 0, 0, 0, ins.length, 0, helper);
defineLifter(acLifter(U.U_STAC_END, HELPER_STAC), MN.MN_STAC);
defineLifter(acLifter(U.U_CLAC_END, HELPER_CLAC), MN.MN_CLAC);

// ---- control and debug registers ------------------------------------------------------------------------------------------------

const HELPER_TO_CR: number = defineHelper("MOV CR", (core, u) => {
  const slot = fieldA(core, u);
  return CR.movToCr(core, fieldD(core, u), slot >>> 3, lo(core, slot), hi64(core, slot), lengthOf(core, u));
});
const HELPER_FROM_CR: number = defineHelper("MOV from CR", (core, u) => {
  const slot = fieldD(core, u);
  return CR.movFromCr(core, fieldA(core, u), slot, slot >>> 3, lengthOf(core, u));
});
defineSystemForm(
  FORM_MOV_CR,
  guarded((b, ins) => {
    if (ins.kind[0] === OP_CR) b.helperEnd(HELPER_TO_CR, ins.reg[0]!, gprSlot(ins.reg[1]!), 0, ins.length);
    else b.helperEnd(HELPER_FROM_CR, gprSlot(ins.reg[0]!), ins.reg[1]!, 0, ins.length);
  }),
);
const HELPER_TO_DR: number = defineHelper("MOV DR", (core, u) => {
  const slot = fieldA(core, u);
  return movToDr(core, fieldD(core, u), slot >>> 3, lo(core, slot), hi64(core, slot), lengthOf(core, u));
});
const HELPER_FROM_DR: number = defineHelper("MOV from DR", (core, u) => {
  const slot = fieldD(core, u);
  return movFromDr(core, fieldA(core, u), slot, slot >>> 3, lengthOf(core, u));
});
defineSystemForm(
  FORM_MOV_DR,
  guarded((b, ins) => {
    if (ins.kind[0] === OP_DR) b.helperEnd(HELPER_TO_DR, ins.reg[0]!, gprSlot(ins.reg[1]!), 0, ins.length);
    else b.helperEnd(HELPER_FROM_DR, gprSlot(ins.reg[0]!), ins.reg[1]!, 0, ins.length);
  }),
);
simple(MN.MN_CLTS, "CLTS", (core, length) => CR.clearTs(core, length));

const HELPER_LMSW: number = defineHelper("LMSW", (core, u) =>
  CR.loadMsw(core, lo(core, fieldA(core, u)) & 0xffff, lengthOf(core, u)),
);
define((b, ins) => {
  const slot = source16(b, ins, 0);
  b.helperEnd(HELPER_LMSW, 0, slot, 0, ins.length);
}, MN.MN_LMSW);

const userInstructionPrevention = (core: Core): boolean => cpl(core) > 0 && (B.cr4(core) & B.CR4_UMIP) !== 0;

/** An instruction that stores a word that `read` gives: SMSW, SLDT, STR; UMIP guards it. */
function storesWord(mnemonic: number, name: string, read: (core: Core) => number): void {
  const helper = defineHelper(name, (core) => {
    if (userInstructionPrevention(core)) return raise(core, VEC_GP, 0);
    setSlot(core, A.S_T0, read(core), 0);
    return U.H_OK;
  });
  define((b, ins) => {
    b.helper(helper);
    storeWord(b, ins);
  }, mnemonic);
}
storesWord(MN.MN_SMSW, "SMSW", CR.visibleCr0);
storesWord(MN.MN_SLDT, "SLDT", (core) => core.i32[A.LDTR >>> 2]! & 0xffff);
storesWord(MN.MN_STR, "STR", (core) => core.i32[A.TR >>> 2]! & 0xffff);

/** SGDT, SIDT: S_T0 limit, S_T1 base. */
function storesTable(mnemonic: number, name: string, table: number): void {
  const helper = defineHelper(name, (core) => {
    if (userInstructionPrevention(core)) return raise(core, VEC_GP, 0);
    const i = core.i32;
    setSlot(core, A.S_T0, i[(table + A.SEG_LIMIT) >>> 2]! & 0xffff, 0);
    setSlot(core, A.S_T1, i[(table + A.TABLE_BASE) >>> 2]!, i[(table + A.TABLE_BASE + 4) >>> 2]!);
    return U.H_OK;
  });
  define((b, ins) => {
    b.helper(helper);
    b.mem(ins, b.is64 ? 10 : 6, true);
    b.m(U.U_STORE + 1, A.S_T0);
    b.m(U.U_STORE + (b.is64 ? 3 : 2), A.S_T1, 0, 2);
  }, mnemonic);
}
storesTable(MN.MN_SGDT, "SGDT", A.GDTR);
storesTable(MN.MN_SIDT, "SIDT", A.IDTR);

/** LGDT, LIDT: S_T0 limit, S_T1 base; d = operand size. */
function loadsTable(mnemonic: number, name: string, table: number): void {
  const helper = defineHelper(name, (core, u) => {
    const wide = B.is64(core);
    const low = fieldD(core, u) === 2 && !wide ? lo(core, A.S_T1) & 0xffffff : lo(core, A.S_T1);
    const high = wide ? hi(core, A.S_T1) : 0;
    if (!isCanonical(high)) return raise(core, VEC_GP, 0);
    loadTableRaw(core, table, 0, low, high, lo(core, A.S_T0) & 0xffff, 0);
    return U.H_OK;
  });
  define((b, ins) => {
    b.mem(ins, b.is64 ? 10 : 6, false);
    b.m(U.U_LOAD_ZX16_32, A.S_T0);
    b.m(U.U_LOAD + (b.is64 ? 3 : 2), A.S_T1, 0, 2);
    b.helperEnd(helper, ins.opSize, 0, 0, ins.length);
  }, mnemonic);
}
loadsTable(MN.MN_LGDT, "LGDT", A.GDTR);
loadsTable(MN.MN_LIDT, "LIDT", A.IDTR);

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

// ---- TLB and caches -------------------------------------------------------------------------------------------------------------

const HELPER_INVLPG: number = defineHelper("INVLPG", (core, u) => {
  const low = lo(core, A.S_T0);
  const high = hi(core, A.S_T0);
  if (intercepts(core, INTERCEPT_INVLPG)) return exitAt(core, EXIT_INVLPG, lengthOf(core, u), low, high);
  if (isCanonical(high)) invalidatePage(core, low, high);
  return U.H_OK;
});
define((b, ins) => {
  linearAddress(b, ins);
  b.helperEnd(HELPER_INVLPG, 0, 0, 0, ins.length);
}, MN.MN_INVLPG);

const HELPER_INVPCID: number = defineHelper("INVPCID", (core, u) => {
  const type = fieldD(core, u);
  const wide = hi64(core, type) === 0 ? lo(core, type) >>> 0 : 4;
  const linear = A.S_T1;
  return CR.invalidatePcid(core, wide, lo(core, A.S_T0), hi(core, A.S_T0), lo(core, linear), hi(core, linear));
});
define((b, ins) => {
  b.mem(ins, 16, false);
  b.m(U.U_LOAD + 3, A.S_T0);
  b.m(U.U_LOAD + 3, A.S_T1, 0, 8);
  b.helperEnd(HELPER_INVPCID, gprSlot(ins.reg[0]!), 0, 0, ins.length);
}, MN.MN_INVPCID);

const writeBack = (core: Core, length: number): number =>
  intercepts(core, INTERCEPT_WBINVD) ? exitAt(core, EXIT_WBINVD, length) : U.H_OK;
simple(MN.MN_WBINVD, "WBINVD", writeBack);
simple(MN.MN_INVD, "INVD", writeBack);

// ---- MSRs, time, identification -----------------------------------------------------------------------------------------------------

simple(MN.MN_RDMSR, "RDMSR", (core, length) => rdmsr(core, length));
simple(MN.MN_WRMSR, "WRMSR", (core, length) => wrmsr(core, length));

function readTime(core: Core, reason: number, length: number): number {
  if (cpl(core) > 0 && B.cr4(core) & B.CR4_TSD) return raise(core, VEC_GP, 0);
  if (intercepts(core, INTERCEPT_RDTSC)) return exitAt(core, reason, length);
  const tsc = readTsc(core);
  setEdxEax(core, lowWord(tsc), highWord(tsc));
  return U.H_OK;
}
simple(MN.MN_RDTSC, "RDTSC", (core, length) => readTime(core, EXIT_RDTSC, length));
simple(MN.MN_RDTSCP, "RDTSCP", (core, length) => {
  const r = readTime(core, EXIT_RDTSCP, length);
  if (r === U.H_OK) setSlot(core, A.S_RCX, core.i32[A.MSR_TSC_AUX >>> 2]!, 0);
  return r;
});
/** No performance counters exist: every index is #GP. */
simple(MN.MN_RDPMC, "RDPMC", (core, length) => {
  if (cpl(core) > 0 && !(B.cr4(core) & B.CR4_PCE)) return raise(core, VEC_GP, 0);
  return intercepts(core, INTERCEPT_RDPMC) ? exitAt(core, EXIT_RDPMC, length) : raise(core, VEC_GP, 0);
});
simple(MN.MN_CPUID, "CPUID", (core, length) => {
  if (intercepts(core, INTERCEPT_CPUID)) return exitAt(core, EXIT_CPUID, length);
  const leaf = cpuid(core, lo(core, A.S_RAX) >>> 0, lo(core, A.S_RCX) >>> 0);
  setSlot(core, A.S_RAX, leaf.eax, 0);
  setSlot(core, A.S_RBX, leaf.ebx, 0);
  setSlot(core, A.S_RCX, leaf.ecx, 0);
  setSlot(core, A.S_RDX, leaf.edx, 0);
  return U.H_OK;
});
simple(MN.MN_XSETBV, "XSETBV", (core, length) => {
  if (!(B.cr4(core) & B.CR4_OSXSAVE)) return raise(core, VEC_UD);
  if (cpl(core) !== 0) return raise(core, VEC_GP, 0);
  if (intercepts(core, INTERCEPT_XSETBV)) return exitAt(core, EXIT_XSETBV, length);
  return CR.writeXcr0(core, lo(core, A.S_RCX), lo(core, A.S_RAX), lo(core, A.S_RDX));
});

// ---- FS and GS bases ----------------------------------------------------------------------------------------------------------------

// It checks its privilege itself.
defineLifter((b) => b.rr(U.U_SWAPGS, 0, 0), MN.MN_SWAPGS);

/** d = register slot, a = slot of the base, b = operand size. */
const HELPER_READ_BASE: number = defineHelper("RDFSBASE", (core, u) => {
  if (!(B.cr4(core) & B.CR4_FSGSBASE)) return raise(core, VEC_UD);
  const from = fieldA(core, u);
  setSlot(core, fieldD(core, u), lo(core, from), fieldB(core, u) === 8 ? hi(core, from) : 0);
  return U.H_OK;
});
const HELPER_WRITE_BASE: number = defineHelper("WRFSBASE", (core, u) => {
  if (!(B.cr4(core) & B.CR4_FSGSBASE)) return raise(core, VEC_UD);
  const from = fieldD(core, u);
  const high = fieldB(core, u) === 8 ? hi(core, from) : 0;
  if (!isCanonical(high)) return raise(core, VEC_GP, 0);
  setSlot(core, fieldA(core, u), lo(core, from), high);
  return U.H_OK;
});
BASE_HELPERS.add(HELPER_WRITE_BASE);
const baseLifter =
  (helper: number, base: number): Lifter =>
  (b, ins) =>
    b.helper(helper, gprSlot(ins.reg[0]!), base, ins.size[0]!);
define(baseLifter(HELPER_READ_BASE, A.S_FSBASE), MN.MN_RDFSBASE);
define(baseLifter(HELPER_READ_BASE, A.S_GSBASE), MN.MN_RDGSBASE);
define(baseLifter(HELPER_WRITE_BASE, A.S_FSBASE), MN.MN_WRFSBASE);
define(baseLifter(HELPER_WRITE_BASE, A.S_GSBASE), MN.MN_WRGSBASE);

// ---- waiting ------------------------------------------------------------------------------------------------------------------------

/** Sleeps, unless something that would wake the core waits: an interrupt, an NMI, or a trap of this instruction itself. */
function halt(core: Core): number {
  const traps = (core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_TF) !== 0 || core.i32[A.PENDING_DEBUG >>> 2] !== 0;
  if (traps) return U.H_OK;
  const waiting = core.interrupts !== null && interruptsDeliverable(core) && core.interrupts.pending() >= 0;
  if (waiting || core.i32[A.NMI_PENDING >>> 2] !== 0) {
    core.breakSlice();
    return U.H_OK;
  }
  core.i32[A.ACTIVITY >>> 2] = HALTED;
  core.i32[A.EXIT_REASON >>> 2] = EXIT_IDLE;
  return U.H_EXIT;
}
simple(MN.MN_HLT, "HLT", (core, length) =>
  intercepts(core, INTERCEPT_HLT) ? exitAt(core, EXIT_HLT, length) : halt(core),
);
simple(MN.MN_PAUSE, "PAUSE", (core, length) =>
  intercepts(core, INTERCEPT_PAUSE) ? exitAt(core, EXIT_PAUSE, length) : U.H_OK,
);
// MONITOR and MWAIT are #UD above CPL 0, and #GP for extensions in RCX.
const HELPER_MONITOR: number = defineHelper("MONITOR", (core) => {
  if (cpl(core) !== 0) return raise(core, VEC_UD);
  if (lo(core, A.S_RCX) !== 0) return raise(core, VEC_GP, 0);
  core.i32[W.MONITOR_ARMED >>> 2] = 1;
  return U.H_OK;
});
defineLifter((b) => b.helper(HELPER_MONITOR), MN.MN_MONITOR);
/** MWAIT sleeps until an interrupt, as HLT does; stores to the monitored line do not wake it (a limit of this model). */
const HELPER_MWAIT: number = defineHelper("MWAIT", (core, u) => {
  if (cpl(core) !== 0) return raise(core, VEC_UD);
  if (intercepts(core, INTERCEPT_MWAIT)) return exitAt(core, EXIT_MWAIT, lengthOf(core, u));
  if (lo(core, A.S_RCX) & ~1) return raise(core, VEC_GP, 0);
  const armed = core.i32[W.MONITOR_ARMED >>> 2];
  core.i32[W.MONITOR_ARMED >>> 2] = 0;
  return armed ? halt(core) : U.H_OK;
});
defineLifter((b, ins) => b.helperEnd(HELPER_MWAIT, 0, 0, 0, ins.length), MN.MN_MWAIT);

// ---- ports ------------------------------------------------------------------------------------------------------------------------------

/** disp = port, or -1 for DX; d = size. */
const HELPER_IN: number = defineHelper("IN", (core, u) => {
  const port = disp(core, u);
  return portIn(core, port < 0 ? lo(core, A.S_RDX) & 0xffff : port, fieldD(core, u), lengthOf(core, u));
});
const HELPER_OUT: number = defineHelper("OUT", (core, u) => {
  const port = disp(core, u);
  return portOut(core, port < 0 ? lo(core, A.S_RDX) & 0xffff : port, fieldD(core, u), lengthOf(core, u));
});
const portOf = (ins: Instruction, operand: number): number => (ins.kind[operand] === OP_GPR ? -1 : ins.immLo & 0xff);
define((b, ins) => b.helperEnd(HELPER_IN, ins.size[0]!, 0, 0, ins.length, portOf(ins, 1)), MN.MN_IN);
define((b, ins) => b.helperEnd(HELPER_OUT, ins.size[1]!, 0, 0, ins.length, portOf(ins, 0)), MN.MN_OUT);

/** d = element size, a = address size, b = segment, disp = 1 with REP. */
const HELPER_INS: number = defineHelper("INS", (core, u) =>
  stringIo(core, true, 0, fieldD(core, u), fieldA(core, u), disp(core, u) !== 0, lengthOf(core, u)),
);
const HELPER_OUTS: number = defineHelper("OUTS", (core, u) =>
  stringIo(core, false, fieldB(core, u), fieldD(core, u), fieldA(core, u), disp(core, u) !== 0, lengthOf(core, u)),
);
const repeated = (ins: Instruction): number => (ins.rep === 0 ? 0 : 1);
define((b, ins) => b.helperEnd(HELPER_INS, ins.size[0]!, ins.addrSize, 0, ins.length, repeated(ins)), MN.MN_INS);
define(
  (b, ins) => b.helperEnd(HELPER_OUTS, ins.size[1]!, ins.addrSize, ins.seg, ins.length, repeated(ins)),
  MN.MN_OUTS,
);

// ---- virtualization -----------------------------------------------------------------------------------------------------------------------

function hypercall(core: Core, length: number, kind: number): number {
  return intercepts(core, INTERCEPT_VMCALL) ? exitAt(core, EXIT_VMCALL, length, kind) : raise(core, VEC_UD);
}
simple(MN.MN_VMCALL, "VMCALL", (core, length) => hypercall(core, length, 0));
simple(MN.MN_VMMCALL, "VMMCALL", (core, length) => hypercall(core, length, 1));

const HELPER_VIRTUALIZATION: number = defineHelper("VMX or SVM", (core, u) =>
  core.controls.delivery === DELIVERY_NONROOT ? exitAt(core, EXIT_VMX, lengthOf(core, u)) : raise(core, VEC_UD),
);
for (const mnemonic of [
  MN.MN_VMLAUNCH,
  MN.MN_VMRESUME,
  MN.MN_VMXOFF,
  MN.MN_VMREAD,
  MN.MN_VMWRITE,
  MN.MN_VMPTRLD,
  MN.MN_VMCLEAR,
  MN.MN_VMXON,
  MN.MN_VMPTRST,
  MN.MN_INVEPT,
  MN.MN_INVVPID,
  MN.MN_VMRUN,
  MN.MN_VMLOAD,
  MN.MN_VMSAVE,
  MN.MN_STGI,
  MN.MN_CLGI,
  MN.MN_SKINIT,
  MN.MN_INVLPGA,
])
  defineLifter((b, ins) => b.helperEnd(HELPER_VIRTUALIZATION, 0, 0, 0, ins.length), mnemonic);

const HELPER_RDPID: number = defineHelper("RDPID", (core, u) => {
  setSlot(core, fieldD(core, u), core.i32[A.MSR_TSC_AUX >>> 2]!, 0);
  return U.H_OK;
});
if (LIFTERS[MN.MN_RDPID] === undefined) define((b, ins) => b.helper(HELPER_RDPID, gprSlot(ins.reg[0]!)), MN.MN_RDPID);

// RSM outside system-management mode, GETSEC without SMX, VMFUNC outside a guest, PKRU without PKU.
for (const mnemonic of [MN.MN_RSM, MN.MN_GETSEC, MN.MN_VMFUNC, MN.MN_RDPKRU, MN.MN_WRPKRU])
  if (LIFTERS[mnemonic] === undefined) defineLifter((b) => b.helperEnd(HELPER_UNDEFINED_SYSTEM), mnemonic);
