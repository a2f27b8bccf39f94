/**
 * A core: one execution context (a physical CPU of the bare machine, or a vcpu of the hypervisor) over the arena, and the
 * narrow interface between the core and whoever controls it (DESIGN section 5): GuestControls, the bus, the interrupt
 * source, and the codes with which `run` returns. The registers themselves live in the arena; the object
 * holds what is not a register.
 */
import * as A from "./arena.ts";
import type { HostProfile } from "./host-profile.ts";
import { MmuState, TlbState } from "./mmu/state.ts";

// ---- faults -------------------------------------------------------------------------------------------------------
export const VEC_DE = 0;
export const VEC_DB = 1;
export const VEC_NMI = 2;
export const VEC_BP = 3;
export const VEC_OF = 4;
export const VEC_BR = 5;
export const VEC_UD = 6;
export const VEC_NM = 7;
export const VEC_DF = 8;
export const VEC_TS = 10;
export const VEC_NP = 11;
export const VEC_SS = 12;
export const VEC_GP = 13;
export const VEC_PF = 14;
export const VEC_MF = 16;
export const VEC_AC = 17;
export const VEC_MC = 18;
export const VEC_XM = 19;

/** FAULT_FLAGS: the vector pushes an error code (FAULT_ERROR). */
export const FAULT_HAS_ERROR = 1;
/** A trap or software interrupt: RIP is already past the instruction. FAULT_FLAGS bits 4..7 then hold its length. */
export const FAULT_TRAP = 2;
/** INT n, INT3, INTO: gate DPL is checked. */
export const FAULT_SOFTWARE = 4;
/** INT1 (ICEBP). */
export const FAULT_ICEBP = 8;

/** True for vectors that push an error code. */
export const hasErrorCode = (vector: number): boolean =>
  vector === VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector === VEC_AC;

// ---- what run() returns ---------------------------------------------------------------------------------------------
/** The deadline was reached at a cut. */
export const EXIT_DEADLINE = 0;
/** The core sleeps: ACTIVITY is HLT with nothing deliverable (NATIVE; a NONROOT guest that intercepts HLT exits with EXIT_HLT). */
export const EXIT_IDLE = 1;
/** Intercepted exception: EXIT_INTR_INFO (SDM 25.9.2 format), EXIT_INTR_ERROR; for #PF EXIT_QUAL is the address. */
export const EXIT_EXCEPTION = 2;
/** Triple fault. */
export const EXIT_TRIPLE_FAULT = 3;
/** Intercepted HLT, CPUID, PAUSE, RDTSC(P), INVLPG, WBINVD, MONITOR, MWAIT, XSETBV...: RIP still at it, EXIT_LENGTH its bytes. */
export const EXIT_HLT = 4;
export const EXIT_CPUID = 5;
export const EXIT_PAUSE = 6;
export const EXIT_RDTSC = 7;
export const EXIT_RDTSCP = 8;
export const EXIT_INVLPG = 9;
export const EXIT_WBINVD = 10;
export const EXIT_MWAIT = 11;
export const EXIT_XSETBV = 12;
export const EXIT_RDPMC = 13;
/** Port I/O: EXIT_QUAL low word = port << 16 | size | IO_IN/IO_STRING/IO_REP bits below. */
export const EXIT_IO = 14;
/** MSR access: EXIT_QUAL low word = MSR number (value in EDX:EAX). */
export const EXIT_RDMSR = 15;
export const EXIT_WRMSR = 16;
/** VMCALL / VMMCALL (whichever the guest used: EXIT_QUAL low word 0 / 1). */
export const EXIT_VMCALL = 17;
/** MOV to or from CRn: EXIT_QUAL in the VMX format (SDM table 28-3). */
export const EXIT_CR = 18;
/** MOV to or from DRn: EXIT_QUAL in the VMX format (SDM table 28-4). */
export const EXIT_DR = 19;
/**
 * Second-level fault: EXIT_GPA, EXIT_GLA, EXIT_QUAL bits 0 read 1 write 2 fetch, 3-5 rights of the leaf (R W X),
 * 7 GLA valid, 8 the access was the final one (not a page walk). RIP at the instruction.
 */
