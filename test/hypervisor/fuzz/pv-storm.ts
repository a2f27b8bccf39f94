/**
 * A PV domain of 64 or 32 bits with two vcpus that run random code at the same time, in the kernel and in user mode: each writes to the page tables, lists
 * and descriptors that the other is using, by every kind of store, and makes hypercalls with arguments that are half right. Nothing waits for
 * anything, so that what is checked changes while it is used. A second domain shares the machine, grants a page, and must not be touched.
 */

import { createHash } from "node:crypto";
import { Arena, RIP, S_RSP } from "../../../cpu/arena.ts";
import type { Core } from "../../../cpu/core.ts";
import { type BlockRunner, Engine } from "../../../cpu/run.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { VPF_BLOCKED } from "../../../hypervisor/domain/vcpu.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { pvHypercallPage } from "../../../hypervisor/pv/hypercall-page.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import type { Random } from "../../support/random.ts";
import { MIB } from "../fake-machine.ts";
import { A, L1, L2, L3, L4, P, PvCaller, RO, RW, RWX, US } from "../pv/pv-caller.ts";
import { NUMBERS, RAX, RDI, RSP, STACK_STORES, STORES, type StormAbi, SYSTEM, stormAbi } from "./storm-code.ts";

const PAGES = 128;
/** Pages of the storming domain. */
const TABLES = { first: 16, count: 20 } as const;
const DATA = { first: 36, count: 40 } as const;
const CODE = [80, 84] as const;
const CODE_PAGES = 4;
const HANDLERS = [88, 89] as const;
const STACKS = [90, 91] as const;
const TRAPS = 92;
const LISTS = { first: 94, count: 6 } as const;
const USER_L4 = 100;
const CONTEXT = 101;
const HYPERCALLS = 103;
const NEXT = 104;
const DESCRIPTORS = { first: 105, count: 3 } as const;
const WINDOW = 200;
const WINDOWS = 200;
const SNIPPETS = 24;
/** Bytes in front of each. */
const PROLOGUE = 32;
const NOP = 0x90;

export class PvStorm {
  readonly hv: Hypervisor;
  readonly random: Random;
  domains = 0;
  crashes = 0;
  private readonly made: Set<number> = new Set();
  private guest: PvCaller | null = null;
  private readonly victim: PvCaller;
  private readonly secret: string;
  private readonly abi: StormAbi;

  constructor(
    random: Random,
    cpu: "intel" | "amd",
    runner?: (engine: Engine | null, core: Core) => BlockRunner,
    is32 = false,
  ) {
    this.random = random;
    this.abi = stormAbi(is32);
    let engine: Engine | null = null;
    this.hv = new Hypervisor({
      arena: new Arena(64 * MIB),
      engine: { run: (core, deadline) => engine!.run(core, deadline) },
      pcpus: 2,
      cpu,
    });
    engine = new Engine(this.hv.xenCore, runner);
    this.victim = new PvCaller({ hv: this.hv }, {}, 40);
    grantsOf(this.victim.domain)!.table.grow(1);
    for (const mfn of this.victim.mfns.slice(8))
      this.hv.memory.write(this.hv.memory.frame(mfn), new Uint8Array(4096).fill(mfn & 0xff));
    this.secret = this.hashVictim();
  }

  /** All of the other domain's memory. */
  private hashVictim(): string {
    const hash = createHash("sha256");
    for (const mfn of this.victim.mfns) hash.update(this.hv.memory.read(this.hv.memory.frame(mfn), 4096));
    return hash.digest("hex");
  }

