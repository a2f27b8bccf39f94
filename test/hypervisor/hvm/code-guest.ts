/** Guests of a few instructions, executed by the real engine. */

import { expect } from "vitest";
import { Arena } from "../../../cpu/arena.ts";
import { Engine } from "../../../cpu/run.ts";
import type { CpuLevel } from "../../../cpu/system/cpu-model.ts";
import { createDomain } from "../../../hypervisor/domain/create.ts";
import type { Domain, DomainOptions } from "../../../hypervisor/domain/domain.ts";
import { startPvh } from "../../../hypervisor/hvm/vcpu-init.ts";
import { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { copyFromPhysical, copyToPhysical } from "../../../hypervisor/memory/guest-access.ts";
import { P2M_RAM_RO, P2M_RAM_RW } from "../../../hypervisor/memory/p2m.ts";
import { runMachine, type StopReason } from "../../../hypervisor/run.ts";

const ENTRY = 0x1000;
export const HLT = 0xf4;
export const out = (char: string): number[] => [0xb0, char.charCodeAt(0), 0xe6, 0xe9];
export const dword = (n: number): number[] => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24];

export interface Ran {
  hv: Hypervisor;
  domain: Domain;
  log: string;
  slot(slot: number): number;
  memory(at: number): number;
}

/** Runs `code` at ENTRY, in 32-bit mode without paging, until the domain ends. */
export function run(
  code: readonly number[],
  options: {
    cpu?: "intel" | "amd";
    cpuLevel?: CpuLevel;
    /** More of the domain's options. */
    domain?: Partial<DomainOptions>;
    vcpus?: number;
    more?: readonly [number, number[]][];
    outcome?: StopReason;
    cycles?: number;
  } = {},
): Ran {
  let engine: Engine | null = null;
  const hv = new Hypervisor({
    arena: new Arena(16 * 2 ** 20),
    engine: { run: (core, deadline) => engine!.run(core, deadline) },
    pcpus: 1,
    cpu: options.cpu ?? "intel",
    ...(options.cpuLevel !== undefined && { cpuLevel: options.cpuLevel }),
  });
  engine = new Engine(hv.xenCore);
  const domain = createDomain(hv, { name: "guest", maxVcpus: options.vcpus ?? 1, maxPages: 1024, ...options.domain });
  for (let gfn = 0; gfn < 64; gfn++) domain.physmap!.map(gfn, hv.heap.alloc(domain.domid), P2M_RAM_RW);
  copyToPhysical(domain, ENTRY, Uint8Array.from(code));
  for (const [at, bytes] of options.more ?? []) copyToPhysical(domain, at, Uint8Array.from(bytes));
  domain.physmap!.map(50, domain.p2m.lookup(50), P2M_RAM_RO);
  startPvh(domain.vcpus[0]!, ENTRY, 0);
  domain.unpause();
  expect(runMachine(hv, options.cycles ?? 100_000_000)).toBe(options.outcome ?? "all-shutdown");
  const core = domain.vcpus[0]!.core;
  core.activate();
  return {
    hv,
    domain,
    log: hv.log.lines.map((l) => l.text).join("\n"),
    slot: (slot) => Number(core.slot(slot)),
    memory(at) {
      const bytes = new Uint8Array(4);
      copyFromPhysical(domain, at, bytes);
      return new DataView(bytes.buffer).getUint32(0, true);
    },
  };
}
