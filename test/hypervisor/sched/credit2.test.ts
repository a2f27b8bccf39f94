import { describe, expect, it } from "vitest";
import { ACCOUNT_KERNEL, CORE, RFLAGS_SYS } from "../../../cpu/arena.ts";
import { EXIT_HLT } from "../../../cpu/core.ts";
import type { Domain } from "../../../hypervisor/domain/domain.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { FakeMachine } from "../fake-machine.ts";
import { setCycleTo } from "../set-cycle.ts";

/** Cycles that the guest itself got. */
function cycles(domain: Domain): number {
  let sum = 0;
  for (const { core } of domain.vcpus) {
    const at = core.shared.active === core ? CORE : core.arena.saveSlot(core.index);
    sum += core.f64[(at + (ACCOUNT_KERNEL - CORE)) >>> 3]!;
  }
  return sum;
}

function up(domain: Domain): void {
  for (const v of domain.vcpus) {
    v.isInitialised = true;
    v.pauseFlags = 0;
  }
  domain.unpause();
}

const SECOND = 1e9;

describe("credit2", () => {
  it("gives two busy vcpus of weights 256 and 512 one pCPU as 1:2", () => {
    const m = new FakeMachine();
    const a = m.domain({ weight: 256 });
    const b = m.domain({ weight: 512 });
    up(a);
    up(b);
    expect(runMachine(m.hv, SECOND)).toBe("cycle-limit");
    expect(cycles(b) / cycles(a)).toBeGreaterThan(1.95);
    expect(cycles(b) / cycles(a)).toBeLessThan(2.05);
  });

  for (const [cap, vcpus, pcpus] of [
    [25, 1, 1],
    [50, 3, 2],
    [150, 2, 2],
  ] as const)
    it(`keeps a domain of ${vcpus} busy vcpus on ${pcpus} pCPUs to its cap of ${cap} percent, also where nobody else wants them`, () => {
      const m = new FakeMachine({ pcpus });
      const capped = m.domain({ cap, maxVcpus: vcpus });
      up(capped);
      runMachine(m.hv, SECOND);
      const share = cycles(capped) / SECOND;
      expect(share).toBeGreaterThan((cap / 100) * 0.97);
      expect(share).toBeLessThan((cap / 100) * 1.01);
    });

  it("gives what a capped domain leaves to the others", () => {
    const m = new FakeMachine();
    const capped = m.domain({ cap: 20, weight: 1024 });
    const other = m.domain();
    up(capped);
    up(other);
    runMachine(m.hv, SECOND);
    expect(cycles(capped) / SECOND).toBeGreaterThan(0.19);
    expect(cycles(capped) / SECOND).toBeLessThan(0.202);
    expect(cycles(other) / SECOND).toBeGreaterThan(0.78);
  });

  it("stops filling budgets when nobody uses them", () => {
    const m = new FakeMachine();
    up(m.domain({ cap: 10 }));
    m.behaviour = (core) => {
      core.i32[RFLAGS_SYS >>> 2]! |= 0x200;
      setCycleTo(core, core.now() + 1000);
      return EXIT_HLT;
    };
    expect(runMachine(m.hv, SECOND)).toBe("blocked");
  });

  it("accounts every cycle of every pCPU", () => {
    const m = new FakeMachine({ pcpus: 2 });
    for (const weight of [100, 200, 300]) up(m.domain({ weight, maxVcpus: 2 }));
    runMachine(m.hv, SECOND / 10);
    let sum = 0;
    for (const d of m.hv.domains.values()) {
      sum += cycles(d);
      for (const v of d.vcpus) sum += v.hypervisorCycles;
    }
    for (const p of m.hv.pcpus) sum += p.idleCycles + p.hypervisorCycles;
    expect(sum).toBe(m.hv.pcpus[0]!.cycle + m.hv.pcpus[1]!.cycle);
  });

  it("keeps to hard affinity, and uses all pCPUs otherwise", () => {
    const m = new FakeMachine({ pcpus: 2 });
    const pinned = [m.domain({ affinity: [[1]] }), m.domain({ affinity: [[1]] })];
    const free = m.domain();
    for (const d of [...pinned, free]) up(d);
    runMachine(m.hv, SECOND);
    expect(pinned.map((d) => d.vcpus[0]!.processor)).toEqual([1, 1]);
    const [p0, p1] = pinned.map(cycles);
    expect(Math.abs(p0! / p1! - 1)).toBeLessThan(0.05);
    expect(cycles(free) / (p0! + p1!)).toBeGreaterThan(0.9);
  });

  it("lets a vcpu that wakes up run before a busy one, but not within the rate limit", () => {
    const m = new FakeMachine();
    const hog = m.domain({ name: "hog" });
    const sleeper = m.domain({ name: "sleeper" });
    const core = sleeper.vcpus[0]!.core;
    const woken: number[] = [];
    const ran: number[] = [];
    m.behaviour = (c, deadline) => {
      if (c !== core) {
        setCycleTo(c, deadline);
        return 0;
      }
      ran.push(c.now());
      c.i32[RFLAGS_SYS >>> 2]! |= 0x200;
      setCycleTo(c, c.now() + 1000);
      return EXIT_HLT;
    };
    const wake = (): void => {
      woken.push(m.hv.now());
      sleeper.vcpus[0]!.unblock();
      if (woken.length < 20) m.hv.queue.schedule(m.hv.now() + 7_000_000, wake);
    };
    up(hog);
    up(sleeper);
    m.hv.queue.schedule(50_000_000, wake);
    runMachine(m.hv, SECOND);
    expect(ran.length).toBe(21);
    for (let i = 0; i < 20; i++) expect(ran[i + 1]! - woken[i]!).toBeLessThan(1_100_000);
  });

  it("is the same run in pieces of any length", () => {
    const run = (piece: number): string => {
      const m = new FakeMachine({ pcpus: 2 });
      for (const weight of [100, 256, 512]) up(m.domain({ weight, maxVcpus: 2 }));
      for (let to = piece; ; to += piece) {
        runMachine(m.hv, Math.min(to, 50_000_000));
        if (to >= 50_000_000) break;
      }
      return [...m.hv.domains.values()].map((d) => d.vcpus.map((v) => v.runstateTime.join()).join(";")).join("|");
    };
    const whole = run(50_000_000);
    expect(run(1_234_567)).toBe(whole);
    expect(run(333_333)).toBe(whole);
  });
});