  private renew(): void {
    this.finish();
    for (const [domid, domain] of this.hv.domains) if (domain.isDying) this.hv.domains.delete(domid);
    const p = new PvCaller({ hv: this.hv }, { maxPages: 200, type: this.abi.is32 ? "pv32" : "pv" }, PAGES);
    grantsOf(p.domain)!.table.grow(1);
    this.guest = p;
    this.domains++;
    const { memory } = this.hv;
    memory.write(memory.frame(p.mfn(HYPERCALLS)), pvHypercallPage(this.abi.is32));
    // In 32 bits it is nothing that could be a table.
    if (!this.abi.is32) p.put(USER_L4, 0, p.entry(L3, RWX));
    for (let n = 0; n < TABLES.count; n++) {
      const page = TABLES.first + n;
      p.protectAny(page);
      if (n < 16) p.ext(n & 3, p.mfn(page));
    }
    for (const page of [USER_L4, ...Array.from({ length: DESCRIPTORS.count }, (_, n) => DESCRIPTORS.first + n)])
      p.protectAny(page);
    if (!this.abi.is32) p.ext(15, p.mfn(USER_L4));
    const { long, load, kernelCs, kernelSs, context } = this.abi;
    const trap = (page: number, offset: number, n: number, flags: number, where: bigint): void => {
      this.putLong(page, offset, BigInt(n) | (BigInt(flags) << 8n) | (kernelCs << 16n));
      this.putLong(page, offset + long, where);
    };
    [0, 1].forEach((v) => {
      // mov $stack, %rsp; jmp *next
      const handler = [...load(RSP, p.at(STACKS[v]!, 4096)), ...load(RAX, p.at(NEXT, 8 * v)), 0xff, 0x20];
      memory.write(memory.frame(p.mfn(HANDLERS[v]!)), Uint8Array.from(handler));
      for (let n = 0; n < 20; n++) trap(TRAPS + v, 2 * long * n, n, this.random.below(8), p.at(HANDLERS[v]!));
      trap(TRAPS + v, 2 * long * 20, 0x80, 3, p.at(HANDLERS[v]!));
    });
    const put = (offset: number, value: bigint): void => this.putLong(CONTEXT, offset, value);
    put(512, 4n | 0x20n);
    [p.at(CODE[1]), kernelCs, 0x202n, p.at(STACKS[1], 4096), kernelSs].forEach((value, n) => {
      put(context.frame + long * n, value);
    });
    put(context.controls + long, this.abi.is32 ? 0n : BigInt(p.mfn(USER_L4)) << 12n);
    put(context.controls + 3 * long, BigInt(p.mfn(this.abi.is32 ? L3 : L4)) << 12n);
    put(context.stack, kernelSs);
    put(context.stack + long, p.at(STACKS[1], 4096));
    const handler = p.at(HANDLERS[1]);
    (this.abi.is32 ? [kernelCs, handler, kernelCs, handler] : [handler, handler, handler]).forEach((value, n) => {
      put(context.callbacks + long * n, value);
    });
    for (let n = 0; n < 256; n++) trap(CONTEXT, context.traps + 2 * long * n, n, 7, handler);
    if (p.call(24, 0, 1, p.at(CONTEXT)) !== 0) throw new Error("the second vcpu was refused");
    p.call(24, 1, 1, 0);
    this.setHandlers(0);
    p.vcpu.core.u64[RIP >>> 3] = p.at(CODE[0]);
    p.domain.unpause();
  }

  private setHandlers(v: number): void {
    const p = this.guest!;
    p.call(0, p.at(TRAPS + v));
    p.call(3, this.abi.kernelSs, p.at(STACKS[v]!, 4096));
    p.call(4, ...this.callbacks(v));
  }

  /** Arguments of set_callbacks. */
  private callbacks(v: number): bigint[] {
    const handler = this.guest!.at(HANDLERS[v]!);
    const { is32, kernelCs } = this.abi;
    return is32 ? [kernelCs, handler, kernelCs, handler] : [handler, handler, handler];
  }

  /** Writes a long at byte `offset` behind the begin of page `page`. */
  private putLong(page: number, offset: number, value: bigint): void {
    const { memory } = this.hv;
    const at = memory.frame(this.guest!.mfn(page + (offset >>> 12))) + (offset & 0xfff);
    if (this.abi.is32) memory.write32(at, Number(BigInt.asUintN(32, value)));
    else memory.write64(at, BigInt.asUintN(64, value));
  }

  // --- what the code is made of --------------------------------------------------------------------

  private page(): number {
    const r = this.random;
    return r.pick([
      DATA.first + r.below(DATA.count),
      DATA.first + r.below(DATA.count),
      TABLES.first + r.below(TABLES.count),
      TABLES.first + r.below(TABLES.count),
      DESCRIPTORS.first + r.below(DESCRIPTORS.count),
      LISTS.first + r.below(LISTS.count),
      r.pick([L4, L3, L2, L1, USER_L4]),
    ]);
  }

  private mfn(): bigint {
    const r = this.random;
    const p = this.guest!;
    switch (r.below(16)) {
      case 0:
        return BigInt(this.victim.mfn(r.below(40)));
      case 1:
        return BigInt(r.below(this.hv.heap.frames));
      case 2:
        return r.bits(r.pick([20, 40, 64]));
      case 3:
        return BigInt(p.domain.sharedInfoMfn);
      default:
        return BigInt(p.mfn(this.page()));
    }
  }

