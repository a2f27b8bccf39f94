/**
 * The local APIC (SDM chapter 11): xAPIC page, x2APIC registers, timer, interprocessor interrupts. One class serves the
 * cores of the bare machine and, as the virtual APIC, HVM and PVH vcpus. What leaves an APIC goes through an `ApicBus`.
 * Absent: lowest-priority arbitration looks at no priorities (the first match takes it), SMI, and the PIC's ExtINT.
 */
import { ACTIVITY, MSR_APIC_BASE, NMI_PENDING, TSC_OFFSET } from "../arena.ts";
import type { Clock, Core, InterruptSource } from "../core.ts";
import { coreWord } from "../mmu/contexts.ts";
import { setRip } from "./bits.ts";
import { loadSegmentRaw, resetCore, updateMode, WAIT_SIPI } from "./mode.ts";

/** Where the xAPIC page is after a reset. */
export const APIC_DEFAULT_BASE = 0xfee00000;
export const APIC_BASE_BSP = 0x100;
export const APIC_BASE_X2 = 0x400;
export const APIC_BASE_ENABLE = 0x800;

/** Register offsets in the xAPIC page; the x2APIC MSR is 800H + offset / 16. */
export const APIC_ID = 0x20;
export const APIC_VERSION = 0x30;
export const APIC_TPR = 0x80;
export const APIC_PPR = 0xa0;
export const APIC_EOI = 0xb0;
export const APIC_LDR = 0xd0;
export const APIC_DFR = 0xe0;
export const APIC_SVR = 0xf0;
export const APIC_ISR = 0x100;
export const APIC_TMR = 0x180;
export const APIC_IRR = 0x200;
export const APIC_ESR = 0x280;
export const APIC_ICR = 0x300;
export const APIC_ICR_HIGH = 0x310;
export const APIC_LVT_TIMER = 0x320;
export const APIC_LVT_THERMAL = 0x330;
export const APIC_LVT_PERF = 0x340;
export const APIC_LVT_LINT0 = 0x350;
export const APIC_LVT_LINT1 = 0x360;
export const APIC_LVT_ERROR = 0x370;
export const APIC_TIMER_INITIAL = 0x380;
export const APIC_TIMER_CURRENT = 0x390;
export const APIC_TIMER_DIVIDE = 0x3e0;
export const APIC_SELF_IPI = 0x3f0;

/** Delivery modes. */
export const MODE_FIXED = 0;
export const MODE_LOWEST = 1;
export const MODE_NMI = 4;
export const MODE_INIT = 5;
export const MODE_SIPI = 6;

const LVT_MASKED = 0x10000;
const SVR_ENABLED = 0x100;
const TIMER_PERIODIC = 1;
const TIMER_DEADLINE = 2;
const ESR_SEND_ILLEGAL = 0x20;
const ESR_RECEIVE_ILLEGAL = 0x40;
const ESR_ILLEGAL_REGISTER = 0x80;
/** Version 14H, six LVT entries. */
const VERSION = 0x00050014;
const LVTS: readonly number[] = [
  APIC_LVT_TIMER,
  APIC_LVT_THERMAL,
  APIC_LVT_PERF,
  APIC_LVT_LINT0,
  APIC_LVT_LINT1,
  APIC_LVT_ERROR,
];
/** Writable bits of each LVT, in the order of LVTS. */
const LVT_WRITABLE: readonly number[] = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];

export interface ApicOptions {
  /** APIC ID. */
  readonly id: number;
  /** Core cycles per tick of the timer before its divider. */
  readonly cyclesPerTick: number;
  /** Core cycles below which no period of the timer goes, so that a guest can't drown its host in events; default 1. */
  readonly minimumPeriod?: number;
  /** Something became pending on a core that may sleep. */
  readonly wake?: (core: Core) => void;
  /** INIT and SIPI (start page 0..255); absent: the core is reset, and started at page * 4096. */
  readonly onInit?: (core: Core) => void;
  readonly onSipi?: (core: Core, page: number) => void;
  /** A level-triggered vector was ended (for I/O APICs). */
  readonly onEoi?: (vector: number) => void;
}

export class LocalApic implements InterruptSource {
  readonly core: Core;
  readonly options: ApicOptions;
  private readonly clock: Clock;
  private readonly bus: ApicBus;
  /** Registers by offset / 16. */
  private readonly regs: Uint32Array = new Uint32Array(64);
  /** Errors that a write of ESR will show. */
  private errors = 0;
  private timerHandle = -1;
  /** Cycle at which the running countdown began, and at which it ends; -1: stopped. */
  private timerStart = -1;
  private timerEnd = -1;
  /** IA32_TSC_DEADLINE, in TSC units; 0 disarmed. */
  private deadline = 0;

