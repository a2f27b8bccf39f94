/** The machine: memory, engine, hypervisor and its domains put together, behind the interface of api.ts. */

import { Arena, MAX_RAM_BYTES } from "../../cpu/arena.ts";
import { type Core, CoreGroup } from "../../cpu/core.ts";
import { makeReference } from "../../cpu/reference/evaluator.ts";
import { coreState, disassembleAhead, lastMicroOps, memoryState } from "../../cpu/reference/inspect.ts";
import { Engine, makeInterpreter, makeTranslator } from "../../cpu/run.ts";
import type { CpuModel } from "../../cpu/system/cpu-model.ts";
import { Daemons } from "../../hypervisor/daemons/daemons.ts";
import { destroyDomain } from "../../hypervisor/domain/create.ts";
import type { Domain } from "../../hypervisor/domain/domain.ts";
import { SHUTDOWN_NAMES } from "../../hypervisor/domain/lifecycle.ts";
import { Hypervisor } from "../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../hypervisor/memory/audit.ts";
import { runMachine } from "../../hypervisor/run.ts";
import { CPU_FREQUENCY } from "../../hypervisor/time/frequency.ts";
import type { DomainReport, HostWork, MachineReport } from "../report/schema.ts";
import {
  CPU_LEVELS,
  type CpuidRule,
  type CpuLevel,
  type CpuVendor,
  DEFAULT_CPU_LEVEL,
  type DomainConsole,
  type DomainStatus,
  type EngineName,
  type MachineApi,
  type MachineConfig,
  MachineConfigError,
  type RunLimits,
  type RunOutcome,
} from "./api.ts";
import { buildDomain, framesOf, type PreparedDomain, prepareDomain } from "./build-domain.ts";
import { HostWatch } from "./host-work.ts";
import { type InspectableMachine, LockstepMachine } from "./lockstep.ts";
import { domainReport, machineReport } from "./report.ts";

export { interpreterModule } from "../../cpu/interpreter/link.ts";

/** Makers of what executes blocks, by engine; a lockstep machine is made of two others. */
const RUNNERS = {
  translator: makeTranslator,
  interpreter: makeInterpreter,
  reference: makeReference,
  lockstep: makeTranslator,
};

const FRAME = 4096;
const MIB = 2 ** 20;
const MAX_PCPUS = 64;
/** Instructions that a report of a difference lists. */
const LISTING = 12;
/** What Xen keeps for itself besides what domains cost. */
const XEN_FRAMES = (4 * MIB) / FRAME;

/** Bytes of the machine-to-phys tables for one frame, 64-bit and 32-bit form. */
const M2P_BYTES = 12;
/** Frames that the machine-to-phys tables take for `frames` others and for themselves; a MiB that is rounded up included. */
const m2pFrames = (frames: number): number => Math.ceil(((frames + MIB / FRAME) * M2P_BYTES) / (FRAME - M2P_BYTES)) + 2;

export class Machine implements InspectableMachine {
  readonly memory: number;
  readonly frequency: number = CPU_FREQUENCY;
  private readonly hypervisor: Hypervisor;
  private readonly engine: Engine;
  private readonly watch: HostWatch | null;
  /** xenstored and xenconsoled. */
  private readonly daemons: Daemons;
  private readonly engineName: EngineName;
  private readonly vendor: CpuVendor;
  /** By domid: what each domain was built from, and its last report if it is gone. */
  private readonly prepared: Map<number, PreparedDomain> = new Map();
  private readonly gone: Map<number, { status: DomainStatus; report: DomainReport }> = new Map();

  private constructor(config: MachineConfig, memory: number, watch: HostWatch | null) {
    this.memory = memory;
    this.watch = watch;
    this.engineName = config.engine ?? "translator";
    this.vendor = config.cpu ?? "intel";
    const arena = new Arena(memory);
    const group = new CoreGroup();
    group.profile = watch?.profile ?? null;
    let engine: Engine | undefined;
    this.hypervisor = new Hypervisor({
      arena,
      group,
      engine: { run: (core, deadline) => engine!.run(core, deadline) },
      pcpus: config.pcpus ?? 1,
      cpu: this.vendor,
      ...(config.cpuModel !== undefined && { cpuLevel: config.cpuModel }),
    });
    engine = new Engine(this.hypervisor.xenCore, RUNNERS[this.engineName]);
    this.engine = engine;
    this.daemons = new Daemons(this.hypervisor);
    this.hypervisor.onShutdown = (domain) => this.daemons.shutdown(domain);
  }

