/**
 * The hypervisor: the machine's memory, physical CPUs, clock and scheduler, and its domains. The loop that makes them run is
 * in run.ts; what a guest's exits do is in hvm/ and hypercalls/.
 */
import { ACCOUNTED, type Arena, MAX_CORES } from "../cpu/arena.ts";
import { Core, CoreGroup, NESTED_EPT, NESTED_NPT } from "../cpu/core.ts";
import { flushCores } from "../cpu/mmu/contexts.ts";
import { type CpuLevel, type CpuModel, DEFAULT_CPU_LEVEL, findCpuModel } from "../cpu/system/cpu-model.ts";
import { DOMID_XEN } from "./abi/xen.ts";
import type { Domain } from "./domain/domain.ts";
import { Log } from "./domain/log.ts";
import type { Vcpu } from "./domain/vcpu.ts";
import { type GuestInterrupts, HvmInterrupts } from "./hvm/interrupts.ts";
import { COST_TLB_FLUSH } from "./hypercalls/costs.ts";
import { Heap } from "./memory/heap.ts";
import { MachineMemory } from "./memory/machine-memory.ts";
import { PageTypes } from "./memory/page-types.ts";
import type { M2p } from "./pv/m2p.ts";
import { PageTables } from "./pv/page-tables.ts";
import { Credit2 } from "./sched/credit2.ts";
import type { Scheduler } from "./sched/scheduler.ts";
import { EventQueue } from "./time/event-queue.ts";
import { CPU_FREQUENCY, cyclesToNs } from "./time/frequency.ts";

/** What the hypervisor spends cycles on. */
export const CHARGE_PATHS = [
  "exit",
  "hypercall",
  "copy",
  "schedule",
  "timer",
  "event",
  "inject",
  "p2m",
  "tlb",
  "memory",
  "mmu",
  "grant",
  "console",
  "io",
  "msr",
  "cpuid",
] as const;
export type ChargePath = (typeof CHARGE_PATHS)[number];

/** `charged[path] += cycles`. With a name that varies V8 takes four times as long: the frequent ones are named. */
function count(charged: Record<ChargePath, number>, path: ChargePath, cycles: number): void {
  switch (path) {
    case "exit":
      charged.exit += cycles;
      return;
    case "hypercall":
      charged.hypercall += cycles;
      return;
    case "mmu":
      charged.mmu += cycles;
      return;
    case "tlb":
      charged.tlb += cycles;
      return;
    case "copy":
      charged.copy += cycles;
      return;
    case "io":
      charged.io += cycles;
      return;
    default:
      charged[path] += cycles;
  }
}

/** What executes guests: Engine of cpu/run.ts, or a stand-in in tests. `deadline` in absolute cycles; returns EXIT_*. */
export interface GuestEngine {
  run(core: Core, deadline: number): number;
}

export interface HypervisorOptions {
  readonly arena: Arena;
  readonly engine: GuestEngine;
  /** The cores' group, if the engine was made with one; default a new one. */
  readonly group?: CoreGroup;
  /** Physical CPUs, 1..64. */
  readonly pcpus: number;
  readonly cpu: "intel" | "amd";
  /** Default DEFAULT_CPU_LEVEL. */
  readonly cpuLevel?: CpuLevel;
  /** Seconds since 1970 of the wall clock at cycle 0. Default DEFAULT_WALLCLOCK. */
  readonly wallclock?: number;
}

/** 2026-01-01 00:00:00 UTC: runs must not depend on the day they are made. */
export const DEFAULT_WALLCLOCK = 1767225600;

/** A physical CPU. `cycle` is its clock while it does not run a vcpu; a running vcpu's core has the clock. */
export class PhysicalCpu {
  readonly index: number;
  cycle = 0;
  current: Vcpu | null = null;
  /** The scheduler wants to be asked again. */
  needsSchedule = true;
  idleCycles = 0;
  /** Xen's work that belongs to no vcpu. */
  hypervisorCycles = 0;