  constructor(core: Core, clock: Clock, bus: ApicBus, options: ApicOptions) {
    this.core = core;
    this.clock = clock;
    this.bus = bus;
    this.options = options;
    this.reset();
    bus.apics.push(this);
  }

  /** The state after RESET and INIT; the ID stays. */
  reset(): void {
    this.stopTimer();
    this.deadline = 0;
    this.errors = 0;
    this.regs.fill(0);
    this.regs[APIC_DFR >>> 4] = 0xffffffff;
    this.regs[APIC_SVR >>> 4] = 0xff;
    for (const lvt of LVTS) this.regs[lvt >>> 4] = LVT_MASKED;
  }

  get isX2(): boolean {
    return (this.base & (APIC_BASE_ENABLE | APIC_BASE_X2)) === (APIC_BASE_ENABLE | APIC_BASE_X2);
  }
  get isEnabled(): boolean {
    return (this.base & APIC_BASE_ENABLE) !== 0;
  }
  private get base(): number {
    return this.core.i32[coreWord(this.core, MSR_APIC_BASE) >>> 2]!;
  }
  get id(): number {
    return this.options.id;
  }
  /** Logical destination register; in x2APIC mode it follows from the ID. */
  get logicalId(): number {
    if (this.isX2) return ((this.id >>> 4) << 16) | (1 << (this.id & 15));
    return this.regs[APIC_LDR >>> 4]!;
  }
  get destinationFormat(): number {
    return this.regs[APIC_DFR >>> 4]!;
  }
  get taskPriority(): number {
    return this.regs[APIC_TPR >>> 4]!;
  }

  setTaskPriority(value: number): void {
    this.regs[APIC_TPR >>> 4] = value & 0xff;
    this.notify();
  }

  // ---- interrupts ---------------------------------------------------------------------------------------------------

