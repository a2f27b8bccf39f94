/**
 * A 64-bit PV domain with two vcpus that run random code at the same time, in the kernel and in user mode: each writes to the page tables, lists
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

const le = (value: bigint, size: number): number[] =>
  Array.from({ length: size }, (_, n) => Number((BigInt.asUintN(64, value) >> BigInt(8 * n)) & 0xffn));
/** mov $value, %reg */
const load = (reg: number, value: bigint): number[] => [reg < 8 ? 0x48 : 0x49, 0xb8 | (reg & 7), ...le(value, 8)];
const RAX = 0;
const RSP = 4;
const RDI = 7;
/** RDI RSI RDX R10 R8 R9 */
const ARGUMENTS = [7, 6, 2, 10, 8, 9] as const;
const SYSCALL = [0x0f, 0x05] as const;

/** Stores and read-modify-writes at (%rdi), of RAX, RDX, RCX, RBX, XMM0. */
const STORES: readonly (readonly number[])[] = [
  [0x88, 0x07],
  [0x66, 0x89, 0x07],
  [0x89, 0x07],
  [0x89, 0x47, 0x04],
  [0x48, 0x89, 0x07],
  [0x48, 0x89, 0x47, 0x03],
  [0x48, 0x87, 0x07],
  [0xf0, 0x0f, 0xc1, 0x07],
  [0xf0, 0x48, 0x0f, 0xc1, 0x07],
  [0xf0, 0x48, 0x0f, 0xb1, 0x17],
  [0x48, 0x8b, 0x07, 0xf0, 0x48, 0x0f, 0xb1, 0x17],
  [0x8b, 0x07, 0x8b, 0x57, 0x04, 0xf0, 0x0f, 0xc7, 0x0f],
  [0x48, 0x8b, 0x07, 0x48, 0x8b, 0x57, 0x08, 0xf0, 0x48, 0x0f, 0xc7, 0x0f],
  [0xf0, 0x48, 0x21, 0x07],
  [0xf0, 0x48, 0x09, 0x07],
  [0x48, 0x31, 0x07],
  [0x48, 0x83, 0x27, 0xfd],
  [0x48, 0x83, 0x0f, 0x02],
  [0x48, 0x83, 0x27, 0xfe],
  [0x48, 0x83, 0x0f, 0x01],
  [0x80, 0x0f, 0x80],
  [0x48, 0xff, 0x07],
  [0x48, 0xf7, 0x17],
  [0x48, 0xf7, 0x1f],
  [0xf0, 0x48, 0x0f, 0xba, 0x2f, 0x01],
  [0xf0, 0x48, 0x0f, 0xba, 0x37, 0x00],
  [0xf0, 0x48, 0x0f, 0xba, 0x3f, 0x3f],
  [0x48, 0xab],
  [0xab, 0xab],
  [0xaa],
  [0xb9, 0x04, 0, 0, 0, 0xf3, 0x48, 0xab],
  [0xb9, 0x04, 0, 0, 0, 0xf3, 0x48, 0xa5],
  [0x48, 0xa5],
  [0x0f, 0x90, 0x07],
  [0x48, 0xd1, 0x27],
  [0x48, 0xc1, 0x0f, 0x0c],
  [0x48, 0x0f, 0xa4, 0x17, 0x0c],
  [0x48, 0x0f, 0xc3, 0x07],
  [0x48, 0x0f, 0x38, 0xf1, 0x07],
  [0xff, 0x37, 0x8f, 0x07],
  [0x8f, 0x07],
  [0x0f, 0x11, 0x07],
  [0x0f, 0x29, 0x07],
  [0x66, 0x0f, 0xd6, 0x07],
  [0x0f, 0x7f, 0x07],
  [0xdd, 0x1f],
  [0xdb, 0x3f],
  [0xdf, 0x3f],
  [0xd9, 0x37],
  [0x0f, 0xae, 0x07],
  [0x0f, 0xae, 0x1f],
  [0x8c, 0x07],
  [0x0f, 0x01, 0x07],
  [0x0f, 0x00, 0x0f],
  [0x48, 0x8b, 0x07],
  [0x48, 0x8b, 0x47, 0xfd],
  [0x0f, 0x10, 0x07],
  [0xff, 0x27],
  [0xff, 0x2f],
  [0x48, 0xff, 0x2f],
  [0x0f, 0xb2, 0x07],
  [0x0f, 0xae, 0x3f],
  [0x0f, 0x18, 0x0f],
  [0x0f, 0x01, 0x3f],
];

/** The same with the stack there: the next fault often ends the domain. */
const STACK_STORES: readonly (readonly number[])[] = [
  [0x48, 0x89, 0xfc, 0x50],
  [0x48, 0x89, 0xfc, 0x48, 0x83, 0xc4, 0x08, 0x50],
  [0x48, 0x89, 0xfc, 0x9c],
  [0x48, 0x89, 0xfc, 0xe8, 0, 0, 0, 0],
  [0x48, 0x89, 0xfc, 0xc8, 0x20, 0, 0x02],
];