export const EXIT_NESTED_FAULT = 20;
/** Second-level misconfiguration: EXIT_GPA. */
export const EXIT_NESTED_MISCONFIG = 21;
/** The bus answered BUS_PENDING: instruction rolled back, re-run it when the answer is there. */
export const EXIT_PENDING = 22;
/** Interrupts have become deliverable and the window was asked for (INTERCEPT_INTR_WINDOW). */
export const EXIT_INTR_WINDOW = 23;
export const EXIT_NMI_WINDOW = 24;
/** VMX or SVM instruction in a guest that has neither. */
export const EXIT_VMX = 25;
export const EXIT_TASK_SWITCH = 26;
/** PV delivery: an exception, INT n, SYSCALL or SYSENTER of a PV guest: EXIT_INTR_INFO, EXIT_QUAL. */
export const EXIT_PV = 27;
/** IRET unblocked NMIs etc. are internal; this ends the list. */
export const EXIT_COUNT = 28;
/** What reports call them. */
export const EXIT_NAMES: Readonly<Record<number, string>> = {
  [EXIT_DEADLINE]: "deadline",
  [EXIT_IDLE]: "idle",
  [EXIT_EXCEPTION]: "exception",
  [EXIT_TRIPLE_FAULT]: "triple fault",
  [EXIT_HLT]: "hlt",
  [EXIT_CPUID]: "cpuid",
  [EXIT_PAUSE]: "pause",
  [EXIT_RDTSC]: "rdtsc",
  [EXIT_RDTSCP]: "rdtscp",
  [EXIT_INVLPG]: "invlpg",
  [EXIT_WBINVD]: "wbinvd",
  [EXIT_MWAIT]: "mwait",
  [EXIT_XSETBV]: "xsetbv",
  [EXIT_RDPMC]: "rdpmc",
  [EXIT_IO]: "io",
  [EXIT_RDMSR]: "rdmsr",
  [EXIT_WRMSR]: "wrmsr",
  [EXIT_VMCALL]: "vmcall",
  [EXIT_CR]: "cr access",
  [EXIT_DR]: "dr access",
  [EXIT_NESTED_FAULT]: "nested fault",
  [EXIT_NESTED_MISCONFIG]: "nested misconfig",
  [EXIT_PENDING]: "bus pending",
  [EXIT_INTR_WINDOW]: "interrupt window",
  [EXIT_NMI_WINDOW]: "nmi window",
  [EXIT_VMX]: "vmx instruction",
  [EXIT_TASK_SWITCH]: "task switch",
  [EXIT_PV]: "pv event",
};

export const IO_IN = 8;
export const IO_STRING = 16;
export const IO_REP = 32;

// ---- controls -------------------------------------------------------------------------------------------------------
/** The guest's IDT. */
export const DELIVERY_NATIVE = 0;
/** Every vector, SYSCALL and SYSENTER exits to the hypervisor (EXIT_PV). */
export const DELIVERY_PV = 1;
/** The guest's IDT unless the controls intercept. */
export const DELIVERY_NONROOT = 2;

export const INTERCEPT_HLT: number = 1 << 0;
export const INTERCEPT_CPUID: number = 1 << 1;
export const INTERCEPT_PAUSE: number = 1 << 2;
export const INTERCEPT_RDTSC: number = 1 << 3;
export const INTERCEPT_INVLPG: number = 1 << 4;
export const INTERCEPT_WBINVD: number = 1 << 5;
export const INTERCEPT_MWAIT: number = 1 << 6;
export const INTERCEPT_XSETBV: number = 1 << 7;
export const INTERCEPT_RDPMC: number = 1 << 8;
/** Port I/O by `ioBitmap` (null: all ports). */
export const INTERCEPT_IO: number = 1 << 9;
/** MSR accesses by `msrBitmap` (null: all MSRs). */
export const INTERCEPT_MSR: number = 1 << 10;
export const INTERCEPT_VMCALL: number = 1 << 11;
export const INTERCEPT_DR: number = 1 << 12;
export const INTERCEPT_CR3_LOAD: number = 1 << 13;
export const INTERCEPT_CR3_STORE: number = 1 << 14;
export const INTERCEPT_CR8: number = 1 << 15;
export const INTERCEPT_INTR_WINDOW: number = 1 << 16;
export const INTERCEPT_NMI_WINDOW: number = 1 << 17;

export const NESTED_NONE = 0;
/** Second level in EPT format (SDM 29.3). */
export const NESTED_EPT = 1;
/** Second level in the format of long-mode page tables with U/S set throughout (APM 15.25). */
export const NESTED_NPT = 2;