  private entry(): bigint {
    const r = this.random;
    const flags = r.pick([
      0,
      RWX,
      RWX,
      RWX,
      RO,
      RO,
      P,
      P | RW,
      P | US,
      P | A,
      RWX | 0x80,
      RWX | 0x100,
      RWX | 0xe00,
      RWX | 0x18,
    ]);
    const high = r.pick([0n, 0n, 0n, 0n, 1n << 63n, 1n << 52n, 0x7ffn << 52n]);
    return BigInt.asUintN(64, (this.mfn() << 12n) | BigInt(flags) | high);
  }

  /** Where entries and lists are, mostly. */
  private address(): bigint {
    const r = this.random;
    const p = this.guest!;
    switch (r.below(16)) {
      case 0:
        return r.pick(this.abi.edges);
      case 1:
        return r.bits(64);
      case 2:
      case 3:
      case 4:
      case 5:
        return p.at(L1, (WINDOW + r.below(WINDOWS)) * 8);
      case 6:
      case 7:
        return p.at(WINDOW + r.below(WINDOWS), r.below(4096));
      case 8:
        return p.at(this.page(), 4096 - r.below(16));
      case 9:
        return p.at(LISTS.first + r.below(LISTS.count), 8 * r.below(512));
      case 10:
        return p.at(TABLES.first + r.below(TABLES.count), 8 * r.below(8));
      default:
        return p.at(this.page(), r.below(4) === 0 ? r.below(4096) : 8 * r.below(512));
    }
  }

  private value(): bigint {
    const r = this.random;
    switch (r.below(8)) {
      case 0:
        return r.bits(64);
      case 1:
        return BigInt(r.below(64));
      case 2:
        return this.address();
      case 3:
        return this.mfn() << 12n;
      case 4:
        return r.pick([
          0xe008n,
          this.abi.kernelCs,
          this.abi.kernelSs,
          7n,
          15n,
          0xfff7n,
          0x8000_0000n,
          0x8000_0001n,
          0x202n,
          0x7ff0n,
          0x3302n,
        ]);
      default:
        return this.entry();
    }
  }

  private count(): bigint {
    const r = this.random;
    return r.pick([1n, 1n, 2n, 3n, 17n, 300n, 5000n, 0x8000_0000n, 0x8000_0003n, 0xffff_ffffn, BigInt(r.below(600))]);
  }

  /** Arguments of hypercall `number`, half right. */
  private arguments(number: number): bigint[] {
    const r = this.random;
    const list = this.guest!.at(LISTS.first + r.below(LISTS.count), r.pick([0, 0, 0, 64, 4096 - 24]));
    const domid = BigInt(
      r.pick([0x7ff0, 0x7ff0, 0x7ff0, 0x7ff1, 0x7ff2, 0, this.victim.domain.domid, this.guest!.domain.domid]),
    );
    const shapes: Record<number, () => bigint[]> = {
      1: () => [list, this.count(), r.below(3) === 0 ? this.address() : 0n, domid],
      26: () => [list, this.count(), r.below(3) === 0 ? this.address() : 0n, domid],
      14: () => [this.address(), ...this.wide(this.entry()), r.pick([0n, 1n, 2n, 5n, 6n, list | 1n, list | 2n])],
      22: () => [this.address(), ...this.wide(this.entry()), r.pick([0n, 1n, 2n, 5n, 6n]), domid],
      13: () => [r.below(16) === 0 ? list : list & ~0xfffn, BigInt(r.below(40))],
      2: () => [list, BigInt(r.pick([0, 1, 512, 513, 7168, 7169, 8192]))],
      10: () => [...this.wide((this.mfn() << 12n) | BigInt(8 * r.below(512))), ...this.wide(r.bits(64))],
      12: () => [BigInt(r.below(30)) | (r.below(8) === 0 ? r.bits(32) : 0n), list],
      20: () => [BigInt(r.below(14)), list, BigInt(r.below(4))],
      24: () => [
        BigInt(r.pick([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])),
        BigInt(r.pick([0, 1, 1, 2, 33, 0x7fff_ffff])),
        list,
      ],
      25: () => [BigInt(r.below(5)), this.value()],
      8: () => [BigInt(r.below(9)), this.value()],
      3: () => [this.value(), this.address()],
    };
    return (
      shapes[number] ?? ((): bigint[] => Array.from({ length: 6 }, () => (r.below(3) === 0 ? list : this.value())))
    )();
  }

  /** A 64-bit argument: two of a 32-bit guest's. */
  private wide(value: bigint): bigint[] {
    return this.abi.is32 ? [value & 0xffff_ffffn, (value >> 32n) & 0xffff_ffffn] : [value];
  }

