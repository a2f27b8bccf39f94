/**
 * A PV domain without code: its page tables are laid out by hand, and its hypercalls are called directly. Page n of it is mapped at
 * BASE + n * 4096; tables read-only.
 */
import { afterEach, expect } from "vitest";
import { createDomain } from "../../../hypervisor/domain/create.ts";
import type { Domain, DomainOptions } from "../../../hypervisor/domain/domain.ts";
import type { Vcpu } from "../../../hypervisor/domain/vcpu.ts";
import { RESTART } from "../../../hypervisor/hypercalls/dispatch.ts";
import type { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { ARG_WORDS, callPvHypercall, setArgument } from "../../../hypervisor/pv/hypercall-table.ts";
import { startPv } from "../../../hypervisor/pv/vcpu-init.ts";
import { type Field, pack } from "../calls.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";

export const BASE = 0x40000000n;
export const P = 1;
export const RW = 2;
export const US = 4;
export const A = 0x20;
export const D = 0x40;
/** An ordinary entry. */
export const RWX: number = P | RW | US | A | D;
export const RO: number = P | US | A | D;

/** Pages of the domain that are its first tables: L4, L3, L2, L1. */
export const L4 = 1;
export const L3 = 2;
export const L2 = 3;
export const L1 = 4;
/** Pages for structures and lists of hypercalls. */
export const SCRATCH = 8;
export const LIST = 9;
/** The first page that a test may do with as it likes. */
export const FREE = 16;

/** Machines of the test that runs; at its end, what their page tables say is compared with what Xen counts. */
const machines: Set<Hypervisor> = new Set();

afterEach(() => {
  const found = [...machines].flatMap((hv) => auditMemory(hv));
  machines.clear();
  expect(found).toEqual([]);
});

export class PvCaller {
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  readonly hv: Hypervisor;
  /** Machine frame by page. */
  readonly mfns: number[] = [];
  /** hypercalls of the last `call` until it was done. */
  pieces = 0;
  /** Called when a call is to be continued; false gives it up. */
  onPiece: (args: Int32Array) => boolean = () => true;

  constructor(machine: Pick<FakeMachine, "hv">, options: Partial<DomainOptions> = {}, pages = 128) {
    this.hv = machine.hv;
    machines.add(this.hv);
    const type = options.type ?? "pv";
    this.domain = createDomain(this.hv, { name: "pv", maxVcpus: 2, maxPages: 1024, ...options, type });
    this.vcpu = this.domain.vcpus[0]!;
    for (let n = 0; n < pages; n++) {
      const mfn = this.hv.heap.alloc(this.domain.domid);
      if (mfn < 0) throw new Error("no memory for the test's domain");
      this.mfns.push(mfn);
      this.hv.m2p!.set(mfn, n);
    }
    this.layOut(type === "pv32");
    startPv(this.vcpu, { rip: BASE, rsp: BASE, rsi: 0n, top: this.mfns[type === "pv32" ? L3 : L4]! });
    this.vcpu.core.activate();
  }

  /** BASE is 1 GiB: entry 0 of the L4, entry 1 of the L3, entry 0 of the L2. */
  private layOut(is32: boolean): void {
    this.put(L4, 0, this.entry(L3, RWX));
    this.put(L3, 1, this.entry(L2, is32 ? P : RWX));
    this.put(L2, 0, this.entry(L1, RWX));
    for (let n = 0; n < this.mfns.length; n++) this.put(L1, n, this.entry(n, n >= L4 && n <= L1 + 1 ? RO : RWX));
    // A 32-bit guest must have an L2 for its fourth gigabyte.
    if (is32) this.put(L3, 3, this.entry(L1 + 1, P));
  }

  /** Words of an entry that maps page `page` of the domain, as one number. */
  entry(page: number, flags: number): bigint {
    return (BigInt(this.mfns[page]!) << 12n) | BigInt(flags);
  }

  mfn(page: number): number {
    return this.mfns[page]!;
  }

  /** Linear address of a page. */
  at(page: number, offset = 0): bigint {
    return BASE + BigInt(page * 4096 + offset);
  }

  /** Writes the 8 bytes at index `index` of a page, as the guest's memory stands, without Xen. */
  put(page: number, index: number, value: bigint): void {
    this.hv.memory.write64(this.hv.memory.frame(this.mfns[page]!) + index * 8, value);
  }
  get(page: number, index: number): bigint {
    return this.hv.memory.read64(this.hv.memory.frame(this.mfns[page]!) + index * 8);
  }
  get32(page: number, offset: number): number {
    return this.hv.memory.read32(this.hv.memory.frame(this.mfns[page]!) + offset) >>> 0;
  }
  write(page: number, ...fields: Field[]): void {
    this.hv.memory.write(this.hv.memory.frame(this.mfns[page]!), pack(fields));
  }

  /** Takes the write access to page `page` away, so that it can become a table. */
  protect(page: number, flags = RO): number {
    return this.call(14, this.at(page), this.entry(page, flags), 0n);
  }

  /** update_va_mapping of index `index` of the first L1; of the given domain if one is named. */
  mapAt(index: number, value: bigint, flags = 0n, domid?: number): number {
    const entry = this.domain.pv!.is32bit ? [value & 0xffffffffn, value >> 32n] : [value];
    const args = [this.at(index), ...entry, flags];
    return domid === undefined ? this.call(14, ...args) : this.call(22, ...args, domid);
  }
  /** The entry of page `page` itself. */
  map(page: number, value: bigint): number {
    return this.mapAt(page, value);
  }
  protectAny(page: number): number {
    return this.mapAt(page, this.entry(page, RO));
  }

  call(number: number, ...values: (bigint | number)[]): number {
    const args = new Int32Array(ARG_WORDS);
    values.forEach((value, n) => {
      setArgument(args, n, this.domain.pv!.is32bit ? BigInt.asUintN(32, BigInt(value)) : BigInt(value));
    });
    this.vcpu.core.activate();
    for (this.pieces = 1; ; this.pieces++) {
      const rc = callPvHypercall(this.vcpu, number, args, this.domain.pv!.is32bit);
      if (rc !== RESTART || !this.onPiece(args)) return rc;
    }
  }

  /** mmu_update of one entry: index `index` of table `page`. */
  set(page: number, index: number, value: bigint, command = 0, foreign = 0x7ff0): number {
    return this.update([[(BigInt(this.mfns[page]!) << 12n) + BigInt(index * 8 + command), value]], foreign);
  }

  update(requests: readonly (readonly [ptr: bigint, value: bigint])[], foreign = 0x7ff0, done = 0n): number {
    this.write(
      LIST,
      ...requests.flatMap(([ptr, value]): Field[] => [
        [8, ptr],
        [8, value],
      ]),
    );
    return this.call(1, this.at(LIST), requests.length, done, foreign);
  }

  /** mmuext_op of one operation. */
  ext(command: number, arg1: bigint | number = 0, arg2: bigint | number = 0, foreign = 0x7ff0): number {
    if (this.domain.pv!.is32bit) this.write(LIST, [4, command], [4, arg1], [4, arg2]);
    else this.write(LIST, [8, command], [8, arg1], [8, arg2]);
    return this.call(26, this.at(LIST), 1, 0, foreign);
  }
}

export function pvMachine(options: Partial<DomainOptions> = {}): PvCaller {
  return new PvCaller(new FakeMachine({}, 64 * MIB), options);
}