/** Instructions of the system, of RAX, RCX and RDX. */
const SYSTEM: readonly (readonly number[])[] = [
  [0x0f, 0x22, 0xd8],
  [0x0f, 0x20, 0xd8],
  [0x0f, 0x22, 0xe0],
  [0x0f, 0x20, 0xe0],
  [0x0f, 0x22, 0xc0],
  [0x0f, 0x20, 0xc0],
  [0x0f, 0x06],
  [0x0f, 0x23, 0xf8],
  [0x0f, 0x23, 0xc0],
  [0x0f, 0x21, 0xf0],
  [0x8e, 0xc0],
  [0x8e, 0xe8],
  [0x8e, 0xe0],
  [0x8e, 0xd0],
  [0x50, 0x9d],
  [0x0f, 0x30],
  [0x0f, 0x32],
  [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2],
  [0x0f, 0xa2],
  [0x0f, 0x01, 0xd1],
  [0x0f, 0x01, 0xd0],
  [0x0f, 0x01, 0xf8],
  [0x48, 0x0f, 0x07],
  [0xcf],
  [0x48, 0xcf],
  [0x48, 0xcb],
  [0x0f, 0x34],
  [0x0f, 0x35],
  [0xcd, 0x80],
  [0xcd, 0x82],
  [0xcd, 0x20],
  [0xcc],
  [0xf1],
  [0xfb],
  [0xfa],
  [0xec],
  [0xef],
  [0x6d],
  [0xf3, 0x6e],
  [0xf3, 0x48, 0x0f, 0xae, 0xd8],
  [0xf3, 0x48, 0x0f, 0xae, 0xd0],
  [0x0f, 0x00, 0xd8],
  [0x0f, 0x00, 0xd0],
  [0x0f, 0x02, 0xc0],
  [0x0f, 0x03, 0xc0],
  [0x0f, 0x00, 0xe0],
];

/** Hypercalls a snippet may make, the interesting ones more often. Never 29, which ends the domain: by its own pieces. */
const NUMBERS = [
  ...[2, 5, 8, 9, 10, 12, 13, 17, 20, 21, 22, 24, 25, 28, 32, 33, 34, 18, 35, 40],
  ...[1, 1, 1, 1, 26, 26, 26, 26, 14, 14, 14, 14, 13, 13, 12, 20, 24],
] as const;

export class PvStorm {
  readonly hv: Hypervisor;
  readonly random: Random;
  domains = 0;
  crashes = 0;
  private readonly made: Set<number> = new Set();
  private guest: PvCaller | null = null;
  private readonly victim: PvCaller;
  private readonly secret: string;

  constructor(random: Random, cpu: "intel" | "amd", runner?: (engine: Engine | null, core: Core) => BlockRunner) {
    this.random = random;
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
    const p = new PvCaller({ hv: this.hv }, { maxPages: 200 }, PAGES);
    grantsOf(p.domain)!.table.grow(1);
    this.guest = p;
    this.domains++;
    const { memory } = this.hv;
    memory.write(memory.frame(p.mfn(HYPERCALLS)), pvHypercallPage(false));
    p.put(USER_L4, 0, p.entry(L3, RWX));
    for (let n = 0; n < TABLES.count; n++) {
      const page = TABLES.first + n;
      p.protectAny(page);
      if (n < 16) p.ext(n & 3, p.mfn(page));
    }
    for (const page of [USER_L4, ...Array.from({ length: DESCRIPTORS.count }, (_, n) => DESCRIPTORS.first + n)])
      p.protectAny(page);
    p.ext(15, p.mfn(USER_L4));
    [0, 1].forEach((v) => {
      // mov $stack, %rsp; jmp *next
      const handler = [...load(RSP, p.at(STACKS[v]!, 4096)), ...load(RAX, p.at(NEXT, 8 * v)), 0xff, 0x20];
      memory.write(memory.frame(p.mfn(HANDLERS[v]!)), Uint8Array.from(handler));
      const traps = memory.frame(p.mfn(TRAPS + v));
      for (let n = 0; n < 20; n++) {
        memory.write64(traps + 16 * n, BigInt(n) | (BigInt(this.random.below(8)) << 8n) | (0xe033n << 16n));
        memory.write64(traps + 16 * n + 8, p.at(HANDLERS[v]!));
      }
      memory.write64(traps + 16 * 20, 0x80n | (3n << 8n) | (0xe033n << 16n));
      memory.write64(traps + 16 * 20 + 8, p.at(HANDLERS[v]!));
    });
    const put = (offset: number, value: bigint): void => p.put(CONTEXT + (offset >>> 12), (offset & 0xfff) / 8, value);
    put(512, 4n | 0x20n);
    put(520 + 128, p.at(CODE[1]));
    put(520 + 136, 0xe033n);
    put(520 + 144, 0x202n);
    put(520 + 152, p.at(STACKS[1], 4096));
    put(520 + 160, 0xe02bn);
    put(4984 + 24, BigInt(p.mfn(L4)) << 12n);
    put(4984 + 8, BigInt(p.mfn(USER_L4)) << 12n);
    put(4968, 0xe02bn);
    put(4976, p.at(STACKS[1], 4096));
    for (let n = 0; n < 3; n++) put(5112 + 8 * n, p.at(HANDLERS[1]));
    for (let n = 0; n < 256; n++) {
      put(720 + 16 * n, BigInt(n) | (7n << 8n) | (0xe033n << 16n));
      put(720 + 16 * n + 8, p.at(HANDLERS[1]));
    }
    if (p.call(24, 0, 1, p.at(CONTEXT)) !== 0) throw new Error("the second vcpu was refused");
    p.call(24, 1, 1, 0);
    this.setHandlers(0);
    p.vcpu.core.u64[RIP >>> 3] = p.at(CODE[0]);
    p.domain.unpause();
  }

