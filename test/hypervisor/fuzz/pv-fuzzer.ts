/**
 * Two PV domains whose kernels make hypercalls at random, drawn from what is there: frames that they own, tables that are pinned, ports, grant
 * references, handles. Now and then an argument is garbage, and between the hypercalls they do whatever else a guest can do.
 */

import { createHash } from "node:crypto";
import { Arena } from "../../../cpu/arena.ts";
import type { Core } from "../../../cpu/core.ts";
import { type BlockRunner, Engine } from "../../../cpu/run.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { Random } from "../../support/random.ts";
import { MIB } from "../fake-machine.ts";
import { CPU_OPERATIONS } from "./cpu-operations.ts";
import { GRANT_OPERATIONS } from "./grant-operations.ts";
import { GuestCaller } from "./guest-caller.ts";
import { MEMORY_OPERATIONS } from "./memory-operations.ts";
import { type Fuzzer, type Operation, PAGES } from "./operations.ts";

/** Calls of a generation of domains; some operations can be done once in a domain's life. */
const GENERATION = 400;
/** What a hypercall answers: an errno, or a number that no errno is. */
const MAX_ERRNO = 4095;

const OPERATIONS: readonly Operation[] = [...MEMORY_OPERATIONS, ...GRANT_OPERATIONS, ...CPU_OPERATIONS];

/** Operations that succeed if they are asked well; "any..." ones need not. */
export const NAMES: readonly string[] = OPERATIONS.map((o) => o.name).filter((name) => !/any/.test(name));

export class PvFuzzer implements Fuzzer {
  readonly random: Random;
  readonly hv: Hypervisor;
  guests: GuestCaller[] = [];
  readonly succeeded: Map<string, number> = new Map();
  /** Successes of hypercalls and their operations, as GuestCaller.reached. */
  readonly reached: Map<string, number> = new Map();
  readonly strange: string[] = [];
  /** Domains that there have been, those that have been shut down, and those whose kernel hung. */
  domains = 0;
  ended = 0;
  hung = 0;
  private left = 0;

  /** @param runner what executes blocks, as for Engine */
  constructor(
    seed: number,
    cpu: "intel" | "amd" = "intel",
    runner?: (engine: Engine | null, core: Core) => BlockRunner,
  ) {
    this.random = new Random(seed);
    let engine: Engine | null = null;
    this.hv = new Hypervisor({
      arena: new Arena(64 * MIB),
      engine: { run: (core, deadline) => engine!.run(core, deadline) },
      pcpus: 2,
      cpu,
    });
    engine = new Engine(this.hv.xenCore, runner);
  }

  private renew(): void {
    this.finish();
    for (const [domid, domain] of this.hv.domains) if (domain.isDying) this.hv.domains.delete(domid);
    this.guests = [0, 1].map((n) => {
      const type = n === 1 && this.random.below(2) === 0 ? "pv32" : "pv";
      const memoryMap = [{ address: 0, size: PAGES * 4096, type: 1 }];
      const c = new GuestCaller(this.hv, { type, maxPages: 200, memoryMap }, PAGES, this.random, this.reached);
      grantsOf(c.domain)!.table.grow(2);
      return c;
    });
    this.domains += 2;
    this.left = GENERATION;
  }

  /** Makes `count` operations. */
  run(count: number): void {
    for (let n = 0; n < count; n++) {
      if (this.left-- <= 0 || this.guests.some((c) => c.isOver)) this.renew();
      const c = this.random.pick(this.guests);
      const op = this.random.pick(OPERATIONS);
      c.garbage = this.random.below(8) === 0 ? this.random : null;
      const rc = op.run(this, c);
      c.garbage = null;
      if (rc >= 0) this.succeeded.set(op.name, (this.succeeded.get(op.name) ?? 0) + 1);
      if (!Number.isInteger(rc) || rc < -MAX_ERRNO) this.strange.push(`${op.name} answers ${rc}`);
    }
  }

  /** Cycles, memory of the domains and what has happened: the same in all engines. */
  state(): readonly unknown[] {
    const { hv } = this;
    const hash = createHash("sha256");
    for (const c of this.guests)
      for (const mfn of c.mfns)
        if (hv.heap.ownerOf(mfn) === c.domain.domid) hash.update(hv.memory.read(hv.memory.frame(mfn), 4096));
    return [hv.turn.cycle, this.domains, hash.digest("hex"), [...this.reached], this.guests.map((c) => [...c.endings])];
  }

  audit(): string[] {
    return auditMemory(this.hv);
  }

  finish(): void {
    for (const c of this.guests) {
      if (c.domain.isShutDown) this.ended++;
      else if (c.isOver) this.hung++;
      destroyDomain(c.domain);
    }
    this.guests = [];
  }
}