  constructor(index: number) {
    this.index = index;
  }

  /** The clock of an idle pCPU jumps. */
  idleTo(cycle: number): void {
    if (cycle <= this.cycle) return;
    this.idleCycles += cycle - this.cycle;
    this.cycle = cycle;
  }
}

export class Hypervisor {
  readonly arena: Arena;
  readonly engine: GuestEngine;
  readonly group: CoreGroup;
  readonly memory: MachineMemory;
  readonly heap: Heap;
  /** What frames are used as. */
  readonly pageTypes: PageTypes;
  /** The rules for PV guests' page tables. */
  readonly pageTables: PageTables;
  /** Made with the first PV domain. */
  m2p: M2p | null = null;
  readonly queue: EventQueue;
  readonly log: Log;
  readonly pcpus: PhysicalCpu[] = [];
  readonly scheduler: Scheduler;
  readonly interrupts: GuestInterrupts;
  readonly cpu: "intel" | "amd";
  /** The processors of the machine, at the clock that the machine's time goes by. */
  readonly model: CpuModel;
  /** NESTED_EPT or NESTED_NPT. */
  readonly nestedFormat: number;
  readonly wallclock: number;
  readonly domains: Map<number, Domain> = new Map();
  /** Cycles by what they were spent on. */
  readonly charged: Record<ChargePath, number>;
  /** Xen's own core: never runs; what the hypervisor does outside of any vcpu is done in its name. */
  readonly xenCore: Core;
  /** pCPU whose turn it is. */
  turn: PhysicalCpu;
  /** Cycle at which the turn ends; state of the run loop that outlives a call of it. */
  turnEnd = -1;
  /** The engine may do system calls and irets of PV guests in place; false for tests that compare that with what Xen's own code does. */
  pvInEngine = true;
  /** A core executes, or its exit is being handled: it has the clock of the turn's pCPU. It must then be the active one. */
  inGuest = false;
  /** Told when a domain has shut down or crashed. */
  onShutdown: (domain: Domain) => void = () => {};
  private readonly freeCores: number[] = [];
  private readonly dummyInfo: Map<Domain, number> = new Map();
  /** What the next domain is called by. */
  nextDomid = 1;

  constructor(options: HypervisorOptions) {
    this.arena = options.arena;
    this.engine = options.engine;
    this.group = options.group ?? new CoreGroup();
    this.cpu = options.cpu;
    this.model = { ...findCpuModel(options.cpu, options.cpuLevel ?? DEFAULT_CPU_LEVEL), hz: CPU_FREQUENCY };
    this.nestedFormat = options.cpu === "intel" ? NESTED_EPT : NESTED_NPT;
    this.wallclock = options.wallclock ?? DEFAULT_WALLCLOCK;
    for (let index = 0; index < options.pcpus; index++) this.pcpus.push(new PhysicalCpu(index));
    this.turn = this.pcpus[0]!;
    this.xenCore = this.newCore();
    this.memory = new MachineMemory(this.xenCore);
    this.heap = new Heap(this.memory);
    this.pageTypes = new PageTypes(this.heap);
    this.pageTables = new PageTables(this);
    this.log = new Log(() => this.now());
    this.queue = new EventQueue(
      () => this.now(),
      () => this.endSlice(),
    );
    this.interrupts = new HvmInterrupts();
    this.scheduler = new Credit2(this);
    this.charged = Object.fromEntries(CHARGE_PATHS.map((path) => [path, 0])) as Record<ChargePath, number>;
  }

  /** A core of its own for a vcpu. Throws RangeError when the machine has no more. */
  newCore(): Core {
    const index = this.freeCores.pop() ?? this.group.cores.length;
    if (index >= MAX_CORES) throw new RangeError(`a machine can't have more than ${MAX_CORES - 1} vcpus`);
    const core = new Core(this.arena, index, this.group);
    this.group.cores[index] = core;
    const slot = this.arena.saveSlot(index);
    this.arena.u8.fill(0, slot, slot + 0x1000);
    return core;
  }

