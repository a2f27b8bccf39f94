/** Hypercalls of a guest that has no code: structures are put into its memory, where linear and physical addresses are equal. */
import type { Domain } from "../../hypervisor/domain/domain.ts";
import type { Vcpu } from "../../hypervisor/domain/vcpu.ts";
import { type EventChannels, eventsOf } from "../../hypervisor/events/channels.ts";
import { eventChannelOp } from "../../hypervisor/events/hypercall.ts";
import { type Grants, grantsOf } from "../../hypervisor/grants/grants.ts";
import { grantTableOp } from "../../hypervisor/grants/hypercall.ts";
import { RESTART, takeRestart } from "../../hypervisor/hypercalls/dispatch.ts";
import { memoryOp } from "../../hypervisor/hypercalls/memory-op.ts";
import { copyFromPhysical, copyToPhysical } from "../../hypervisor/memory/guest-access.ts";

/** Where structures go; a page of the guest that tests use for nothing else. */
export const SCRATCH = 0x3000;
/** Where lists go. */
export const LIST = 0x4000;
/** An address without memory. */
export const NOWHERE = 0x7fff0000;

/** [size in bytes, value]; size 0 skips `value` bytes. */
export type Field = readonly [size: number, value: number | bigint];

export function pack(fields: readonly Field[]): Uint8Array {
  const bytes: number[] = [];
  for (const [size, value] of fields) {
    const wide = BigInt(value);
    for (let i = 0; i < size; i++) bytes.push(Number((wide >> BigInt(8 * i)) & 0xffn));
    if (size === 0) for (let i = 0; i < Number(value); i++) bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

export class Caller {
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  readonly events: EventChannels;

  constructor(domain: Domain) {
    this.domain = domain;
    this.vcpu = domain.vcpus[0]!;
    this.events = eventsOf(domain);
  }

  get grants(): Grants {
    return grantsOf(this.domain)!;
  }

  put(address: number, ...fields: Field[]): void {
    if (!copyToPhysical(this.domain, address, pack(fields))) throw new Error(`no memory at 0x${address.toString(16)}`);
  }

  get(address: number, size: 1 | 2 | 4): number {
    const bytes = new Uint8Array(8);
    if (!copyFromPhysical(this.domain, address, bytes.subarray(0, size))) throw new Error("no memory there");
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  /** Signed. */
  status(address: number): number {
    return (this.get(address, 2) << 16) >> 16;
  }

  /** The structure goes to SCRATCH. */
  evtchn(command: number, ...fields: Field[]): number {
    this.vcpu.core.activate();
    this.put(SCRATCH, ...fields);
    return eventChannelOp(this.vcpu, command, BigInt(SCRATCH));
  }

  grant(command: number, fields: readonly Field[], count = 1, compat = false): number {
    this.vcpu.core.activate();
    this.put(SCRATCH, ...fields);
    return this.finish((c, arg, n) => grantTableOp(this.vcpu, c, arg, n, compat), command, BigInt(SCRATCH), count);
  }

  memory(command: number, fields: readonly Field[], compat = false, address = SCRATCH): number {
    this.vcpu.core.activate();
    if (address === SCRATCH) this.put(SCRATCH, ...fields);
    return this.finish((c, arg) => memoryOp(this.vcpu, c, arg, compat), command, BigInt(address), 0);
  }

  /** Continues a call as the guest's instruction would be executed again. */
  private finish(call: (c: number, arg: bigint, n: number) => number, command: number, arg: bigint, n: number): number {
    for (let args = [BigInt(command), arg, BigInt(n)]; ; ) {
      const rc = call(Number(args[0]!), args[1]!, Number(args[2] ?? 0n));
      if (rc !== RESTART) return rc;
      args = [...takeRestart()];
    }
  }
}
