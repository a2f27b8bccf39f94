/**
 * A 64-bit PV guest of a few instructions, executed by the real engine: pages of pv-caller.ts, mapped for the kernel and for a user with
 * tables of its own. Every handler is a page of jumps to themselves, so that a test runs the machine for a while and then looks where
 * the vcpu is, and at the frame on its stack.
 */
import { Arena, RIP, S_RSP, SEG, SEG_STRIDE } from "../../../cpu/arena.ts";
import { Engine } from "../../../cpu/run.ts";
import type { DomainOptions } from "../../../hypervisor/domain/domain.ts";
import { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { MIB } from "../fake-machine.ts";
import { FREE, L3, PvCaller, RO, RWX } from "./pv-caller.ts";

/** Pages: the code that a test gives, what it calls, where handlers are, stacks of kernel and user, the user's L4. */
export const CODE = FREE;
export const HYPERCALLS: number = FREE + 1;
export const HANDLERS: number = FREE + 2;
export const KERNEL_STACK: number = FREE + 3;
export const USER_STACK: number = FREE + 4;
export const USER_L4: number = FREE + 5;
export const GDT: number = FREE + 6;
export const LDT: number = FREE + 7;
/** The first page that is a test's own. */
export const OWN: number = FREE + 10;

/** Handlers, 16 bytes apart: vectors 0..31, then these. */
export const EVENT = 32;
export const FAILSAFE = 33;
export const SYSCALL = 34;
export const SYSENTER = 35;
export const SYSCALL32 = 36;
export const INT_80 = 37;
export const USER = 38;

/** jmp to itself. */
export const STOP = [0xeb, 0xfe] as const;
/** ud2; .ascii "xen"; cpuid */
export const XEN_CPUID = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2] as const;
export const SYSCALL_INSTRUCTION = [0x0f, 0x05] as const;

const CYCLES = 20_000;
const TI_IF = 4;

/** A machine whose engine executes. */
export function realMachine(cpu: "intel" | "amd" = "intel"): Hypervisor {
  let engine: Engine | null = null;
  const hv = new Hypervisor({
    arena: new Arena(64 * MIB),
    engine: { run: (core, deadline) => engine!.run(core, deadline) },
    pcpus: 1,
    cpu,
  });
  engine = new Engine(hv.xenCore);
  return hv;
}

export class PvGuest {
  readonly p: PvCaller;

  constructor(hv: Hypervisor = realMachine(), options: Partial<DomainOptions> = {}) {
    this.p = new PvCaller({ hv }, options);
    const { p } = this;
    for (let n = 0; n < 4096 / 2; n++) this.bytes(HANDLERS, n * 2, STOP);
    if (!p.domain.pv!.is32bit) {
      p.put(USER_L4, 0, p.entry(L3, RWX));
      p.protect(USER_L4, RO);
      if (p.ext(15, p.mfn(USER_L4)) !== 0) throw new Error("the user's table was refused");
    }
    p.call(3, 0xe02b, p.at(KERNEL_STACK, 4096));
    p.call(4, this.handler(EVENT), this.handler(FAILSAFE), this.handler(SYSCALL));
    const { traps } = p.vcpu.pv!;
    for (let vector = 0; vector < 32; vector++)
      this.trap(vector, this.handler(vector), vector === 3 || vector === 4 ? 3 : 0);
    if (traps[0]!.eipLo === 0) throw new Error("the trap table was refused");
    this.reg(S_RSP, p.at(KERNEL_STACK, 4096));
    p.domain.unpause();
  }

  bytes(page: number, offset: number, bytes: readonly number[]): void {
    const { memory } = this.p.hv;
    memory.write(memory.frame(this.p.mfn(page)) + offset, Uint8Array.from(bytes));
  }

  /** Linear address of a handler. */
  handler(n: number): bigint {
    return this.p.at(HANDLERS, n * 16);
  }

  /** Sets one vector by the hypercall. */
  trap(vector: number, address: bigint, flags = TI_IF, cs = 0xe033): number {
    this.p.write(8, [1, vector], [1, flags], [2, cs], [4, 0], [8, address], [8, 0], [8, 0]);
    return this.p.call(0, this.p.at(8));
  }

  reg(slot: number, value?: bigint): bigint {
    const { core } = this.p.vcpu;
    core.activate();
    if (value !== undefined) core.setSlot(slot, value);
    return core.slot(slot);
  }

  get rip(): bigint {
    this.p.vcpu.core.activate();
    return this.p.vcpu.core.u64[RIP >>> 3]!;
  }
  set rip(value: bigint) {
    this.p.vcpu.core.activate();
    this.p.vcpu.core.u64[RIP >>> 3] = value;
  }

  selector(seg: number): number {
    this.p.vcpu.core.activate();
    return this.p.vcpu.core.i32[(SEG + seg * SEG_STRIDE) >>> 2]! & 0xffff;
  }

  /** The handler in which the vcpu stands, -1 if in none. */
  get at(): number {
    const offset = Number(this.rip - this.p.at(HANDLERS));
    return offset >= 0 && offset < 4096 && offset % 16 === 0 ? offset / 16 : -1;
  }

  /** Writes `code` and a jump to itself behind it at the beginning of CODE, and runs it in the kernel. */
  kernel(code: readonly number[], cycles = CYCLES): this {
    this.bytes(CODE, 0, [...code, ...STOP]);
    this.rip = this.p.at(CODE);
    this.run(cycles);
    return this;
  }

  /** The same in user mode, with RSP at the end of USER_STACK. */
  user(code: readonly number[], cycles = CYCLES): this {
    this.bytes(CODE, 0, [...code, ...STOP]);
    this.iret(this.p.at(CODE), this.p.at(USER_STACK, 4096));
    this.run(cycles);
    return this;
  }

  /** Lets the kernel's next step be HYPERVISOR_iret with this frame. `flags` VGCF_*. */
  iret(rip: bigint, rsp: bigint, cs = 0xe033, ss = 0xe02b, rflags = 0x202, flags = 0): void {
    const words = [0x1111n, 0x2222n, 0x3333n, BigInt(flags), rip, BigInt(cs), BigInt(rflags), rsp, BigInt(ss)];
    words.forEach((word, n) => {
      this.p.put(KERNEL_STACK, 512 - 9 + n, word);
    });
    // mov $23, %eax; syscall
    this.bytes(HYPERCALLS, 0, [0xb8, 23, 0, 0, 0, ...SYSCALL_INSTRUCTION]);
    this.reg(S_RSP, this.p.at(KERNEL_STACK, 4096 - 72));
    this.rip = this.p.at(HYPERCALLS);
  }

  run(cycles = CYCLES): this {
    runMachine(this.p.hv, this.p.hv.turn.cycle + cycles);
    return this;
  }

  /** 8-byte words at RSP. */
  stack(count: number): bigint[] {
    const rsp = this.reg(S_RSP);
    const { memory } = this.p.hv;
    const page = Number((rsp - this.p.at(0)) >> 12n);
    const at = memory.frame(this.p.mfn(page)) + Number(rsp & 0xfffn);
    return Array.from({ length: count }, (_, n) => memory.read64(at + n * 8));
  }

  get log(): string {
    return this.p.hv.log.lines.map((line) => line.text).join("\n");
  }
  get crashed(): boolean {
    return this.p.domain.isShutDown;
  }
}
