/** A domain: identity, memory, vcpus, and the state that all of its vcpus share. */
import { type CpuLevel, findCpuModel } from "../../cpu/system/cpu-model.ts";
import { HVM_NR_PARAMS, HVM_PARAM_TRIPLE_FAULT_REASON } from "../abi/hvm.ts";
import { NR_HYPERCALLS } from "../abi/hypercall.ts";
import { LAYOUT_32, LAYOUT_64, type SharedLayout } from "../abi/layout.ts";
import { SHUTDOWN_crash } from "../abi/sched.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import { type CpuidRule, CpuPolicy } from "../hvm/cpu-policy.ts";
import type { PcTimer } from "../hvm/pc-timer.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { type GuestFrames, P2m } from "../memory/p2m.ts";
import { PvFrames } from "../pv/frames.ts";
import { PvDomain } from "../pv/state.ts";
import type { ConsoleDaemon, DomainEvents, DomainGrants } from "./services.ts";
import { Vcpu } from "./vcpu.ts";

/** What a domain is made of. Sizes in frames of 4 KiB. */
export interface DomainOptions {
  readonly name: string;
  /** "pv32": a PV domain with the 32-bit (PAE) interface. Default "pvh". */
  readonly type?: "pvh" | "pv" | "pv32";
  readonly maxVcpus: number;
  /** Most frames that the domain may own (d->max_pages). */
  readonly maxPages: number;
  /** credit2 weight 1..65535, default 256. */
  readonly weight?: number;
  /** Most of one pCPU, percent; 0 none. */
  readonly cap?: number;
  /** Hard affinity by vcpu: lists of pCPU numbers; vcpus beyond the list run anywhere. */
  readonly affinity?: readonly (readonly number[])[];
  /** 16 bytes, default zero. */
  readonly uuid?: Uint8Array;
  /** 0 none, 1 or 2. Default 2. */
  readonly maxGrantVersion?: number;
  /** Highest number of event channel ports, default 1023. */
  readonly maxEventChannels?: number;
  /** Level of the model that the guest is shown, at most the machine's. Default: that. */
  readonly cpuLevel?: CpuLevel;
  /** Rules without error (`ruleError`) that change what its CPUID shows. */
  readonly cpuid?: readonly CpuidRule[];
  /** The guest's physical memory map for XENMEM_memory_map; may also be set later. */
  readonly memoryMap?: readonly MemoryRegion[];
}

/** An entry of the guest's e820. Bytes. */
export interface MemoryRegion {
  readonly address: number;
  readonly size: number;
  /** E820 type: 1 RAM, 2 reserved, 3 ACPI, 4 NVS. */
  readonly type: number;
}

const FRAMES_PER_MIB = 256;

/** Frames for second-level tables that xl gives a domain: 1 MiB a vcpu, and 2 frames for each MiB of its memory. */
export function tablePool(vcpus: number, maxPages: number): number {
  return FRAMES_PER_MIB * vcpus + 2 * Math.ceil(maxPages / FRAMES_PER_MIB);
}

export class Domain {
  readonly hypervisor: Hypervisor;
  readonly domid: number;
  readonly options: DomainOptions;
  readonly name: string;
  readonly uuid: Uint8Array;
  /** From guest frames to machine frames. */
  readonly p2m: GuestFrames;
  /** The same as the second-level tables that Xen keeps, to be changed; null where guest frames are machine frames (PV). */
  readonly physmap: P2m | null;
  readonly cpuPolicy: CpuPolicy;
  /** What only PV domains have; null for PVH. */
  readonly pv: PvDomain | null = null;
  readonly vcpus: Vcpu[] = [];
  maxPages: number;
  memoryMap: readonly MemoryRegion[];
  /** Machine frame of shared_info, Xen's page; the guest puts it where it likes (XENMAPSPACE_shared_info). */
  readonly sharedInfoMfn: number;
  /** Arena address of shared_info. */
  readonly sharedInfo: number;
  /** Layout of shared_info and vcpu_info: that of the mode in which the guest set up its hypercall page or callback. */
  layout: SharedLayout = LAYOUT_64;
  /** HVM_PARAM_*, unsigned 64 bits each. */
  readonly params: BigUint64Array = new BigUint64Array(HVM_NR_PARAMS);
  /** Vector of HVM_PARAM_CALLBACK_IRQ when its type is "vector", 0 if it is not. */
  callbackVector = 0;
  /** A PC's timer and interrupt controllers, if the builder gave it some. */
  pcTimer: PcTimer | null = null;
  /** VMASST_TYPE_* bits. */
  vmAssist = 0;
  events: DomainEvents | null = null;
  grants: DomainGrants | null = null;
  /** Set by the daemons when the domain is introduced. */
  console: ConsoleDaemon | null = null;
  /** Frames of Xen's that exist for this domain, to be freed with it. */
  readonly xenPages: number[] = [];
  /** Where in the guest's memory those are that it has placed: guest frame by machine frame. */
  readonly xenPageGfns: Map<number, number> = new Map();
  /** Reasons to stand still besides shutdown; > 0 no vcpu runs. */
  pauseCount = 1;
  /** SHUTDOWN_*, -1 while it runs. */
  shutdownCode = -1;
  /** Reason that SCHEDOP_shutdown_code set for the next shutdown, -1 none. */
  presetShutdownCode = -1;
  isDying = false;
  /** What a crash printed: lines of the register dump. */
  crashText: string[] = [];
  /** Handles of the armed watchdogs (SCHEDOP_watchdog), 0 free. */
  readonly watchdogs: number[] = [0, 0];
  /** Line of console_io output that waits for its end. */
  consoleLine = "";
  /** Calls by number; the last element counts numbers that do not exist. */
  readonly hypercallCounts: Float64Array = new Float64Array(NR_HYPERCALLS + 1);
  /** Exits by EXIT_*. */
  readonly exitCounts: Float64Array = new Float64Array(32);
  /** Upcalls and injected vectors delivered. */
  eventsDelivered = 0;
  /** System time at which the domain was created, ns, and the wall clock offset of its shared_info in seconds. */
  readonly createdNs: number;