  private setHandlers(v: number): void {
    const p = this.guest!;
    p.call(0, p.at(TRAPS + v));
    p.call(3, 0xe02b, p.at(STACKS[v]!, 4096));
    p.call(4, p.at(HANDLERS[v]!), p.at(HANDLERS[v]!), p.at(HANDLERS[v]!));
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
        return r.pick([
          0n,
          1n << 63n,
          0x7fff_ffff_fff8n,
          0xffff_8000_0000_0000n,
          0xffff_8200_0000_0000n,
          0xffff_8800_0000_0000n,
          0xffff_ffff_ffff_fffcn,
        ]);
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
          0xe02bn,
          0xe033n,
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
      14: () => [this.address(), this.entry(), r.pick([0n, 1n, 2n, 5n, 6n, list | 1n, list | 2n])],
      22: () => [this.address(), this.entry(), r.pick([0n, 1n, 2n, 5n, 6n]), domid],
      13: () => [r.below(16) === 0 ? list : list & ~0xfffn, BigInt(r.below(40))],
      2: () => [list, BigInt(r.pick([0, 1, 512, 513, 7168, 7169, 8192]))],
      10: () => [(this.mfn() << 12n) | BigInt(8 * r.below(512)), r.bits(64)],
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
      words.slice(0, 512).forEach((word, k) => {
        p.put(LISTS.first + n, k, BigInt.asUintN(64, word));
      });
    }
  }

  /** Code of vcpu `v`, a snippet after the other; the last goes back to the first. */
  private fillCode(v: number): void {
    const p = this.guest!;
    const bytes: number[] = [];
    const first = p.at(CODE[v]!);
    for (let n = 0; n <= SNIPPETS; n++) {
      const isLast = n === SNIPPETS;
      const body = isLast ? [] : this.snippet(v);
      // A handler goes on behind the UD2 that ends this snippet.
      const prologue = 32;
      const target = isLast ? first : first + BigInt(bytes.length + prologue + body.length + 2);
      const head = [
        ...load(RSP, p.at(STACKS[v]!, 4096)),
        ...load(RAX, target),
        ...load(RDI, p.at(NEXT, 8 * v)),
        0x90,
        0x90,
      ];
      bytes.push(...head, ...(isLast ? [0x48, 0x89, 0x07, 0xff, 0x27] : body));
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
    const next = [0x48, 0x89, 0x07];
    const restore = [
      ...this.hypercall(0, [p.at(TRAPS + v)]),
      ...this.hypercall(3, [0xe02bn, p.at(STACKS[v]!, 4096)]),
      ...this.hypercall(4, [p.at(HANDLERS[v]!), p.at(HANDLERS[v]!), p.at(HANDLERS[v]!)]),
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
    const loads = ARGUMENTS.flatMap((reg, n) => load(reg, args[n] ?? 0n));
    return [...loads, ...load(RAX, BigInt(number)), ...SYSCALL];
  }

  /** HYPERVISOR_iret to the code behind it; the frame is pushed. */
  private toUser(code: readonly number[]): number[] {
    const r = this.random;
    const p = this.guest!;
    const push = (value: bigint): number[] => [...load(RAX, value), 0x50];
    const flags = r.pick([0x202n, 0x202n, 2n, 0x302n, 0x40202n, 0x4202n, 0x3202n, r.bits(22)]);
    const cs = r.pick([0xe033n, 0xe033n, 0xe033n, 0xe023n, 0xe030n, 0xe008n, 7n, 0n, r.bits(16)]);
    const after = [...push(BigInt(r.below(2)) << 8n), 0x50, 0x50, 0x50, ...load(RAX, 23n), ...SYSCALL];
    const start = [...push(0xe02bn), ...push(p.at(DATA.first + 1, 256)), ...push(flags), ...push(cs)];
    // RIP is behind the SYSCALL. call +0; pop %rax; add $distance, %rax; push %rax
    const rip = [0xe8, 0, 0, 0, 0, 0x58, 0x48, 0x83, 0xc0, 6 + after.length, 0x50];
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
