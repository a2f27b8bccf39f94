import { describe, expect, it } from "vitest";
import { RFLAGS_SYS } from "../../../cpu/arena.ts";
import { EXIT_HLT, EXIT_NESTED_MISCONFIG, EXIT_TRIPLE_FAULT } from "../../../cpu/core.ts";
import { SHUTDOWN_crash, SHUTDOWN_poweroff } from "../../../hypervisor/abi/sched.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { handleExit } from "../../../hypervisor/hvm/exits.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { FakeMachine } from "../fake-machine.ts";

describe("a domain that crashes", () => {
  it("leaves the registers in the log in Xen's form", () => {
    const m = new FakeMachine();
    const domain = m.domain();
    const vcpu = domain.vcpus[0]!;
    vcpu.core.activate();
    vcpu.core.setSlot(0x18, 0x1234_5678_9abc_def0n);
    vcpu.core.setSlot(0x20, 0x4000n);
    handleExit(vcpu, EXIT_NESTED_MISCONFIG);
    expect(domain.shutdownCode).toBe(SHUTDOWN_crash);
    const text = m.hv.log.lines.map((l) => l.text).join("\n");
    expect(text).toContain(`(XEN) Domain 1 (vcpu#0) crashed on cpu#0:`);
    expect(text).toMatch(/^\(XEN\) ----\[ Xen-4\.17\S* {2}x86_64 {2}debug=n {2}Not tainted \]----$/m);
    expect(text).toMatch(/^\(XEN\) RIP: {4}0000:\[<0000000000001000>\]$/m);
    expect(text).toMatch(/^\(XEN\) RFLAGS: 0000000000000002 {3}CONTEXT: hvm guest \(d1v0\)$/m);
    expect(text).toMatch(/^\(XEN\) rax: 0{16} {3}rbx: 123456789abcdef0 {3}rcx: 0{16}$/m);
    expect(text).toMatch(/^\(XEN\) r15: 0{16} {3}cr0: 0000000000000011 {3}cr4: 0{16}$/m);
    expect(text).toMatch(/^\(XEN\) ds: 0000 {3}es: 0000 {3}fs: 0000 {3}gs: 0000 {3}ss: 0000 {3}cs: 0000$/m);
    expect(text).toMatch(/^\(XEN\) {4}00000000 00000000 00000000 00000000$/m);
  });

  it("does not take another domain with it", () => {
    const m = new FakeMachine();
    const bad = m.domain({ name: "bad" });
    const good = m.domain({ name: "good" });
    m.behaviour = (core, deadline) => {
      core.charge(Math.min(1000, deadline - core.now()));
      return core === bad.vcpus[0]!.core ? EXIT_NESTED_MISCONFIG : 0;
    };
    bad.unpause();
    good.unpause();
    expect(runMachine(m.hv, 10_000_000)).toBe("cycle-limit");
    expect(bad.shutdownCode).toBe(SHUTDOWN_crash);
    expect(good.isShutDown).toBe(false);
    const free = m.hv.heap.freeFrames;
    destroyDomain(bad);
    expect(m.hv.heap.ownedBy(bad.domid)).toBe(0);
    expect(m.hv.heap.freeFrames).toBeGreaterThan(free + 64);
    expect(runMachine(m.hv, 20_000_000)).toBe("cycle-limit");
  });

  it("crashes after a triple fault, with a dump", () => {
    const m = new FakeMachine();
    const domain = m.domain();
    domain.vcpus[0]!.core.activate();
    handleExit(domain.vcpus[0]!, EXIT_TRIPLE_FAULT);
    expect(domain.shutdownCode).toBe(SHUTDOWN_crash);
    expect(domain.crashText.join("\n")).toContain("Triple fault - invoking HVM shutdown action 3");
    expect(domain.crashText.join("\n")).toContain("RIP:");
  });

  it("powers off when the last vcpu halts with interrupts off, and not before", () => {
    const m = new FakeMachine();
    const domain = m.domain({ maxVcpus: 2 });
    for (const v of domain.vcpus) {
      v.isInitialised = true;
      v.pauseFlags = 0;
      v.core.activate();
      v.core.i32[RFLAGS_SYS >>> 2] = 2;
    }
    domain.vcpus[0]!.core.activate();
    handleExit(domain.vcpus[0]!, EXIT_HLT);
    expect(domain.isShutDown).toBe(false);
    domain.vcpus[1]!.core.activate();
    handleExit(domain.vcpus[1]!, EXIT_HLT);
    expect(domain.shutdownCode).toBe(SHUTDOWN_poweroff);
  });
});