  /** Loads kernels, builds the domains in order as domid 1, 2, ..., and unpauses them. Rejects with MachineConfigError. */
  static async create(config: MachineConfig): Promise<MachineApi> {
    const pcpus = config.pcpus ?? 1;
    if (!Number.isInteger(pcpus) || pcpus < 1 || pcpus > MAX_PCPUS)
      throw new MachineConfigError(`a machine has 1 to ${MAX_PCPUS} physical CPUs, not ${pcpus}`, "machine");
    checkCpuModels(config);
    if (config.domains.length === 0) throw new MachineConfigError("a machine needs at least one domain", "machine");
    const watch = config.hostClock === undefined ? null : new HostWatch(config.hostClock);
    const prepare = async (): Promise<PreparedDomain[]> => {
      const domains: PreparedDomain[] = [];
      for (const domain of config.domains) domains.push(await prepareDomain(domain, config.onProgress));
      return domains;
    };
    const prepared = await (watch === null ? prepare() : watch.unpack(prepare));
    let frames = prepared.reduce((sum, p) => sum + framesOf(p), XEN_FRAMES);
    if (prepared.some((p) => p.plan.pv !== null)) frames += m2pFrames(frames);
    const needed = (frames * FRAME + MIB - 1) / MIB;
    const memory = config.memory ?? Math.floor(needed) * MIB;
    if (memory > MAX_RAM_BYTES)
      throw new MachineConfigError(
        `${Math.ceil(memory / MIB)} MiB of memory are more than a machine can have (${MAX_RAM_BYTES / MIB} MiB)`,
        "memory",
        config.memory === undefined ? config.domains[config.domains.length - 1]!.name : undefined,
      );
    if (memory < FRAME * 1024 || memory % FRAME !== 0)
      throw new MachineConfigError(`${memory} bytes are no size for a machine's memory`, "memory");
    config.onProgress?.("building", 0);
    let warned = false;
    const build = (engine: EngineName): Machine => {
      const machine = new Machine({ ...config, engine }, memory, watch);
      for (const p of prepared) machine.add(p);
      // Of machines in lockstep the first speaks.
      if (config.onWarning !== undefined && !warned) machine.warn(config.onWarning);
      warned = true;
      return machine;
    };
    const make = (): MachineApi =>
      config.engine === "lockstep" ? new LockstepMachine(build) : build(config.engine ?? "translator");
    const machine = watch === null ? make() : watch.build(make);
    config.onProgress?.("building", 1);
    return machine;
  }

  /** What the domains' policies refuse, once each. */
  private warn(onWarning: NonNullable<MachineConfig["onWarning"]>): void {
    for (const { name, cpuPolicy } of this.hypervisor.domains.values())
      for (const { rule, mask } of cpuPolicy.refused)
        onWarning({ domain: name, rule, message: refusal(rule, mask, cpuPolicy.model) });
  }

  private add(prepared: PreparedDomain): Domain {
    const { domain, complete } = buildDomain(this.hypervisor, prepared);
    const { config } = prepared;
    this.daemons.introduce(domain, {
      type: config.type,
      memory: config.memory / 1024,
      maxMemory: (config.maxMemory ?? config.memory) / 1024,
      vcpus: config.vcpus ?? 1,
    });
    try {
      complete();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new MachineConfigError(`the kernel can't be started: ${error.message}`, "kernel", config.name);
    }
    this.prepared.set(domain.domid, prepared);
    domain.unpause();
    return domain;
  }

  get cycle(): number {
    return this.hypervisor.now();
  }

  get domains(): readonly DomainStatus[] {
    const all = [...this.gone.values()].map((g) => g.status);
    for (const d of this.hypervisor.domains.values()) if (!d.isDying) all.push(statusOf(d));
    return all.sort((a, b) => a.domid - b.domid);
  }

  run(limits: RunLimits = {}): RunOutcome {
    const until = limits.maxCycles === undefined ? Infinity : this.cycle + Math.floor(limits.maxCycles);
    this.watch?.profile.enter();
    const outcome = runMachine(this.hypervisor, until, limits.until);
    this.watch?.profile.leave();
    return outcome;
  }