  /** Requests, operations and calls for lists. */
  private fillLists(): void {
    const r = this.random;
    const p = this.guest!;
    for (let n = 0; n < LISTS.count; n++) {
      const words: bigint[] = [];
      const kind = r.below(5);
      while (words.length < 504) {
        if (kind === 0)
          words.push(
            (this.mfn() << 12n) +
              BigInt(
                r.pick([0, 0, 0, 1, 2, 3, 4, 7]) + 8 * (r.below(2) === 0 ? WINDOW + r.below(WINDOWS) : r.below(512)),
              ),
            this.entry(),
          );
        else if (kind === 1)
          words.push(
            BigInt(r.below(21)),
            r.below(3) === 0 ? this.address() : this.mfn(),
            r.below(2) === 0 ? this.mfn() : BigInt(r.below(9000)),
          );
        else if (kind === 2) {
          const number = r.below(24) === 0 ? r.pick([13, 23, 29, 56, 99]) : r.pick(NUMBERS);
          const args = number === 29 ? [0n] : this.arguments(number);
          words.push(BigInt(number), 0n, ...[0, 1, 2, 3, 4, 5].map((k) => args[k] ?? 0n));
        } else if (kind === 3)
          words.push(
            this.address(),
            BigInt(r.pick([1, 4, 9, 0x7ff0])) | (BigInt(r.below(40)) << 32n),
            BigInt(this.victim.domain.domid),
            r.bits(40),
          );
        else words.push(this.value());
      }
      // Requests of mmu_update are of 64 bits for all.
      words.slice(0, 512).forEach((word, k) => {
        if (kind === 0) p.put(LISTS.first + n, k, BigInt.asUintN(64, word));
        else this.putLong(LISTS.first + n, this.abi.long * k, word);
      });
    }
  }

  /** Code of vcpu `v`, a snippet after the other; the last goes back to the first. */
  private fillCode(v: number): void {
    const p = this.guest!;
    const { load, storeNext } = this.abi;
    const bytes: number[] = [];
    const first = p.at(CODE[v]!);
    for (let n = 0; n <= SNIPPETS; n++) {
      const isLast = n === SNIPPETS;
      const body = isLast ? [] : this.snippet(v);
      // A handler goes on behind the UD2 that ends this snippet.
      const target = isLast ? first : first + BigInt(bytes.length + PROLOGUE + body.length + 2);
      const head = [...load(RSP, p.at(STACKS[v]!, 4096)), ...load(RAX, target), ...load(RDI, p.at(NEXT, 8 * v))];
      while (head.length < PROLOGUE) head.push(NOP);
      bytes.push(...head, ...(isLast ? [...storeNext, 0xff, 0x27] : body));
      if (!isLast) bytes.push(0x0f, 0x0b);
      if (bytes.length > CODE_PAGES * 4096 - 400 && !isLast) n = SNIPPETS - 1;
    }
    for (let at = 0; at < bytes.length; at += 4096)
      this.hv.memory.write(
        this.hv.memory.frame(p.mfn(CODE[v]! + at / 4096)),
        Uint8Array.from(bytes.slice(at, at + 4096)),
      );
  }

  private snippet(v: number): number[] {
    const r = this.random;
    const p = this.guest!;
    const { load, storeNext: next, kernelSs } = this.abi;
    const restore = [
      ...this.hypercall(0, [p.at(TRAPS + v)]),
      ...this.hypercall(3, [kernelSs, p.at(STACKS[v]!, 4096)]),
      ...this.hypercall(4, this.callbacks(v)),
    ];
    switch (r.below(12)) {
      case 0:
        return [...next, ...restore];
      case 1:
        return [
          ...next,
          ...load(RAX, this.value()),
          ...load(1, BigInt(r.pick([0x10, 0x1b, 0x1d9, 0xc0000100, 0xc0000102]))),
          ...load(2, this.value()),
          ...r.pick(SYSTEM),
        ];
      case 2:
        // Into user mode, where the same things are tried.
        return [
          ...next,
          ...this.toUser(r.below(2) === 0 ? this.store() : [...load(RAX, this.value()), ...r.pick(SYSTEM)]),
        ];
      case 3:
        return [...next, ...this.hypercall(29, [BigInt(r.pick([0, 0, 3, 6]))])];
      case 4:
      case 5:
      case 6:
      case 7:
        return [...next, ...this.store(), ...this.store()];
      default: {
        const number = r.below(400) === 0 ? r.pick([0, 3, 4, 23, 30]) : r.pick(NUMBERS);
        return [...next, ...this.hypercall(number, this.arguments(number)), ...(r.below(2) === 0 ? this.store() : [])];
      }
    }
  }