  /** Throws RangeError if the machine has no memory for the domain's tables. */
  constructor(hypervisor: Hypervisor, domid: number, options: DomainOptions) {
    this.hypervisor = hypervisor;
    this.domid = domid;
    this.options = options;
    this.name = options.name;
    this.uuid = options.uuid ?? new Uint8Array(16);
    this.maxPages = options.maxPages;
    this.memoryMap = options.memoryMap ?? [];
    this.createdNs = hypervisor.systemTime();
    const { cpu, model } = hypervisor;
    const shown = options.cpuLevel === undefined ? model : { ...findCpuModel(cpu, options.cpuLevel), hz: model.hz };
    this.cpuPolicy = new CpuPolicy(hypervisor.xenCore, shown, options.cpuid ?? []);
    const type = options.type ?? "pvh";
    this.physmap =
      type === "pvh"
        ? new P2m(
            hypervisor.memory,
            hypervisor.heap,
            hypervisor.nestedFormat,
            () => hypervisor.flushTlbs(this),
            tablePool(options.maxVcpus, options.maxPages),
          )
        : null;
    this.p2m = this.physmap ?? new PvFrames(this);
    this.sharedInfoMfn = this.allocXenPage();
    hypervisor.pageTypes.share(this.sharedInfoMfn, domid);
    this.sharedInfo = hypervisor.memory.frame(this.sharedInfoMfn);
    // Xen has SHUTDOWN_reboot here, for guests that restart a PC so. Ours is a bench for kernels: one that has lost its way must
    // end as a crash, not restart in circles. Guests that know Xen ask for a reboot by SCHEDOP_shutdown.
    this.params[HVM_PARAM_TRIPLE_FAULT_REASON] = BigInt(SHUTDOWN_crash);
    if (type !== "pvh") {
      if (type === "pv32") this.layout = LAYOUT_32;
      this.pv = new PvDomain(this, type === "pv32");
    }
    for (let id = 0; id < options.maxVcpus; id++) this.vcpus.push(new Vcpu(this, id));
  }

  /** A zeroed page of Xen's for the domain, freed when the domain goes. Throws RangeError. */
  allocXenPage(): number {
    const mfn = this.hypervisor.heap.alloc(DOMID_XEN);
    if (mfn < 0) throw new RangeError(`no machine memory for domain ${this.name}`);
    this.xenPages.push(mfn);
    return mfn;
  }

  /** Frames that the domain owns (d->tot_pages). */
  get totalPages(): number {
    return this.hypervisor.heap.ownedBy(this.domid);
  }

  /** True if the guest uses 32-bit structures (has_32bit_shinfo). */
  get compat(): boolean {
    return this.layout === LAYOUT_32;
  }

  get isPv(): boolean {
    return this.pv !== null;
  }

  get isShutDown(): boolean {
    return this.shutdownCode >= 0;
  }

  vcpu(id: number): Vcpu | null {
    return id < this.vcpus.length ? this.vcpus[id]! : null;
  }

  pause(): void {
    this.pauseCount++;
    for (const v of this.vcpus) v.sleep();
  }

  unpause(): void {
    if (--this.pauseCount > 0) return;
    for (const v of this.vcpus) v.wake();
  }
}