/** What controls a guest, a superset of VMCS and VMCB. One object per core, fields never change shape. */
export class GuestControls {
  delivery: number = DELIVERY_NATIVE;
  /** INTERCEPT_* bits. */
  intercepts = 0;
  /** Bit n: exception vector n exits. */
  exceptionBitmap = 0;
  /** 8 KiB, a bit a port (SDM 25.6.4), or null. */
  ioBitmap: Uint8Array | null = null;
  /** 4 KiB in the VMX layout (SDM 25.6.9), or null. */
  msrBitmap: Uint8Array | null = null;
  /** Bits of CR0 and CR4 that the guest doesn't own: a write that changes one against the shadow exits with EXIT_CR. */
  cr0Mask = 0;
  cr4Mask = 0;
  cr0Shadow = 0;
  cr4Shadow = 0;
  nestedFormat: number = NESTED_NONE;
  /** Machine-physical address of the second-level root, bytes. */
  nestedRoot = 0;
  /** EPT format: A and D bits are kept (EPTP bit 6). The NPT format always has them. */
  nestedAccessedDirty = false;
  /**
   * A write that reaches a page which the second level maps for reading only goes to the bus, where it may vanish, in place of
   * EXIT_NESTED_FAULT; the read of a read-modify-write does too.
   */
  readOnlyToBus = false;
  /** Tag of this guest's translations, unique per core context. */
  vpid = 0;
}

// ---- the world around a core ------------------------------------------------------------------------------------------
export const BUS_DONE = 0;
/** The answer comes later: the core rolls back and exits with EXIT_PENDING. */
export const BUS_PENDING = 1;

/** Ports and memory that is not RAM. Data goes through BUS_DATA (little-endian, zero-extended to 8 bytes). */
export interface Bus {
  /** `port` 0..65535, `size` 1, 2 or 4 bytes. */
  portRead(core: Core, port: number, size: number): number;
  portWrite(core: Core, port: number, size: number): number;
  /** `address` physical (guest-physical for a NONROOT guest), below 2^52; size 1, 2, 4, 8. */
  memoryRead(core: Core, address: number, size: number): number;
  memoryWrite(core: Core, address: number, size: number): number;
}

/** Where interrupts come from: a local APIC, real or virtual. */
export interface InterruptSource {
  /** Highest vector that can be taken now (above the processor priority), or -1. Called at cuts when IF allows. */
  pending(): number;
  /** The core takes `vector`: IRR -> ISR. */
  acknowledge(vector: number): void;
}

/** Machine time for models that need it. Cycles are numbers below 2^53. */
export interface Clock {
  /** The current cycle of the running core. */
  now(): number;
  /** Runs `fire` at `cycle` (or at the next cut if that is past). @returns a handle for cancel. */
  schedule(cycle: number, fire: () => void): number;
  cancel(handle: number): void;
}

export class Core {
  readonly arena: A.Arena;
  readonly index: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  readonly controls: GuestControls = new GuestControls();
  readonly shared: CoreGroup;
  /**
   * What a PV guest's hypervisor does at SYSCALL without leaving the engine: RIP is past it. Answers H_OK, or H_EXIT with EXIT_REASON
   * EXIT_DEADLINE where the slice has ended. Null: SYSCALL exits (EXIT_PV).
   */
  pvSyscall: ((core: Core) => number) | null = null;
  /**
   * What it does with a fault (EXIT_PV, details in the arena) without leaving the engine: -1 if the guest goes on, else what the engine
   * is to return. Null: it returns EXIT_PV.
   */
  pvFault: ((core: Core) => number) | null = null;
  bus: Bus = NO_BUS;
  interrupts: InterruptSource | null = null;
  /**
   * Guest-physical ranges that the hypervisor declared to be devices: start, end (exclusive), start, end... in bytes. Where
   * the second level maps nothing, accesses to them go to the bus; all others exit with EXIT_NESTED_FAULT.
   */
  readonly mmio: number[] = [];
  readonly mmu: MmuState;
  /** The instruction entered a handler with TF clear (INT n, INT1, INT3, INTO, SYSCALL): the single step over it is lost. */
  stepDiscarded = false;
  /** A repeated string instruction has gone back to itself. Who runs one instruction alone clears it before. */
  repeating = false;
  /** Models that hang per-core state here: set by system/ (CPUID model, MSR file). */
  readonly attachments: Map<string, unknown> = new Map();

