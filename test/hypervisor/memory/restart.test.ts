/** Domains come and go in one machine: what one had, the next one finds free. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DOMID_FIRST_RESERVED } from "../../../hypervisor/abi/xen.ts";
import type { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { Machine } from "../../../src/machine/machine.ts";

const kernel = new Uint8Array(readFileSync(new URL("../../../guests/pvh/pvh.elf", import.meta.url)));
const pvKernel = new Uint8Array(readFileSync(new URL("../../../guests/pv/pv.elf", import.meta.url)));

interface Inside {
  readonly hypervisor: Hypervisor;
  readonly daemons: { frames(): number[] };
}

it("domain numbers begin again behind the last, and spare those that are taken", async () => {
  const domain = { name: "again", type: "pvh", kernel, memory: 16 << 20, cmdline: "work=hello" } as const;
  const machine = await Machine.create({ domains: [domain, { ...domain, type: "pv", kernel: pvKernel }] });
  const { hypervisor: hv, daemons } = machine as unknown as Inside;
  hv.nextDomid = DOMID_FIRST_RESERVED - 1;
  expect(machine.run({ maxCycles: 300e6 })).toBe("all-shutdown");
  const domids: number[] = [];
  let domid = 1;
  for (let n = 0; n < 3; n++) {
    domid = await machine.restart(domid);
    domids.push(domid);
    expect(machine.run({ maxCycles: 300e6 })).toBe("all-shutdown");
    expect(auditMemory(hv, daemons.frames())).toEqual([]);
  }
  expect(domids).toEqual([DOMID_FIRST_RESERVED - 1, 1, 3]);
});

it("a domain restarted many times leaves no frame, core or event behind", async () => {
  const machine = await Machine.create({
    pcpus: 2,
    domains: [
      { name: "again", type: "pvh", kernel, memory: 16 << 20, vcpus: 3, cmdline: "work=smp,grantv2", cap: 150 },
    ],
  });
  const { hypervisor: hv, daemons } = machine as unknown as Inside;
  const states: number[][] = [];
  let domid = 1;
  for (let n = 0; n < 6; n++) {
    states.push([hv.heap.freeFrames, hv.group.cores.length, hv.queue.length]);
    expect(machine.run({ maxCycles: 300e6 })).toBe("all-shutdown");
    expect(auditMemory(hv, daemons.frames())).toEqual([]);
    domid = await machine.restart(domid);
    expect(hv.heap.ownedBy(domid - 1)).toBe(0);
  }
  expect(new Set(states.map((state) => state.join())).size).toBe(1);
});