  private highest(bank: number): number {
    for (let n = 7; n >= 0; n--) {
      const bits = this.regs[(bank >>> 4) + n]!;
      if (bits !== 0) return n * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  private setBit(bank: number, vector: number): void {
    this.regs[(bank >>> 4) + (vector >>> 5)]! |= 1 << (vector & 31);
  }
  private clearBit(bank: number, vector: number): void {
    this.regs[(bank >>> 4) + (vector >>> 5)]! &= ~(1 << (vector & 31));
  }
  private testBit(bank: number, vector: number): boolean {
    return (this.regs[(bank >>> 4) + (vector >>> 5)]! & (1 << (vector & 31))) !== 0;
  }

  /** Processor priority (SDM 11.8.3.1). */
  get processorPriority(): number {
    const inService = this.highest(APIC_ISR);
    const tpr = this.taskPriority;
    const isrClass = inService < 0 ? 0 : inService & 0xf0;
    return (tpr & 0xf0) >= isrClass ? tpr : isrClass;
  }

  pending(): number {
    const vector = this.highest(APIC_IRR);
    if (vector < 16 || !this.isEnabled) return -1;
    return vector >>> 4 > this.processorPriority >>> 4 ? vector : -1;
  }

  acknowledge(vector: number): void {
    this.clearBit(APIC_IRR, vector);
    this.setBit(APIC_ISR, vector);
  }

  /** A fixed interrupt arrives: from a device, the hypervisor or another APIC. */
  raise(vector: number, level = false): void {
    if (vector < 16) {
      this.error(ESR_RECEIVE_ILLEGAL);
      return;
    }
    if (!this.isEnabled || !(this.regs[APIC_SVR >>> 4]! & SVR_ENABLED)) return;
    this.setBit(APIC_IRR, vector);
    if (level) this.setBit(APIC_TMR, vector);
    else this.clearBit(APIC_TMR, vector);
    this.notify();
  }

  /** True if `vector` waits in IRR. */
  isRequested(vector: number): boolean {
    return this.testBit(APIC_IRR, vector);
  }

  endOfInterrupt(): void {
    const vector = this.highest(APIC_ISR);
    if (vector < 0) return;
    this.clearBit(APIC_ISR, vector);
    if (this.testBit(APIC_TMR, vector)) this.options.onEoi?.(vector);
    this.notify();
  }

  protected notify(): void {
    if (this.pending() < 0) return;
    if (this.core.shared.active === this.core) this.core.breakSlice();
    this.options.wake?.(this.core);
  }

  /** Notes an error of ESR; one that waits to be shown already raises no second interrupt. */
  private error(bit: number): void {
    if ((this.errors & bit) !== 0) return;
    this.errors |= bit;
    const lvt = this.regs[APIC_LVT_ERROR >>> 4]!;
    if (lvt & LVT_MASKED) return;
    if ((lvt & 0xff) >= 16) this.raise(lvt & 0xff);
    // An error interrupt with an illegal vector is an error of its own, and ends there (vlapic_error).
    else this.errors |= ESR_RECEIVE_ILLEGAL;
  }

  /** What an interprocessor interrupt does here. */
  accept(mode: number, vector: number): void {
    const core = this.core;
    switch (mode) {
      case MODE_FIXED:
      case MODE_LOWEST:
        this.raise(vector);
        break;
      case MODE_NMI:
        core.i32[coreWord(core, NMI_PENDING) >>> 2] = 1;
        if (core.shared.active === core) core.breakSlice();
        this.options.wake?.(core);
        break;
      case MODE_INIT:
        this.reset();
        if (this.options.onInit) this.options.onInit(core);
        else inactively(core, () => initCore(core));
        break;
      case MODE_SIPI:
        if (this.options.onSipi) this.options.onSipi(core, vector);
        else if (core.i32[coreWord(core, ACTIVITY) >>> 2] === WAIT_SIPI) {
          inactively(core, () => startCore(core, vector));
          this.options.wake?.(core);
        }
        break;
    }
  }

  // ---- timer ----------------------------------------------------------------------------------------------------------

  private get timerMode(): number {
    return (this.regs[APIC_LVT_TIMER >>> 4]! >>> 17) & 3;
  }

  /** Cycles of a whole countdown from `count`. */
  private countdown(count: number): number {
    const cycles = count * this.cyclesPerCount;
    return this.timerMode === TIMER_PERIODIC ? Math.max(cycles, this.options.minimumPeriod ?? 1) : cycles;
  }

  /** Core cycles per count. */
  private get cyclesPerCount(): number {
    const d = this.regs[APIC_TIMER_DIVIDE >>> 4]!;
    const code = (d & 3) | ((d >>> 1) & 4);
    return this.options.cyclesPerTick * (code === 7 ? 1 : 2 << code);
  }

  private stopTimer(): void {
    if (this.timerHandle >= 0) this.clock.cancel(this.timerHandle);
    this.timerHandle = -1;
    this.timerStart = -1;
    this.timerEnd = -1;
  }

  private schedule(cycle: number): void {
    this.timerHandle = this.clock.schedule(cycle, () => this.expire());
  }

  private startCount(): void {
    this.stopTimer();
    const count = this.regs[APIC_TIMER_INITIAL >>> 4]!;
    if (count === 0 || this.timerMode === TIMER_DEADLINE) return;
    this.timerStart = this.clock.now();
    this.timerEnd = this.timerStart + this.countdown(count);
    this.schedule(Math.ceil(this.timerEnd));
  }

  private expire(): void {
    const periodic = this.timerMode === TIMER_PERIODIC;
    const start = this.timerEnd;
    this.timerHandle = -1;
    this.timerStart = -1;
    this.timerEnd = -1;
    this.deadline = 0;
    if (periodic) {
      const count = this.regs[APIC_TIMER_INITIAL >>> 4]!;
      if (count !== 0) {
        this.timerStart = start;
        this.timerEnd = start + this.countdown(count);
        this.schedule(Math.ceil(this.timerEnd));
      }
    }
    const lvt = this.regs[APIC_LVT_TIMER >>> 4]!;
    if (!(lvt & LVT_MASKED)) this.raise(lvt & 0xff);
  }

  private get currentCount(): number {
    if (this.timerStart < 0) return 0;
    const left = Math.max(0, this.timerEnd - this.clock.now());
    return Math.min(Math.ceil(left / this.cyclesPerCount), this.regs[APIC_TIMER_INITIAL >>> 4]!) >>> 0;
  }

  /** IA32_TSC_DEADLINE as a number of TSC cycles, 0 disarmed. */
  get tscDeadline(): number {
    return this.deadline;
  }

  set tscDeadline(value: number) {
    if (this.timerMode !== TIMER_DEADLINE) return;
    this.stopTimer();
    this.deadline = value;
    if (value === 0) return;
    const core = this.core;
    const offset = core.f64[coreWord(core, TSC_OFFSET) >>> 3]!;
    this.schedule(Math.max(value - offset, this.clock.now()));
  }

  // ---- registers ------------------------------------------------------------------------------------------------------

  /** Reads the xAPIC page; `offset` 0..4095. */
  read(offset: number): number {
    const at = offset & 0xff0;
    switch (at) {
      case APIC_ID:
        return (this.id << 24) >>> 0;
      case APIC_VERSION:
        return VERSION;
      case APIC_PPR:
        return this.processorPriority;
      case APIC_TIMER_CURRENT:
        return this.currentCount;
      case APIC_EOI:
      case APIC_SELF_IPI:
        return 0;
      default:
        return at < 0x400 ? this.regs[at >>> 4]! : 0;
    }
  }

  /** Writes the xAPIC page. */
  write(offset: number, value: number): void {
    const at = offset & 0xff0;
    const lvt = LVTS.indexOf(at);
    if (lvt >= 0) {
      this.writeLvt(lvt, value);
      return;
    }
    switch (at) {
      case APIC_TPR:
        this.setTaskPriority(value);
        break;
      case APIC_EOI:
        this.endOfInterrupt();
        break;
      case APIC_LDR:
        this.regs[at >>> 4] = value & 0xff000000;
        break;
      case APIC_DFR:
        this.regs[at >>> 4] = value | 0x0fffffff;
        break;
      case APIC_SVR:
        this.regs[at >>> 4] = value & 0x1ff;
        if (!(value & SVR_ENABLED)) for (const l of LVTS) this.regs[l >>> 4]! |= LVT_MASKED;
        break;
      case APIC_ESR:
        this.regs[at >>> 4] = this.errors;
        this.errors = 0;
        break;
      case APIC_ICR:
        this.regs[at >>> 4] = value & 0xcdfff;
        this.bus.send(this, value, this.regs[APIC_ICR_HIGH >>> 4]! >>> 24);
        break;
      case APIC_ICR_HIGH:
        this.regs[at >>> 4] = value & 0xff000000;
        break;
      case APIC_TIMER_INITIAL:
        if (this.timerMode === TIMER_DEADLINE) break;
        this.regs[at >>> 4] = value;
        this.startCount();
        break;
      case APIC_TIMER_DIVIDE:
        this.writeDivide(value);
        break;
      case APIC_ID:
      case APIC_VERSION:
      case APIC_PPR:
      case APIC_TIMER_CURRENT:
        break;
      default:
        if (at < APIC_ISR || at >= APIC_ESR) this.error(ESR_ILLEGAL_REGISTER);
    }
  }

  private writeLvt(index: number, value: number): void {
    const at = LVTS[index]!;
    const before = this.timerMode;
    let stored = value & LVT_WRITABLE[index]!;
    if (!(this.regs[APIC_SVR >>> 4]! & SVR_ENABLED)) stored |= LVT_MASKED;
    this.regs[at >>> 4] = stored;
    if (at === APIC_LVT_TIMER && (before === TIMER_DEADLINE) !== (this.timerMode === TIMER_DEADLINE)) {
      this.stopTimer();
      this.deadline = 0;
    }
  }

  private writeDivide(value: number): void {
    const left = this.currentCount;
    this.regs[APIC_TIMER_DIVIDE >>> 4] = value & 0xb;
    if (this.timerStart < 0 || left === 0) return;
    if (this.timerHandle >= 0) this.clock.cancel(this.timerHandle);
    this.timerEnd = this.clock.now() + left * this.cyclesPerCount;
    this.schedule(Math.ceil(this.timerEnd));
  }

  /** RDMSR 800H..8FFH in x2APIC mode: low word (the ICR's high word is `icrDestination`), or -1: #GP. */
  readMsr(msr: number): number {
    const at = (msr - 0x800) << 4;
    if (at === APIC_ID) return this.id;
    if (at === APIC_LDR) return this.logicalId;
    if (at === APIC_DFR || at === APIC_ICR_HIGH || at === APIC_EOI || at >= APIC_SELF_IPI || !isRegister(at)) return -1;
    return this.read(at);
  }

  get icrDestination(): number {
    return this.regs[APIC_ICR_HIGH >>> 4]!;
  }

  /** WRMSR in x2APIC mode. @returns false: #GP */
  writeMsr(msr: number, lo: number, hi: number): boolean {
    const at = (msr - 0x800) << 4;
    if (at === APIC_ICR) {
      this.regs[APIC_ICR >>> 4] = lo & 0xcdfff;
      this.regs[APIC_ICR_HIGH >>> 4] = hi;
      this.bus.send(this, lo, hi >>> 0);
      return true;
    }
    if (hi !== 0) return false;
    switch (at) {
      case APIC_SELF_IPI:
        if (lo & ~0xff) return false;
        this.raise(lo);
        return true;
      case APIC_EOI:
      case APIC_ESR:
        if (lo !== 0) return false;
        break;
      case APIC_TPR:
        if (lo & ~0xff) return false;
        break;
      case APIC_SVR:
      case APIC_TIMER_INITIAL:
      case APIC_TIMER_DIVIDE:
        break;
      default:
        if (!LVTS.includes(at)) return false;
    }
    this.write(at, lo);
    return true;
  }

  /** The state as plain words, and back. */
  save(): number[] {
    return [...this.regs, this.errors, this.timerStart, this.timerEnd, this.deadline];
  }

  restore(words: readonly number[]): void {
    this.stopTimer();
    for (let n = 0; n < 64; n++) this.regs[n] = words[n]!;
    this.errors = words[64]!;
    const start = words[65]!;
    const end = words[66]!;
    const deadline = words[67]!;
    if (deadline !== 0) this.tscDeadline = deadline;
    else if (start >= 0) {
      this.timerStart = start;
      this.timerEnd = end;
      this.schedule(Math.ceil(end));
    }
  }

  /** Notes an interprocessor interrupt that cannot be sent. */
  illegalSend(): void {
    this.error(ESR_SEND_ILLEGAL);
  }
}

function isRegister(at: number): boolean {
  return (
    at === APIC_VERSION ||
    at === APIC_TPR ||
    at === APIC_PPR ||
    at === APIC_SVR ||
    (at >= APIC_ISR && at <= APIC_ESR) ||
    at === APIC_ICR ||
    (at >= APIC_LVT_TIMER && at <= APIC_TIMER_CURRENT) ||
    at === APIC_TIMER_DIVIDE
  );
}

/** Runs `change` with `core` active, and puts the core that was active back. */
function inactively(core: Core, change: () => void): void {
  const before = core.shared.active;
  core.activate();
  change();
  if (before !== null && before !== core) before.activate();
}

/** INIT: reset, waiting for SIPI (the bootstrap processor would run on; nobody sends it INIT here). */
export function initCore(core: Core): void {
  resetCore(core);
  core.i32[ACTIVITY >>> 2] = WAIT_SIPI;
  core.breakSlice();
}

/** SIPI: real mode at page * 4096 (SDM 9.4.4.2). The core must be active. */
export function startCore(core: Core, page: number): void {
  loadSegmentRaw(core, 1, page << 8, page << 12, 0, 0xffff, 0x9b);
  setRip(core, 0, 0);
  core.i32[ACTIVITY >>> 2] = 0;
  updateMode(core);
}

/** The APICs that hear each other. */
export class ApicBus {
  readonly apics: LocalApic[] = [];

  /** Sends what ICR `icr` says to `destination` (8 bits in xAPIC mode, 32 in x2APIC mode). */
  send(from: LocalApic, icr: number, destination: number): void {
    const mode = (icr >>> 8) & 7;
    const vector = icr & 0xff;
    const shorthand = (icr >>> 18) & 3;
    if ((mode === MODE_FIXED || mode === MODE_LOWEST) && vector < 16) {
      from.illegalSend();
      return;
    }
    // INIT level de-assert does nothing on these processors.
    if (mode === MODE_INIT && !(icr & 0x4000) && icr & 0x8000) return;
    const logical = (icr & 0x800) !== 0;
    const broadcast = from.isX2 ? 0xffffffff : 0xff;
    let others = false;
    for (const apic of this.apics) {
      let hit: boolean;
      if (shorthand === 1) hit = apic === from;
      else if (shorthand === 2) hit = true;
      else if (shorthand === 3) hit = apic !== from;
      else if (destination >>> 0 === broadcast) hit = true;
      else hit = logical ? matchesLogical(apic, destination) : apic.id === destination;
      if (!hit) continue;
      if (apic !== from) others = true;
      apic.accept(mode, vector);
      if (mode === MODE_LOWEST) break;
    }
    // A cross-core event ends the sender's quantum (DESIGN section 4).
    if (others) from.core.breakSlice();
  }
}

/** SDM 11.6.2.2: logical destinations. */
function matchesLogical(apic: LocalApic, destination: number): boolean {
  const ldr = apic.logicalId;
  if (apic.isX2) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
  const id = ldr >>> 24;
  if (apic.destinationFormat >>> 28 === 0xf) return (id & destination) !== 0;
  return id >>> 4 === destination >>> 4 && (id & destination & 15) !== 0;
}
