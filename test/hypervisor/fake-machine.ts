/** A hypervisor over a small arena whose engine is a function: what guests "do" is written in TypeScript. */

import { Arena, EXIT_LENGTH, S_R8, S_RAX, S_RCX, S_RDI, S_RDX, S_RSI } from "../../cpu/arena.ts";
import { type Core, EXIT_DEADLINE, EXIT_VMCALL } from "../../cpu/core.ts";
import { createDomain } from "../../hypervisor/domain/create.ts";
import type { Domain, DomainOptions } from "../../hypervisor/domain/domain.ts";
import type { Vcpu } from "../../hypervisor/domain/vcpu.ts";
import { startPvh } from "../../hypervisor/hvm/vcpu-init.ts";
import { Hypervisor, type HypervisorOptions } from "../../hypervisor/hypervisor.ts";
import { P2M_RAM_RW } from "../../hypervisor/memory/p2m.ts";
import { setCycleTo } from "./set-cycle.ts";

export const MIB: number = 2 ** 20;

/** Called instead of executing: moves the core's clock itself (`spend`) and answers an EXIT_* code. */
export type Behaviour = (core: Core, deadline: number) => number;

/** Runs to the deadline. */
export const busy: Behaviour = (core, deadline) => {
  setCycleTo(core, deadline);
  return EXIT_DEADLINE;
};

/** A machine; `behaviour` may be replaced at any time. */
export class FakeMachine {
  behaviour: Behaviour = busy;
  readonly hv: Hypervisor;

  constructor(options: Partial<HypervisorOptions> = {}, ram: number = 16 * MIB) {
    this.hv = new Hypervisor({
      arena: new Arena(ram),
      engine: { run: (core, deadline) => this.behaviour(core, deadline) },
      pcpus: 1,
      cpu: "intel",
      ...options,
    });
  }

  /** A domain with `pages` frames from gfn 0 on, vcpu 0 ready to start at 0x1000. */
  domain(options: Partial<DomainOptions> = {}, pages = 64): Domain {
    const domain = createDomain(this.hv, { name: "guest", maxVcpus: 1, maxPages: 1024, ...options });
    for (let gfn = 0; gfn < pages; gfn++) {
      const mfn = this.hv.heap.alloc(domain.domid);
      if (mfn < 0 || !domain.physmap!.map(gfn, mfn, P2M_RAM_RW)) throw new Error("no memory for the test's domain");
    }
    startPvh(domain.vcpus[0]!, 0x1000, 0);
    return domain;
  }
}

/** Puts a hypercall into the registers of a 32-bit vcpu as its next VMCALL. */
export function setHypercall(vcpu: Vcpu, number: number, ...args: number[]): void {
  vcpu.core.activate();
  // EBX ECX EDX ESI EDI EBP
  const slots = [0x18, S_RCX, S_RDX, S_RSI, S_RDI, 0x28];
  vcpu.core.setSlot(S_RAX, BigInt(number));
  slots.forEach((slot, i) => {
    vcpu.core.setSlot(slot, BigInt(args[i] ?? 0));
  });
  vcpu.core.setSlot(S_R8, 0n);
  vcpu.core.i32[EXIT_LENGTH >>> 2] = 3;
}

/** EAX as a signed number. */
export const result = (vcpu: Vcpu): number => Number(BigInt.asIntN(32, vcpu.core.slot(S_RAX)));

export { EXIT_VMCALL };