  console(domid: number): DomainConsole {
    const console = this.live(domid).console!;
    return this.watch === null ? console : this.watch.listening(console);
  }

  onLog(listener: (line: string, cycle: number) => void): void {
    this.hypervisor.log.onLine(listener);
  }

  async restart(domid: number): Promise<number> {
    const domain = this.live(domid);
    if (!domain.isShutDown) throw new RangeError(`domain ${domid} is still running`);
    this.gone.set(domid, { status: statusOf(domain), report: domainReport(domain) });
    this.daemons.release(domain);
    destroyDomain(domain);
    const add = (): Domain => this.add(this.prepared.get(domid)!);
    return (this.watch === null ? add() : this.watch.build(add)).domid;
  }

  inspect(): Readonly<Record<string, string>> {
    const state: Record<string, string> = { cycle: String(this.cycle) };
    for (const [domid, domain] of this.hypervisor.domains)
      for (const vcpu of domain.vcpus)
        for (const [name, value] of Object.entries(coreState(vcpu.core))) state[`d${domid}v${vcpu.id} ${name}`] = value;
    state.memory = memoryState(this.hypervisor.arena);
    return state;
  }

  ahead(): string[] {
    const core = this.lastCore();
    return core === null ? [] : disassembleAhead(core, LISTING);
  }

  behind(): string[] {
    const core = this.lastCore();
    return core === null ? [] : lastMicroOps(core);
  }

  audit(): string[] {
    return auditMemory(this.hypervisor, this.daemons.frames());
  }

  /** The core of the vcpu that ran last. */
  private lastCore(): Core | null {
    const { active } = this.hypervisor.group;
    return active === this.hypervisor.xenCore ? null : active;
  }

  private live(domid: number): Domain {
    const domain = this.hypervisor.domain(domid);
    if (domain === null) throw new RangeError(`there is no domain ${domid}`);
    return domain;
  }

  hostWork(): HostWork | null {
    return this.watch?.work(this.engine) ?? null;
  }

  report(): MachineReport {
    return machineReport(
      this.hypervisor,
      {
        engine: this.engineName,
        cpu: this.vendor,
        cpuModel: CPU_LEVELS[this.hypervisor.model.level - 1]!,
        memory: this.memory,
        cycle: this.cycle,
      },
      [...this.gone.values()].map((g) => g.report),
    );
  }
}

/** Throws MachineConfigError for a model that does not exist, or a domain that is to be shown more than the machine has. */
function checkCpuModels(config: MachineConfig): void {
  const most = config.cpuModel ?? DEFAULT_CPU_LEVEL;
  const known = (model: CpuLevel, domain?: string): number => {
    const level = CPU_LEVELS.indexOf(model);
    if (level >= 0) return level;
    const names = CPU_LEVELS.join(", ");
    throw new MachineConfigError(`there is no processor model "${model}": it is one of ${names}`, "cpuid", domain);
  };
  for (const { name, cpuModel } of config.domains)
    if (known(cpuModel ?? most, name) > known(most))
      throw new MachineConfigError(
        `cpuid: the model ${cpuModel} is more than the machine's, which is ${most} (--cpu-model)`,
        "cpuid",
        name,
      );
}

/** A line about bits of a rule that stay as they are. */
function refusal({ leaf, subleaf, register }: CpuidRule, mask: number, model: CpuModel): string {
  const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (mask >>> bit) & 1);
  const place = `0x${leaf.toString(16)}${subleaf === undefined ? "" : `,${subleaf}`}:${register}`;
  return `CPUID ${place}, bit ${bits.join(", ")} stays as in ${CPU_LEVELS[model.level - 1]} under Xen`;
}

function statusOf(domain: Domain): DomainStatus {
  if (!domain.isShutDown) return { domid: domain.domid, name: domain.name, state: "running" };
  const reason = SHUTDOWN_NAMES[domain.shutdownCode] ?? "crash";
  return {
    domid: domain.domid,
    name: domain.name,
    state: "shutdown",
    shutdownReason: reason,
    ...(domain.crashText.length > 0 && { registersText: domain.crashText.join("\n") }),
  };
}
