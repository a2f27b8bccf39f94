/**
 * Domains that do everything a guest can do to its hypervisor, at random: hypercalls of all numbers with arguments that are often
 * plausible (frames, ports, references, handles that exist), garbage in every page that Xen or a daemon shares with them, MSRs, ports,
 * APIC registers, exits of every kind, and deaths. The real machine loop, scheduler and daemons run; only the engine is played.
 */

import * as A from "../../../cpu/arena.ts";
import * as C from "../../../cpu/core.ts";
import { FLAG_IF } from "../../../cpu/flags.ts";
import { APIC_DEFAULT_BASE } from "../../../cpu/system/apic.ts";
import * as H from "../../../hypervisor/abi/hvm.ts";
import * as HC from "../../../hypervisor/abi/hypercall.ts";
import { XENMEM_maximum_gpfn } from "../../../hypervisor/abi/memory.ts";
import { Daemons } from "../../../hypervisor/daemons/daemons.ts";
import { createDomain, destroyDomain } from "../../../hypervisor/domain/create.ts";
import type { Domain } from "../../../hypervisor/domain/domain.ts";
import type { Vcpu } from "../../../hypervisor/domain/vcpu.ts";
import { eventsOf } from "../../../hypervisor/events/channels.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import { MSR_XEN_HYPERCALL_PAGE } from "../../../hypervisor/hvm/hypercall-page.ts";
import { startPvh } from "../../../hypervisor/hvm/vcpu-init.ts";
import { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { P2M_RAM_RW } from "../../../hypervisor/memory/p2m.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import * as wire from "../../../hypervisor/xenstore/wire.ts";
import { Random } from "../../support/random.ts";
import { type Field, pack } from "../calls.ts";
import { setCycleTo } from "../set-cycle.ts";

const MIB = 2 ** 20;
const PAGES = 48;
const STORE_GFN = 40;
const CONSOLE_GFN = 41;
const DOMAINS = 3;
const VCPUS = 3;
/** Guest frames where structures and lists lie. */
const SCRATCH = 2 * 4096;
const LISTS = 4 * 4096;
const EFER_LMA = 0x400;
const ATTR_L = 0x2000;
const CS_ATTR = (A.SEG + A.SEG_STRIDE + A.SEG_ATTR) >>> 2;
const ARGS_64 = [A.S_RDI, A.S_RSI, A.S_RDX, A.S_R8 + 16, A.S_R8, A.S_R8 + 8];
const ARGS_32 = [A.S_RBX, A.S_RCX, A.S_RDX, A.S_RSI, A.S_RDI, A.S_RBP];
const PATHS = [
  "/",
  "/local/domain/1/data",
  "data",
  "device/vif/0/state",
  "@releaseDomain",
  "/a//b",
  "x".repeat(300),
  "",
];
const TEXTS = ["", "n1", "b2", "r99999", "T", "F", "token", "1", "-1", "65536", "\xff\x80", "0|4294967295"];
const MSRS = [0x10, 0x1b, 0x3a, 0xfe, 0x200, 0x20f, 0x250, 0x277, 0x2ff, 0x6e0, 0x800, 0x80b, 0x830, 0x832, 0x838];
const MSRS_HIGH = [0xc0000080, 0xc0000081, 0xc0000103, 0xc0010015, 0xc0010117, MSR_XEN_HYPERCALL_PAGE];
const EXITS = [
  C.EXIT_CPUID,
  C.EXIT_XSETBV,
  C.EXIT_RDPMC,
  C.EXIT_WBINVD,
  C.EXIT_MWAIT,
  C.EXIT_PAUSE,
  C.EXIT_NESTED_FAULT,
  C.EXIT_VMX,
  C.EXIT_INTR_WINDOW,
];

export class HostileMachine {
  readonly hv: Hypervisor;
  readonly daemons: Daemons;
  /** Hypercalls made. */
  calls = 0;
  /** Of them, those that did not answer with an errno. */
  accepted = 0;
  /** Answers that no hypercall gives. */
  readonly strange: string[] = [];
  readonly freeAtStart: number;
  private readonly random: Random;
  /** By core: the number and the RIP of a hypercall whose answer is awaited. */
  private readonly awaited: Map<C.Core, { number: number; command: number; rip: bigint }> = new Map();

  constructor(seed: number) {
    this.random = new Random(seed);
    this.hv = new Hypervisor({
      arena: new A.Arena(8 * MIB),
      engine: { run: (core, deadline) => this.execute(core, deadline) },
      pcpus: 1 + this.random.below(2),
      cpu: this.random.below(2) === 0 ? "intel" : "amd",
    });
    this.daemons = new Daemons(this.hv);
    this.hv.onShutdown = (domain) => this.daemons.shutdown(domain);
    this.freeAtStart = this.hv.heap.freeFrames;
    for (let n = 0; n < DOMAINS; n++) this.addDomain();
  }

  private addDomain(): void {
    const r = this.random;
    const domain = createDomain(this.hv, {
      name: "hostile",
      maxVcpus: VCPUS,
      maxPages: PAGES + r.pick([0, 8, 600]),
      maxGrantVersion: r.pick([0, 1, 2, 2]),
      weight: r.pick([1, 256, 65535]),
      cap: r.pick([0, 0, 1, 50, 250]),
      memoryMap: [{ address: 0, size: PAGES * 4096, type: 1 }],
    });
    for (let gfn = 0; gfn < PAGES; gfn++) domain.physmap!.map(gfn, this.hv.heap.alloc(domain.domid), P2M_RAM_RW);
    domain.params[H.HVM_PARAM_STORE_PFN] = BigInt(STORE_GFN);
    domain.params[H.HVM_PARAM_CONSOLE_PFN] = BigInt(CONSOLE_GFN);
    this.daemons.introduce(domain, { type: "pvh", memory: 192, maxMemory: 192, vcpus: VCPUS });
    startPvh(domain.vcpus[0]!, 0x1000, 0);
    domain.unpause();
  }

  /** Runs on for so many cycles; what has died is taken apart, sometimes, and replaced. */
  run(cycles: number): void {
    const end = this.hv.now() + cycles;
    while (this.hv.now() < end && runMachine(this.hv, Math.min(end, this.hv.now() + 20_000)) !== "all-shutdown") {
      // Nobody sleeps for long: something external always happens.
      for (const domain of this.hv.domains.values())
        for (const vcpu of domain.vcpus) if (!domain.isShutDown && this.random.below(4) === 0) vcpu.kick();
    }
    for (const domain of [...this.hv.domains.values()]) {
      if (domain.isDying) continue;
      const isStuck = !domain.isShutDown && !domain.vcpus.some((v) => v.isUp);
      if (!isStuck && !(domain.isShutDown && this.random.below(3) === 0)) continue;
      this.remove(domain);
      if (this.hv.heap.freeFrames > 2 * PAGES) this.addDomain();
    }
    if (![...this.hv.domains.values()].some((d) => !d.isShutDown && !d.isDying)) this.addDomain();
  }

  private remove(domain: Domain): void {
    for (const { core } of domain.vcpus) this.awaited.delete(core);
    this.daemons.release(domain);
    destroyDomain(domain);
  }

  /** Mappings of one domain's pages in another that there are now. */
  get foreignMappings(): number {
    let count = 0;
    for (const domain of this.hv.domains.values())
      for (const { table } of grantsOf(domain)?.mappings() ?? []) if (table.domain !== domain) count++;
    return count;
  }

  removeAll(): void {
    for (const domain of this.hv.domains.values()) if (!domain.isDying) this.remove(domain);
  }

  audit(): string[] {
    return auditMemory(this.hv, this.daemons.frames());
  }

  // --- the engine --------------------------------------------------------------------------------

  private execute(core: C.Core, deadline: number): number {
    const r = this.random;
    const vcpu = this.hv.turn.current!;
    this.check(core);
    const now = core.now();
    setCycleTo(core, Math.min(deadline, now + 1 + r.below(r.below(8) === 0 ? 200_000 : 2000)));
    if (core.now() >= deadline) return C.EXIT_DEADLINE;
    for (let n = r.below(3); n > 0; n--) this.scribble(vcpu);
    core.i32[A.EXIT_LENGTH >>> 2] = 3;
    const waiting = this.awaited.get(core);
    // A call that is to be continued is, mostly.
    if (waiting !== undefined && r.below(20) !== 0) return C.EXIT_VMCALL;
    this.awaited.delete(core);
    const what = r.below(100);
    if (what < 82) return this.hypercall(vcpu);
    if (what < 86) return this.bus(vcpu);
    if (what < 92) {
      core.u32[A.EXIT_QUAL >>> 2] = r.pick(r.below(2) === 0 ? MSRS : MSRS_HIGH);
      core.setSlot(A.S_RAX, this.word() & 0xffff_ffffn);
      core.setSlot(A.S_RDX, r.below(3) === 0 ? r.bits(32) : 0n);
      return r.below(2) === 0 ? C.EXIT_RDMSR : C.EXIT_WRMSR;
    }
    if (what < 93) {
      core.i32[A.RFLAGS_SYS >>> 2]! |= FLAG_IF;
      return C.EXIT_HLT;
    }
    if (r.below(400) === 0)
      return r.pick([C.EXIT_TRIPLE_FAULT, C.EXIT_TASK_SWITCH, C.EXIT_NESTED_MISCONFIG, C.EXIT_HLT]);
    core.setSlot(A.S_RAX, r.bits(32) & this.word());
    core.setSlot(A.S_RCX, r.bits(32) & this.word());
    core.u32[A.EXIT_QUAL >>> 2] = r.below(512);
    return r.pick(EXITS);
  }

  /** Looks at the answer of the last hypercall if it is there. */
  private check(core: C.Core): void {
    const call = this.awaited.get(core);
    if (call === undefined || core.u64[A.RIP >>> 3] === call.rip) return;
    this.awaited.delete(core);
    const rax = core.slot(A.S_RAX);
    const answer = Number(BigInt.asIntN(rax >> 32n === 0n ? 32 : 64, rax));
    if (answer >= 0) this.accepted++;
    // XENMEM_maximum_gpfn has no bounds but the map's, and is cut off for a 32-bit caller.
    const isCut = call.number === HC.HYPERVISOR_memory_op && (call.command & 63) === XENMEM_maximum_gpfn;
    if (!isCut && (answer < -133 || answer > 2 ** 40))
      this.strange.push(`${call.number}/${call.command} answers ${answer}`);
  }

  private bus(vcpu: Vcpu): number {
    const r = this.random;
    const { core } = vcpu;
    const address =
      r.below(4) === 0 ? r.next() : APIC_DEFAULT_BASE + (r.below(3) === 0 ? r.below(4096) : r.below(256) * 16);
    const size = r.pick([1, 2, 4, 4, 4, 8]);
    core.setSlot(A.S_RAX, this.word());
    core.i32[A.BUS_DATA >>> 2] = Number(this.word() & 0xffff_ffffn) | 0;
    core.i32[(A.BUS_DATA >>> 2) + 1] = r.next() | 0;
    const way = r.below(4);
    if (way === 0) core.bus.memoryRead(core, address, size);
    else if (way === 1) core.bus.portWrite(core, r.pick([0xe9, 0x80, r.below(65536)]), Math.min(size, 4));
    else core.bus.memoryWrite(core, address, size);
    const { interrupts } = core;
    const vector = interrupts?.pending() ?? -1;
    if (vector >= 0 && r.below(2) === 0) interrupts!.acknowledge(vector);
    return C.EXIT_PAUSE;
  }

  // --- values ------------------------------------------------------------------------------------

  private gfn(): number | bigint {
    const r = this.random;
    switch (r.below(12)) {
      case 0:
        return 300 + r.below(8);
      case 1:
        return r.pick([2 ** 20, 2 ** 36 - 1, 2 ** 36, 2 ** 40, 0xffff_ffff_ffff_ffffn, r.bits(64)]);
      case 2:
        return r.next() * 7;
      case 3:
        return r.below(PAGES);
      default:
        // Not the pages that structures lie in, mostly, or every call would soon be -EFAULT.
        return 8 + r.below(32);
    }
  }

  private domid(): number {
    const r = this.random;
    if (r.below(5) === 0) return r.pick([0x7ff0, 0x7ff0, 0, 0x7ff1, 0x7ff2, 0x7ff4, 0xffff, 1]);
    const live = [...this.hv.domains.values()].filter((d) => !d.isDying);
    return live.length === 0 ? 1 : r.pick(live).domid;
  }

  private small(): number {
    const r = this.random;
    return r.below(16) === 0 ? r.pick([0xffffffff, 0x7fffffff, 0x80000000, 1024, 4095, 512, 65536]) : r.below(12);
  }

  private address(): bigint {
    const r = this.random;
    if (r.below(10) === 0) return r.pick([0n, 0xffff_ffffn, 0xffff_ffff_ffff_fff8n, 0x7fff_0000n, r.bits(64), 0x2ffcn]);
    return BigInt(r.pick([SCRATCH, LISTS, LISTS + 2048, LISTS + 4090]));
  }

  private word(): bigint {
    const r = this.random;
    switch (r.below(8)) {
      case 0:
        return BigInt(this.gfn()) << 12n;
      case 1:
        return BigInt(this.gfn());
      case 2:
        return this.address();
      case 3:
        return r.bits(64);
      case 4:
        return BigInt(this.hv.systemTime() + r.below(5_000_000) - 1_000_000) & 0xffff_ffff_ffff_ffffn;
      case 5:
        return BigInt(r.next() >>> r.below(32));
      default:
        return BigInt(this.small());
    }
  }

  // --- memory that is shared ---------------------------------------------------------------------

  /** Writes bytes into machine frame `mfn` as its guest may at any time. */
  private put(mfn: number, offset: number, ...fields: Field[]): void {
    const bytes = pack(fields);
    const at = Math.min(offset, 4096 - bytes.length);
    this.hv.memory.write(this.hv.memory.frame(mfn) + at, bytes);
  }

  private scribble(vcpu: Vcpu): void {
    const r = this.random;
    const { domain } = vcpu;
    switch (r.below(6)) {
      case 0:
      case 1: {
        const table = grantsOf(domain)?.table;
        if (table === undefined || table.frames.length === 0) return;
        const flags = r.pick([1, 1, 1, 1, 1, 5, 3, 2, 0x101, 0x21, r.below(65536)]);
        const head: Field[] = [
          [2, flags],
          [2, this.domid()],
        ];
        const ref = r.below(8);
        if (table.version === 1) this.put(table.frames[0]!, ref * 8, ...head, [4, BigInt(this.gfn()) & 0xffff_ffffn]);
        else this.put(table.frames[0]!, ref * 16, ...head, [2, this.domid()], [2, r.below(4097)], [8, this.gfn()]);
        return;
      }
      case 2: {
        const frames = eventsOf(domain).frames();
        if (frames.length > 0) this.put(r.pick(frames), r.below(64) * 4, [4, r.next() & Number(r.bits(32))]);
        return;
      }
      case 3:
        this.put(domain.sharedInfoMfn, r.below(512) * 8, [8, r.bits(64)]);
        return;
      case 4:
        this.request(domain);
        return;
      default: {
        const mfn = domain.p2m.lookup(CONSOLE_GFN);
        if (mfn >= 0 && domain.p2m.typeOf(CONSOLE_GFN) === P2M_RAM_RW)
          this.put(mfn, 3072 + 4 * r.below(4), [4, r.below(3) === 0 ? r.next() : r.below(4000)]);
      }
    }
  }

  /** A xenstore request, or garbage, in the ring. */
  private request(domain: Domain): void {
    const r = this.random;
    const mfn = domain.p2m.lookup(STORE_GFN);
    if (mfn < 0 || domain.p2m.typeOf(STORE_GFN) !== P2M_RAM_RW) return;
    const base = this.hv.memory.frame(mfn);
    if (r.below(60) === 0) {
      this.put(mfn, wire.RING_REQ_CONS + 4 * r.below(4), [4, r.next()]);
      return;
    }
    const parts = Array.from({ length: 1 + r.below(3) }, () => r.pick(r.below(2) === 0 ? PATHS : TEXTS));
    const payload = wire.bytesOf(parts.join("\0") + (r.below(5) === 0 ? "" : "\0"));
    const length = r.below(30) === 0 ? r.next() >>> r.below(32) : payload.length;
    const bytes = [
      ...pack([
        [4, r.below(26)],
        [4, r.next()],
        [4, r.below(3) === 0 ? r.below(4) : 0],
        [4, length],
      ]),
      ...payload,
    ];
    const prod = this.hv.memory.read32(base + wire.RING_REQ_PROD);
    bytes.forEach((byte, i) => {
      this.hv.memory.write8(base + ((prod + i) & (wire.RING_SIZE - 1)), byte);
    });
    this.put(mfn, wire.RING_REQ_PROD, [4, (prod + bytes.length) >>> 0]);
    // Replies are taken.
    this.put(mfn, wire.RING_RSP_CONS, [4, this.hv.memory.read32(base + wire.RING_RSP_PROD)]);
    eventsOf(domain).send(Number(domain.params[H.HVM_PARAM_STORE_EVTCHN]!) >>> 0);
  }

  // --- hypercalls --------------------------------------------------------------------------------

  private hypercall(vcpu: Vcpu): number {
    const r = this.random;
    const { core } = vcpu;
    const long = r.below(2) === 0;
    core.i32[A.EFER >>> 2] = long ? core.i32[A.EFER >>> 2]! | EFER_LMA : core.i32[A.EFER >>> 2]! & ~EFER_LMA;
    core.i32[CS_ATTR] = long ? core.i32[CS_ATTR]! | ATTR_L : core.i32[CS_ATTR]! & ~ATTR_L;
    core.i32[A.CPL >>> 2] = r.below(50) === 0 ? 3 : 0;
    const [number, args] = this.call(vcpu, !long);
    const slots = long ? ARGS_64 : ARGS_32;
    core.setSlot(A.S_RAX, BigInt(number));
    slots.forEach((slot, i) => {
      core.setSlot(slot, BigInt.asUintN(64, BigInt(args[i] ?? 0)));
    });
    this.calls++;
    this.awaited.set(core, { number, command: Number(args[0] ?? 0), rip: core.u64[A.RIP >>> 3]! });
    return C.EXIT_VMCALL;
  }

  /** Puts a structure at SCRATCH, if that is still a page of the guest. @returns its address, mostly. */
  private structure(vcpu: Vcpu, fields: readonly Field[], at: number = SCRATCH): bigint {
    const { p2m } = vcpu.domain;
    const mfn = p2m.lookup(at >>> 12);
    if (mfn >= 0 && p2m.typeOf(at >>> 12) === P2M_RAM_RW) this.put(mfn, at & 0xfff, ...fields);
    return this.random.below(25) === 0 ? this.address() : BigInt(at);
  }

  private lists(vcpu: Vcpu): void {
    const words = Array.from({ length: 40 }, (): Field => [8, this.gfn()]);
    this.structure(vcpu, words, LISTS);
  }

  private call(vcpu: Vcpu, compat: boolean): [number, (number | bigint)[]] {
    const r = this.random;
    const long = compat ? 4 : 8;
    const pad: Field[] = compat ? [] : [[4, 0]];
    const small: Field = [4, this.small()];
    switch (r.below(13)) {
      case 0:
      case 1:
        return this.memoryCall(vcpu, long);
      case 2:
      case 3:
      case 4:
        return this.grantCall(vcpu, compat);
      case 5:
      case 6: {
        const op = r.below(16);
        const fields: Field[] =
          op === 11 || op === 12
            ? [
                [8, this.gfn()],
                [4, r.below(40) * 8],
                [4, r.below(VCPUS + 1)],
              ]
            : op === 0 || op === 5 || op === 6
              ? [
                  [2, this.domid()],
                  [2, this.domid()],
                  [4, this.small()],
                  [4, 0],
                ]
              : [small, [4, this.small()], [4, this.small()]];
        return [HC.HYPERVISOR_event_channel_op, [op === 10 && r.below(8) !== 0 ? 4 : op, this.structure(vcpu, fields)]];
      }
      case 7: {
        const op = r.pick([0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99]);
        if (op === 2 && r.below(4) !== 0) return [HC.HYPERVISOR_vcpu_op, [3, 0, 0]];
        const arg =
          r.below(8) === 0
            ? 0n
            : this.structure(
                vcpu,
                op === 0
                  ? this.context()
                  : [
                      [8, this.word()],
                      [4, r.below(600) * 8],
                      [4, 0],
                    ],
              );
        return [HC.HYPERVISOR_vcpu_op, [op, r.below(VCPUS + 1), arg]];
      }
      case 8: {
        const op = r.pick([0, 1, 5, 9, 10, 11, 15, 23, 24, 25, 99]);
        const fields: Field[] =
          op === 23
            ? [
                [4, r.below(VCPUS + 1)],
                [1, r.below(256)],
                [3, 0],
              ]
            : [
                [2, this.domid()],
                [2, 0],
                [4, r.below(42)],
                [8, r.below(3) === 0 ? (2n << 56n) | r.bits(8) : this.word()],
              ];
        return [HC.HYPERVISOR_hvm_op, [op, r.below(6) === 0 ? 0n : this.structure(vcpu, fields)]];
      }
      case 9: {
        const op = r.pick([0, 0, 1, 3, 3, 3, 4, 5, 6, 6, 7, 2]);
        if (op === 2 && r.below(40) !== 0) return [HC.HYPERVISOR_sched_op, [0, 0]];
        this.lists(vcpu);
        const fields: Field[] =
          op === 3
            ? [[long, this.address()], [4, this.small()], ...pad, [8, this.word()]]
            : [small, [4, this.small() * 100]];
        return [HC.HYPERVISOR_sched_op, [op, this.structure(vcpu, fields)]];
      }
      case 10: {
        const count = r.below(5);
        const fields: Field[] = [];
        for (let i = 0; i < count; i++) {
          const [number, args] = this.call(vcpu, compat);
          fields.push([long, number], [long, 0]);
          for (let n = 0; n < 6; n++) fields.push([long, BigInt.asUintN(8 * long, BigInt(args[n] ?? 0))]);
        }
        return [
          HC.HYPERVISOR_multicall,
          [this.structure(vcpu, fields, 6 * 4096), r.below(30) === 0 ? this.small() : count],
        ];
      }
      case 11:
        return r.pick([
          [HC.HYPERVISOR_xen_version, [r.below(13), this.structure(vcpu, [[8, r.below(3)]])]],
          [HC.HYPERVISOR_set_timer_op, [this.word(), this.word()]],
          [HC.HYPERVISOR_console_io, [r.below(3), r.pick([1, 100, 5000, this.small()]), this.address()]],
          [HC.HYPERVISOR_vm_assist, [r.below(3), this.small()]],
          [HC.HYPERVISOR_domctl, [this.structure(vcpu, [small, [4, 0x15], [2, this.domid()]])]],
          [HC.HYPERVISOR_dm_op, [this.domid(), 1, this.address()]],
        ]);
      default:
        return [r.below(8) === 0 ? r.next() : r.below(70), Array.from({ length: 6 }, () => this.word())];
    }
  }

  private memoryCall(vcpu: Vcpu, long: number): [number, (number | bigint)[]] {
    const r = this.random;
    this.lists(vcpu);
    const op = r.pick([0, 1, 1, 6, 6, 7, 7, 7, 15, 23, 2, 3, 4, 9, 11, 13, 14, 16, 21, 24, 26, 27, 28, 50]);
    let fields: Field[];
    if (op < 2 || op === 6 || op === 24) {
      const order = r.below(12) === 0 ? r.pick([8, 9, 10, 31, 63]) : r.below(3);
      const count = r.below(12) === 0 ? r.pick([2 ** 26, 0xffffffff, 2 ** 26 - 1, 1100]) : r.below(20);
      const flags = r.below(5) === 0 ? r.next() : 0;
      fields = [
        [long, this.address()],
        [long, count],
        [4, order],
        [4, flags],
        [2, this.domid()],
        [6, 0],
      ];
    } else if (op === 7) {
      const space = r.below(7);
      const index = space < 2 ? r.pick([0, 1, 2, 0x80000000, 0x80000001, 63, 64]) : this.gfn();
      fields = [
        [2, this.domid()],
        [2, r.pick([0, 3, 65535])],
        [4, space],
        [long, BigInt.asUintN(8 * long, BigInt(index))],
        [long, BigInt.asUintN(8 * long, BigInt(this.gfn()))],
      ];
    } else if (op === 23) {
      const lists: Field[] = [0, 1, 2].map(() => [long, BigInt.asUintN(8 * long, this.address())]);
      fields = [[2, this.domid()], [2, r.below(7)], [2, r.pick([1, 5, 2000])], [2, 0], ...lists];
    } else
      fields = [
        [2, this.domid()],
        [2, 0],
        [4, this.small()],
        [8, this.word()],
        [8, this.address()],
        [8, 0],
        [2, this.domid()],
      ];
    const start = r.below(15) === 0 ? r.next() & ~63 : 0;
    return [HC.HYPERVISOR_memory_op, [(op | start) >>> 0, this.structure(vcpu, fields)]];
  }

  private grantCall(vcpu: Vcpu, compat: boolean): [number, (number | bigint)[]] {
    const r = this.random;
    const long = compat ? 4 : 8;
    const op = r.pick([0, 0, 0, 0, 1, 1, 1, 2, 5, 5, 5, 6, 8, 9, 10, 11, 3, 4, 7, 12, 77]);
    const ref: Field = [4, r.below(20) === 0 ? this.small() : r.below(8)];
    const window = BigInt(r.below(3) === 0 ? this.gfn() : 300 + r.below(8)) << 12n;
    let fields: Field[];
    switch (op) {
      case 0:
        fields = [
          [8, BigInt.asUintN(64, window)],
          [4, r.pick([2, 2, 6, 6, 1, 18, r.below(64)])],
          ref,
          [2, this.domid()],
          [2, 0],
          [4, 0],
          [8, 0],
        ];
        break;
      case 1:
        fields = [
          [8, BigInt.asUintN(64, window)],
          [8, 0],
          [4, r.below(6)],
          [4, 0],
        ];
        break;
      case 2:
        fields = [
          [2, this.domid()],
          [2, 0],
          [4, r.pick([0, 1, 2, 64, 65, 0xffffffff])],
          [2, 0],
          ...((compat ? [[2, 0]] : [[6, 0]]) as Field[]),
          [long, BigInt.asUintN(8 * long, this.address())],
        ];
        break;
      case 5: {
        const side = (): Field[] => [
          [long, BigInt.asUintN(8 * long, BigInt(r.below(2) === 0 ? r.below(16) : this.gfn()))],
          [2, this.domid()],
          [2, r.below(5000)],
          ...((compat ? [] : [[4, 0]]) as Field[]),
        ];
        fields = [...side(), ...side(), [2, r.below(5000)], [2, r.below(4)], [2, 0]];
        break;
      }
      case 8:
        fields = [[4, r.pick([1, 2, 2, 3])]];
        break;
      default:
        fields = [ref, [4, r.below(16)], [8, this.word()], [8, this.word()]];
    }
    return [HC.HYPERVISOR_grant_table_op, [op, this.structure(vcpu, fields), r.below(20) === 0 ? this.small() : 1]];
  }

  /** struct vcpu_hvm_context that would work, and sometimes one field of it that doesn't. */
  private context(): Field[] {
    const r = this.random;
    const wide = r.below(2) === 0;
    const fields: Field[] = [
      [4, wide ? 1 : 0],
      [4, 0],
    ];
    if (wide) {
      for (let n = 0; n < 8; n++) fields.push([8, r.bits(64)]);
      fields.push([8, 0x1000], [8, 2], [8, 0x80000011], [8, r.below(PAGES) * 4096], [8, 0x20], [8, 0x500]);
    } else {
      for (let n = 0; n < 8; n++) fields.push([4, r.next()]);
      const paging = r.below(2);
      fields.push([4, 0x1000], [4, 2], [4, paging === 0 ? 0x11 : 0x80000011], [4, r.below(PAGES) * 4096]);
      fields.push([4, r.pick([0, 0x10, 0x20])], [4, 0], [8, r.pick([0, 0x800, 0x900, 0x100])]);
      for (let n = 0; n < 5; n++) fields.push([4, 0]);
      for (let n = 0; n < 5; n++) fields.push([4, 0xffffffff]);
      for (const ar of [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b]) fields.push([2, ar]);
    }
    if (r.below(3) === 0) {
      const [size] = fields[r.below(fields.length)]!;
      fields[r.below(fields.length)] = [size, r.bits(8 * size)];
    }
    return fields;
  }
}
