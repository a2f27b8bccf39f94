/**
 * A PV domain whose hypercalls are executed by its own kernel (guests/fuzz): the test writes a program of steps into its memory, and the
 * engine runs it. Around a hypercall there are other steps at random (guest-steps.ts): instructions that fault or that Xen emulates,
 * stores into page tables, user mode, selectors of its tables, returns with bad frames.
 */
import { readFileSync } from "node:fs";
import { RIP, S_RSP } from "../../../cpu/arena.ts";
import { EFAULT } from "../../../hypervisor/abi/errno.ts";
import {
  HYPERVISOR_grant_table_op,
  HYPERVISOR_memory_op,
  HYPERVISOR_mmu_update,
  HYPERVISOR_mmuext_op,
  HYPERVISOR_multicall,
  HYPERVISOR_sched_op,
  HYPERVISOR_sched_op_compat,
  HYPERVISOR_vm_assist,
  HYPERVISOR_xen_version,
  NR_HYPERCALLS,
} from "../../../hypervisor/abi/hypercall.ts";
import type { DomainOptions } from "../../../hypervisor/domain/domain.ts";
import { VPF_BLOCKED } from "../../../hypervisor/domain/vcpu.ts";
import type { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { pvHypercallPage } from "../../../hypervisor/pv/hypercall-page.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import type { Random } from "../../support/random.ts";
import { L3, PvCaller, RO, RWX } from "../pv/pv-caller.ts";
import { SUB_OPERATIONS } from "./coverage.ts";
import { besides } from "./guest-steps.ts";

/** Pages of the kernel: code, hypercalls, data, stack, and what the test gives it (guests/fuzz/fuzz.h). */
const IMAGE = 100;
const HYPERCALLS = 101;
const DATA = 102;
const STACK_TOP = 104;
const USER_STACK = 104;
const USER_L4 = 105;
const SNIPPETS = 106;
const PROGRAM = 107;
const SECOND = 108;
const MULTICALL = 109;
/** Entries of the first L1: one that shows shared_info, and the one that the second vcpu changes. */
const SHARED = 130;
const CHANGING = 131;

/** Offsets in the image. */
const START = 0;
const AT = { event: 0x20, failsafe: 0x30, syscall: 0x40, nmi: 0x50, call: 0x60, page: 0x70, user: 0x90 } as const;
const VECTORS = 0xa0;
const TRAPS = 0x100;
const STEP_BYTES = 128;
const STEP_RESULT = 104;
const STEP_VECTOR = 112;
const SNIPPET_BYTES = 64;
/** How a step ended that no exception ended. */
const DONE = 256;
const UD = 6;

const KERNEL = { 64: [0xe030, 0xe02b], 32: [0xe019, 0xe021] } as const;
const USER = { 64: [0xe033, 0xe02b], 32: [0xe02b, 0xe033] } as const;
const NMI = 2;
const VGCF_IN_SYSCALL = 0x100n;

/** Cycles for a program: garbage may ask for the longest lists. */
const CYCLES = 2_000_000;
const PIECE = 100_000;
/** Hypercalls after which handlers, stacks and tables have to be set again. */
const SETTINGS: ReadonlySet<number> = new Set([0, 2, 3, 4, 13, 25, 26, 28, 30]);

/** A place to go to, by HYPERVISOR_iret. */
export interface Step {
  /** Instructions to be executed there; UD2 is put behind them. */
  readonly code?: readonly number[];
  readonly rip?: bigint;
  readonly user?: boolean;
  readonly cs?: number;
  readonly ss?: number;
  readonly rflags?: number;
  readonly rsp?: bigint;
  /** iret_context.flags. */
  readonly flags?: bigint;
  readonly rax?: bigint;
  readonly args?: readonly bigint[];
}

/** Linear addresses of what the kernel wants to be called. */
export interface Handlers {
  readonly event: bigint;
  readonly failsafe: bigint;
  readonly syscall: bigint;
  readonly nmi: bigint;
  readonly stack: bigint;
  readonly trap: (vector: number) => bigint;
}

interface Ending {
  readonly result: number;
  /** -1: it was not reached. */
  readonly vector: number;
}

export class GuestCaller extends PvCaller {
  /** Successes by hypercall, and operation of those in SUB_OPERATIONS: "12:0". */
  readonly reached: Map<string, number>;
  /** Command of the list that the next mmu_update or mmuext_op names. */
  private inner = 0;
  /** All steps, by the vector they ended with. */
  readonly endings: Map<number, number> = new Map();
  private readonly random: Random;
  /** The kernel makes its hypercalls itself. */
  private runs = false;
  private settled = false;
  /** The domain is shut down, or its kernel hangs. */
  isOver = false;
  /** An argument of every call is sometimes anything. */
  garbage: Random | null = null;
  readonly ports: number[] = [];
  /** Grants that are mapped: handle, where, a frame. */
  readonly handles: [handle: number, where: bigint, mfn: number][] = [];

  constructor(
    hv: Hypervisor,
    options: Partial<DomainOptions>,
    pages: number,
    random: Random,
    reached: Map<string, number>,
  ) {
    super({ hv }, options, pages);
    this.reached = reached;
    this.random = random;
    const image = readFileSync(new URL(`../../../guests/fuzz/fuzz${this.bits}.bin`, import.meta.url));
    const { memory } = hv;
    for (let n = 0; n * 4096 < image.length; n++)
      memory.write(memory.frame(this.mfn(IMAGE + n)), image.subarray(n * 4096, (n + 1) * 4096));
    memory.write(memory.frame(this.mfn(HYPERCALLS)), pvHypercallPage(this.bits === 32));
    this.mapAt(SHARED, (BigInt(this.domain.sharedInfoMfn) << 12n) | BigInt(RWX));
    if (this.bits === 64) this.put(USER_L4, 0, this.entry(L3, RWX));
    this.mapAt(USER_L4, this.entry(USER_L4, RO));
    memory.write(memory.frame(this.mfn(SECOND)), Uint8Array.from(this.secondCode()));
    this.vcpu.pauseFlags |= VPF_BLOCKED;
    this.domain.unpause();
    this.runs = true;
  }

  /** Where a second vcpu starts. */
  get second(): bigint {
    return this.at(SECOND);
  }

  /** Maps the page of CHANGING, unmaps it, yields, for ever: it needs no memory. */
  private secondCode(): number[] {
    const le = (value: bigint, size: number): number[] =>
      Array.from({ length: size }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn));
    const is32 = this.bits === 32;
    const where = this.at(CHANGING);
    const map = (entry: bigint): number[] =>
      is32
        ? [
            0xb8,
            14,
            0,
            0,
            0,
            0xbb,
            ...le(where, 4),
            0xb9,
            ...le(entry, 4),
            0xba,
            ...le(entry >> 32n, 4),
            0x31,
            0xf6,
            0xcd,
            0x82,
          ]
        : [0xb8, 14, 0, 0, 0, 0x48, 0xbf, ...le(where, 8), 0x48, 0xbe, ...le(entry, 8), 0x31, 0xd2, 0x0f, 0x05];
    const rest = is32 ? [0xb8, 29, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x82] : [0xb8, 29, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    const code = [...map(this.entry(USER_STACK, RWX)), ...map(0n), ...rest];
    return [...code, 0xeb, (-code.length - 2) & 0xff];
  }

  get bits(): 64 | 32 {
    return this.domain.pv!.is32bit ? 32 : 64;
  }

  get handlers(): Handlers {
    const at = (offset: number): bigint => this.at(IMAGE, offset);
    const trap = (vector: number): bigint => (vector === NMI ? at(AT.nmi) : at(VECTORS + 32 * (vector & 31)));
    return {
      event: at(AT.event),
      failsafe: at(AT.failsafe),
      syscall: at(AT.syscall),
      nmi: at(AT.nmi),
      stack: this.at(STACK_TOP),
      trap,
    };
  }

  override call(number: number, ...values: (bigint | number)[]): number {
    if (!this.runs) return super.call(number, ...values);
    const args = values.map((value) => BigInt.asUintN(this.bits, BigInt(value)));
    if (this.garbage !== null && this.garbage.below(3) === 0)
      args[this.garbage.below(4)] = this.garbage.bits(this.bits);
    for (let n = 0; n < args.length; n++) args[n] ??= 0n;
    const before = this.random.below(4) === 0 ? besides(this, this.random) : [];
    const after = this.random.below(4) === 0 ? besides(this, this.random) : [];
    const settings = this.settled ? [] : this.settings();
    const isNested = number !== HYPERVISOR_multicall && this.random.below(5) === 0;
    const call = isNested ? this.multicall(number, args) : this.hypercall(number, args);
    const counts = this.domain.hypercallCounts;
    const made = counts[Math.min(number, NR_HYPERCALLS)]!;
    const endings = this.run([...settings, ...before, call, ...after]);
    this.settled = !SETTINGS.has(number);
    const { result: answer, vector } = endings[settings.length + before.length]!;
    const result = isNested && answer === 0 ? this.nestedResult() : answer;
    if (this.domain.isShutDown) this.isOver = true;
    const mayShutDown = number === HYPERVISOR_sched_op || number === HYPERVISOR_sched_op_compat;
    if (this.domain.isShutDown && mayShutDown && args[0] === 2n) this.note(number, args, 0);
    if (this.isOver) return vector < 0 && !mayShutDown ? -1 : 0;
    // A kernel that has written into its own program, or its hypercall page, say.
    if ((vector !== DONE && vector !== UD) || counts[Math.min(number, NR_HYPERCALLS)] === made) return -EFAULT;
    this.note(number, args, result);
    return result;
  }

  override ext(command: number, ...rest: [arg1?: bigint | number, arg2?: bigint | number, foreign?: number]): number {
    this.inner = command;
    return super.ext(command, ...rest);
  }

  override update(requests: readonly (readonly [bigint, bigint])[], foreign?: number, done?: bigint): number {
    this.inner = Number((requests[0]?.[0] ?? 0n) & 7n);
    return super.update(requests, foreign, done);
  }

  /** Counts a hypercall, and its operation, that has succeeded. */
  private note(number: number, args: readonly bigint[], result: number): void {
    if (result < 0 || number === HYPERVISOR_grant_table_op) return;
    const isInner = number === HYPERVISOR_mmuext_op || number === HYPERVISOR_mmu_update;
    const command = isInner ? this.inner : SUB_OPERATIONS.has(number) ? Number(args[0]! & 63n) : -1;
    // Nothing reserved is no success.
    if (number === HYPERVISOR_memory_op && result === 0 && (command < 2 || command === 6)) return;
    this.reach(number, command);
  }

  /** One more success. @param command -1: the hypercall has none */
  reach(number: number, command: number): void {
    const key = command < 0 ? `${number}` : `${number}:${command}`;
    this.reached.set(key, (this.reached.get(key) ?? 0) + 1);
  }

  /** A hypercall by one of the ways to make it. */
  private hypercall(number: number, args: readonly bigint[]): Step {
    const way = this.random.pick([AT.call, AT.call, AT.page, AT.user] as const);
    return { rip: this.at(IMAGE, way), user: way === AT.user, rax: BigInt(number), args };
  }

  /** The hypercall as one of three of a multicall; the others are xen_version and the end of nothing. */
  private multicall(number: number, args: readonly bigint[]): Step {
    const long = this.bits / 8;
    const { memory } = this.hv;
    const list = memory.frame(this.mfn(MULTICALL));
    const calls = [
      [BigInt(HYPERVISOR_xen_version)],
      [BigInt(number), 0n, ...args],
      [BigInt(HYPERVISOR_vm_assist), 0n, 99n],
    ];
    calls.forEach((words, n) => {
      for (let k = 0; k < 8; k++) {
        const at = list + (8 * n + k) * long;
        if (long === 8) memory.write64(at, words[k] ?? 0n);
        else memory.write32(at, Number(words[k] ?? 0n));
      }
    });
    return this.hypercall(HYPERVISOR_multicall, [this.at(MULTICALL), BigInt(calls.length)]);
  }

  private nestedResult(): number {
    const { memory } = this.hv;
    const list = memory.frame(this.mfn(MULTICALL));
    return this.bits === 64 ? Number(BigInt.asIntN(64, memory.read64(list + 72))) : memory.read32(list + 36) | 0;
  }

  /** Hypercalls by which the kernel sets itself up again. */
  private settings(): Step[] {
    const { event, failsafe, syscall, stack } = this.handlers;
    const call = (number: number, ...args: (bigint | number)[]): Step => ({
      rip: this.at(IMAGE, AT.call),
      rax: BigInt(number),
      args: args.map(BigInt),
    });
    if (this.bits === 32)
      return [
        call(0, this.at(DATA, TRAPS)),
        call(4, KERNEL[32][0], event, KERNEL[32][0], failsafe),
        call(3, KERNEL[32][1], stack),
      ];
    const { memory } = this.hv;
    const list = memory.frame(this.mfn(DATA)) + 0x800;
    memory.write64(list, 15n);
    memory.write64(list + 8, BigInt(this.mfn(USER_L4)));
    return [
      call(0, this.at(DATA, TRAPS)),
      call(4, event, failsafe, syscall),
      call(3, KERNEL[64][1], stack),
      call(26, this.at(DATA, 0x800), 1, 0, 0x7ff0),
    ];
  }

  /** Lets the kernel execute `steps`. */
  private run(steps: readonly Step[]): Ending[] {
    const { memory } = this.hv;
    const program = memory.frame(this.mfn(PROGRAM));
    steps.forEach((step, n) => {
      this.write128(program + n * STEP_BYTES, step, n);
    });
    memory.write64(program + steps.length * STEP_BYTES, 0n);
    const data = memory.frame(this.mfn(DATA));
    memory.write64(data, this.at(PROGRAM));
    memory.write64(data + 8, this.infoAddress());
    memory.write64(data + 16, this.random.below(2) === 0 ? VGCF_IN_SYSCALL : 0n);
    this.start();
    const end = this.at(PROGRAM, steps.length * STEP_BYTES);
    const isOver = (): boolean =>
      this.domain.isShutDown || (memory.read64(data) === end && (this.vcpu.pauseFlags & VPF_BLOCKED) !== 0);
    for (let cycles = 0; cycles < CYCLES && !isOver(); cycles += PIECE) {
      runMachine(this.hv, this.hv.turn.cycle + PIECE, isOver);
      // Nobody else is there to wake whoever sleeps.
      if (!isOver()) this.wake();
    }
    const reached = Number((memory.read64(data) - this.at(PROGRAM)) / BigInt(STEP_BYTES));
    // Who hangs in the middle of something does not come back to it.
    if (reached !== steps.length) this.isOver = true;
    return steps.map((_, n) => this.ending(program + n * STEP_BYTES, n < reached));
  }

  private ending(at: number, isReached: boolean): Ending {
    const { memory } = this.hv;
    if (!isReached) return { result: -1, vector: -1 };
    const vector = Number(memory.read64(at + STEP_VECTOR));
    this.endings.set(vector, (this.endings.get(vector) ?? 0) + 1);
    return { result: Number(BigInt.asIntN(64, memory.read64(at + STEP_RESULT))), vector };
  }

  private write128(at: number, step: Step, n: number): void {
    const { memory } = this.hv;
    const rip = step.rip ?? this.at(SNIPPETS, n * SNIPPET_BYTES);
    if (step.code !== undefined)
      memory.write(
        memory.frame(this.mfn(SNIPPETS)) + n * SNIPPET_BYTES,
        Uint8Array.from([...step.code.slice(0, SNIPPET_BYTES - 2), 0x0f, 0x0b]),
      );
    const [cs, ss] = (step.user ? USER : KERNEL)[this.bits];
    const { args = [] } = step;
    const words = [
      ...[
        rip,
        BigInt(step.cs ?? cs),
        BigInt(step.rflags ?? 0x202),
        step.rsp ?? this.at(STACK_TOP, step.user ? 4096 : -64),
      ],
      ...[BigInt(step.ss ?? ss), step.flags ?? 0n, step.rax ?? 0n],
      ...[0, 1, 2, 3, 4, 5].map((k) => args[k] ?? 0n),
    ];
    words.forEach((word, k) => {
      memory.write64(at + 8 * k, BigInt.asUintN(64, word));
    });
  }

  /** Where the kernel finds its vcpu_info; one that it can't reach it leaves alone. */
  private infoAddress(): bigint {
    const { info, infoMfn } = this.vcpu;
    const page = infoMfn < 0 ? SHARED : this.mfns.indexOf(infoMfn);
    return page < 0 ? this.at(DATA, 0xc00) : this.at(page, info & 0xfff);
  }

  /** The sleeping kernel begins at its start. */
  private start(): void {
    const { core } = this.vcpu;
    core.activate();
    core.u64[RIP >>> 3] = this.at(IMAGE, START);
    core.setSlot(S_RSP, this.at(STACK_TOP));
    this.hv.memory.write8(this.vcpu.info + 1, 1);
    this.wake();
  }

  private wake(): void {
    this.vcpu.pauseFlags &= VPF_BLOCKED;
    this.vcpu.unblock();
    this.vcpu.wake();
  }
}