  private store(): number[] {
    const r = this.random;
    const { load } = this.abi;
    return [
      ...load(RAX, this.value()),
      ...load(1, this.value()),
      ...load(2, this.entry()),
      ...load(3, this.entry()),
      ...load(6, this.address()),
      ...load(RDI, this.address()),
      ...r.pick(r.below(300) === 0 ? STACK_STORES : STORES),
    ];
  }

  private hypercall(number: number, args: readonly bigint[]): number[] {
    const { load, arguments: registers, hypercall } = this.abi;
    const loads = registers.flatMap((reg, n) => load(reg, args[n] ?? 0n));
    return [...loads, ...load(RAX, BigInt(number)), ...hypercall];
  }

  /** HYPERVISOR_iret to the code behind it; the frame is pushed. */
  private toUser(code: readonly number[]): number[] {
    const r = this.random;
    const p = this.guest!;
    const { is32, load, hypercall, pushBehind, userCs, userSs } = this.abi;
    const push = (value: bigint): number[] => [...load(RAX, value), 0x50];
    const flags = r.pick([0x202n, 0x202n, 2n, 0x302n, 0x40202n, 0x4202n, 0x3202n, r.bits(22)]);
    // Ring 0 ends a 32-bit domain at once.
    const others = is32
      ? [0xe019n, 0xe023n, 0xe031n, 7n, r.bits(16) | 1n]
      : [0xe023n, 0xe030n, 0xe008n, 7n, 0n, r.bits(16)];
    const cs = r.pick([userCs, userCs, userCs, ...others]);
    // Flags, RCX, R11, RAX; a 32-bit guest's frame begins with EAX.
    const rest = is32 ? [0x50] : [...push(BigInt(r.below(2)) << 8n), 0x50, 0x50, 0x50];
    const after = [...rest, ...load(RAX, 23n), ...hypercall];
    const start = [...push(userSs), ...push(p.at(DATA.first + 1, 256)), ...push(flags), ...push(cs)];
    // RIP is behind the hypercall: call +0, and what is to be added.
    const rip = [0xe8, 0, 0, 0, 0, ...pushBehind(after.length)];
    return [...start, ...rip, ...after, ...code];
  }

  // --- running -------------------------------------------------------------------------------------

  /** One more program on both vcpus. */
  round(cycles: number): void {
    if (this.guest === null || this.guest.domain.isShutDown || this.domains === 0 || this.random.below(40) === 0)
      this.renew();
    const p = this.guest!;
    const { memory } = this.hv;
    this.fillLists();
    for (const v of [0, 1]) {
      this.fillCode(v);
      memory.write64(memory.frame(p.mfn(NEXT)) + 8 * v, p.at(CODE[v]!));
      const vcpu = p.domain.vcpus[v]!;
      // Whoever has lost his way begins again.
      if (vcpu.isInitialised && vcpu.pv!.kernelMode && this.random.below(3) === 0) {
        vcpu.core.activate();
        vcpu.core.u64[RIP >>> 3] = p.at(CODE[v]!);
        vcpu.core.setSlot(S_RSP, p.at(STACKS[v]!, 4096));
      }
    }
    const step = cycles / 8;
    for (let n = 0; n < 8 && !p.domain.isShutDown; n++) {
      runMachine(this.hv, this.hv.turn.cycle + step, () => p.domain.isShutDown);
      for (const vcpu of p.domain.vcpus) {
        vcpu.pauseFlags &= VPF_BLOCKED;
        vcpu.unblock();
        vcpu.wake();
      }
    }
    p.domain.hypercallCounts.forEach((count, number) => {
      if (count > 0) this.made.add(number);
    });
    if (p.domain.isShutDown) this.crashes++;
  }

  /** What is wrong; nothing if all is well. */
  audit(): string[] {
    const found = auditMemory(this.hv);
    if (this.hashVictim() !== this.secret) found.push("the other domain's memory has changed");
    return found;
  }

  /** The same in all engines. */
  state(): unknown[] {
    const hash = createHash("sha256");
    for (const mfn of this.guest?.mfns ?? [])
      if (this.hv.heap.ownerOf(mfn) === this.guest!.domain.domid)
        hash.update(this.hv.memory.read(this.hv.memory.frame(mfn), 4096));
    const counts = this.guest === null ? [] : [...this.guest.domain.hypercallCounts];
    return [this.hv.turn.cycle, this.domains, this.crashes, hash.digest("hex"), counts];
  }

  /** Numbers of hypercalls that were made. */
  get kinds(): number {
    return this.made.size;
  }

  finish(): void {
    if (this.guest !== null) destroyDomain(this.guest.domain);
    this.guest = null;
  }
}
