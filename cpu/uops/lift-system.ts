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
  VEC_GP,
  VEC_UD,
} from "../core.ts";
import { type Instruction, OP_CR, OP_DR, OP_GPR } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { FLAG_AC, FLAG_DF, FLAG_ID, FLAG_IF, FLAG_IOPL, FLAG_NT, FLAG_TF, FLAGS_ARITHMETIC } from "../flags.ts";
import { invalidatePage } from "../mmu/tlb.ts";
import { isCanonical } from "../mmu/walker.ts";
import * as B from "../system/bits.ts";
import { cpuid } from "../system/cpuid.ts";
import * as CR from "../system/cr.ts";
import { movFromDr, movToDr } from "../system/dr.ts";
import { interruptsDeliverable } from "../system/exceptions.ts";
import { exitAt, intercepts } from "../system/exits.ts";
import { portIn, portOut, stringIo } from "../system/io.ts";
import { HALTED, loadTableRaw, SHADOW_STI, startShadow, updateMode, updateView } from "../system/mode.ts";
import { rdmsr, wrmsr } from "../system/msr.ts";
import { changeFlags, noticeInterrupts } from "../system/rflags.ts";
import { highWord, lowWord, readTsc, setEdxEax } from "../system/tsc.ts";
import * as W from "../system/words.ts";
import { defineLifter, gprSlot, LIFTERS, type Lifter } from "./builder.ts";
import { BASE_HELPERS, defineHelper } from "./helpers.ts";
import { addTo, loadTop, push, stackSize } from "./lift-common.ts";
import { defineSystemForm, FORM_MOV_CR, FORM_MOV_DR } from "./system-forms.ts";
import {
  cpl,
  define,
  disp,
  fieldA,
  fieldB,
  fieldD,
  guarded,
  HELPER_UNDEFINED_SYSTEM,
  hi,
  hi64,
  lengthOf,
  linearAddress,
  lo,
  mayBeFast,
  mayBePv,
  setSlot,
  simple,
  source16,
  storeWord,
} from "./system-lifting.ts";
import * as U from "./uop.ts";

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
const HELPER_PAUSE: number = defineHelper("PAUSE", (core, u) =>
  intercepts(core, INTERCEPT_PAUSE) ? exitAt(core, EXIT_PAUSE, lengthOf(core, u)) : U.H_OK,
);
// Outside of NONROOT nobody asks for it, and a loop that spins can be translated.
define((b, ins) => {
  if (b.mode & U.MODE_NONROOT) b.helperEnd(HELPER_PAUSE, ins.opSize, 0, 0, ins.length);
}, MN.MN_PAUSE);
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
define((b, ins) => {
  const kind = mayBePv(b) ? U.U_PV_IN_END : U.U_HELPER_END;
  b.terminal(kind, ins.size[0]!, 0, 0, ins.length, portOf(ins, 1), HELPER_IN);
}, MN.MN_IN);
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