  /** Vcpus that the machine has cores for. */
  get coresLeft(): number {
    return this.freeCores.length + MAX_CORES - this.group.cores.length;
  }

  /** The core is not used any more: another vcpu may have it. */
  freeCore(core: Core): void {
    if (this.group.active === core) this.xenCore.activate();
    this.freeCores.push(core.index);
  }

  domain(domid: number): Domain | null {
    const d = this.domains.get(domid);
    return d === undefined || d.isDying ? null : d;
  }

  /** Arena address of a vcpu_info for vcpus that have not registered theirs: Xen's page, never seen by a guest. */
  dummyVcpuInfo(domain: Domain): number {
    let at = this.dummyInfo.get(domain);
    if (at === undefined) {
      at = this.memory.frame(domain.allocXenPage());
      this.dummyInfo.set(domain, at);
    }
    return at;
  }

  /** The current cycle: that of the vcpu that runs or whose exit is being handled, else of the pCPU whose turn it is. */
  now(): number {
    return this.inGuest ? this.turn.current!.core.now() : this.turn.cycle;
  }

  /** Xen's system time, ns since power-on. */
  systemTime(): number {
    return cyclesToNs(this.now());
  }

  /** Cycles of Xen's work for `vcpu`; the pCPU whose turn it is pays with its clock. */
  charge(vcpu: Vcpu, path: ChargePath, cycles: number): void {
    count(this.charged, path, cycles);
    vcpu.hypervisorCycles += cycles;
    this.advance(cycles);
  }

  /** The same for the two paths that PV guests take all the time. */
  chargeExit(vcpu: Vcpu, cycles: number): void {
    this.charged.exit += cycles;
    vcpu.hypervisorCycles += cycles;
    this.advance(cycles);
  }
  chargeHypercall(vcpu: Vcpu, cycles: number): void {
    this.charged.hypercall += cycles;
    vcpu.hypervisorCycles += cycles;
    this.advance(cycles);
  }

  /** Cycles of Xen's work that no vcpu is the cause of. */
  chargeXen(path: ChargePath, cycles: number): void {
    count(this.charged, path, cycles);
    this.turn.hypervisorCycles += cycles;
    this.advance(cycles);
  }

  private advance(cycles: number): void {
    if (this.inGuest) {
      const core = this.turn.current!.core;
      core.charge(cycles);
      // So that the guest's own account doesn't get them.
      core.f64[ACCOUNTED >>> 3]! += cycles;
    } else this.turn.cycle += cycles;
  }

  /** The running engine comes back at its next cut: something earlier than its deadline has come up. */
  endSlice(): void {
    if (this.inGuest) this.turn.current!.core.breakSlice();
  }

  /** An event for a vcpu that runs on another pCPU, or that has woken up there: the sender's quantum ends. */
  reconsider(vcpu: Vcpu): void {
    if (this.turn.current !== vcpu) this.turnEnd = -1;
    this.endSlice();
  }

  /** Asks the scheduler again for `pcpu` before it runs anything more. */
  tickle(pcpu: number): void {
    const p = this.pcpus[pcpu]!;
    if (!p.needsSchedule && p.current === null) p.idleTo(this.now());
    p.needsSchedule = true;
    if (p !== this.turn) this.turnEnd = -1;
    this.endSlice();
  }

  /** Entries of a domain's p2m changed: its cores forget all translations. */
  flushTlbs(domain: Domain): void {
    flushCores(domain.vcpus.map((v) => v.core));
    this.chargeXen("tlb", COST_TLB_FLUSH);
  }

  /** Frames that Xen itself uses. */
  get xenFrames(): number {
    return this.heap.ownedBy(DOMID_XEN);
  }
}