  constructor(arena: A.Arena, index: number, shared: CoreGroup) {
    this.arena = arena;
    this.index = index;
    this.mmu = new MmuState(arena, index);
    this.shared = shared;
    this.u8 = arena.u8;
    this.u16 = arena.u16;
    this.i32 = arena.i32;
    this.u32 = arena.u32;
    this.f32 = arena.f32;
    this.f64 = arena.f64;
    this.u64 = arena.u64;
  }

  /** Makes this core the one whose state lies at CORE. Cheap when it already is. */
  activate(): void {
    const g = this.shared;
    if (g.active === this) return;
    if (g.active !== null) this.u8.copyWithin(this.arena.saveSlot(g.active.index), A.CORE, A.CORE + A.CORE_BYTES);
    const slot = this.arena.saveSlot(this.index);
    this.u8.copyWithin(A.CORE, slot, slot + A.CORE_BYTES);
    // Others may have put it out of the fetch TLB meanwhile, and translated code does not keep the name of its page here.
    this.i32[A.FETCH_PAGE >>> 2] = -1;
    this.i32[(A.FETCH_PAGE + 4) >>> 2] = -1;
    g.active = this;
  }

  /** Cycle of this core; it must be active. */
  now(): number {
    return this.f64[A.SLICE_END >>> 3]! - this.i32[A.REMAINING >>> 2]!;
  }

  /** Charges `cycles` to this (active) core beyond one an instruction. */
  charge(cycles: number): void {
    this.i32[A.REMAINING >>> 2]! -= cycles;
  }

  /** Makes the (active) core leave its engine at the next cut without changing the current cycle. */
  breakSlice(): void {
    const left = this.i32[A.REMAINING >>> 2]!;
    if (left > 0) {
      this.f64[A.SLICE_END >>> 3]! -= left;
      this.i32[A.REMAINING >>> 2] = 0;
    }
  }

  /** Slot as a 64-bit value. For tests, dumps and the public API; not for hot paths. */
  slot(slot: number): bigint {
    return this.u64[(A.CORE + slot) >>> 3]!;
  }
  setSlot(slot: number, value: bigint): void {
    this.u64[(A.CORE + slot) >>> 3] = BigInt.asUintN(64, value);
  }
}

/** The cores that share one arena. */
export class CoreGroup {
  active: Core | null = null;
  readonly cores: Core[] = [];
  readonly tlb: TlbState = new TlbState();
  /** Notes where the host's time goes; set, if at all, before the engine is made. */
  profile: HostProfile | null = null;
  /** Set by the block cache: translated code in these bytes of RAM (arena address) is void. */
  invalidateCode: (at: number, bytes: number) => void = () => {};
  /** Set by the translator: no stamp (A.FETCH_EPOCH) that its code keeps may be taken for a new one. */
  forgetStamps: () => void = () => {};
  /** Set by dirty logging: a machine frame with FRAME_DIRTY_LOG is written. */
  noteDirty: (frame: number) => void = () => {};
  /** The highest TSC that any core showed (DESIGN section 4: time never runs backwards across cores). */
  lastTsc = 0;
}

/** A bus with nothing on it: reads give all ones, writes vanish. */
export const NO_BUS: Bus = {
  portRead(core) {
    core.i32[A.BUS_DATA >>> 2] = -1;
    core.i32[(A.BUS_DATA + 4) >>> 2] = -1;
    return BUS_DONE;
  },
  portWrite: () => BUS_DONE,
  memoryRead(core) {
    core.i32[A.BUS_DATA >>> 2] = -1;
    core.i32[(A.BUS_DATA + 4) >>> 2] = -1;
    return BUS_DONE;
  },
  memoryWrite: () => BUS_DONE,
};

/** Records a fault for the engine to deliver; returns H_FAULT so that helpers can `return raise(...)`. */
export function raise(core: Core, vector: number, errorCode = 0): number {
  core.i32[A.FAULT_VECTOR >>> 2] = vector;
  core.i32[A.FAULT_ERROR >>> 2] = errorCode;
  core.i32[A.FAULT_FLAGS >>> 2] = hasErrorCode(vector) ? FAULT_HAS_ERROR : 0;
  return 1;
}
