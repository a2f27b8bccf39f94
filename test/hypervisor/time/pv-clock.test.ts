import { describe, expect, it } from "vitest";
import { VCPU_INFO_TIME } from "../../../hypervisor/abi/layout.ts";
import { DEFAULT_WALLCLOCK } from "../../../hypervisor/hypervisor.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { cyclesToNs, nsToCycles } from "../../../hypervisor/time/frequency.ts";
import { scaleDelta, TSC_SCALE, timeScale, updateVcpuTime } from "../../../hypervisor/time/pv-clock.ts";
import { FakeMachine } from "../fake-machine.ts";

describe("the pv clock", () => {
  it("scales ticks of any frequency to ns within a millionth", () => {
    for (const f of [1e9, 999_999_999, 2.3e9, 3e9, 5.1e9, 1e6, 100e6]) {
      const ns = Number(scaleDelta(BigInt(Math.round(f)), timeScale(f)));
      expect(Math.abs(ns - 1e9)).toBeLessThan(1000);
    }
  });

  it("chooses multiplier and shift as Xen's set_time_scale does", () => {
    expect(timeScale(2_300_000_000)).toEqual({ mul: Number(((10n ** 9n) << 32n) / 1_150_000_000n), shift: -1 });
    expect(TSC_SCALE).toEqual({ mul: 0x80000000, shift: 1 });
  });

  it("is exact at the machine's frequency", () => {
    for (const cycles of [0, 1, 999_999_999_999])
      expect(Number(scaleDelta(BigInt(cycles), TSC_SCALE))).toBe(cyclesToNs(cycles));
    expect(cyclesToNs(nsToCycles(12345))).toBe(12345);
  });

  it("leaves an even, higher version after each update, and the time of that cycle", () => {
    const m = new FakeMachine();
    const vcpu = m.domain().vcpus[0]!;
    const at = vcpu.info + VCPU_INFO_TIME;
    const before = m.hv.memory.read32(at);
    updateVcpuTime(vcpu, 5000);
    expect(m.hv.memory.read32(at)).toBe(before + 2);
    expect(m.hv.memory.read64(at + 8)).toBe(5000n);
    expect(m.hv.memory.read64(at + 16)).toBe(5000n);
    expect(m.hv.memory.read32(at + 24)).toBe(TSC_SCALE.mul);
  });

  it("is renewed every second for a vcpu that nothing interrupts", () => {
    const m = new FakeMachine();
    const domain = m.domain();
    const at = domain.vcpus[0]!.info + VCPU_INFO_TIME;
    domain.unpause();
    runMachine(m.hv, nsToCycles(500_000_000));
    const version = m.hv.memory.read32(at);
    runMachine(m.hv, nsToCycles(3_500_000_000));
    expect(m.hv.memory.read32(at)).toBe(version + 6);
    expect(Number(m.hv.memory.read64(at + 16))).toBeGreaterThan(3e9);
  });

  it("shows the fixed wall clock in shared_info, with an even version", () => {
    const m = new FakeMachine();
    const d = m.domain();
    expect(m.hv.memory.read32(d.sharedInfo + d.layout.wcVersion) % 2).toBe(0);
    expect(m.hv.memory.read32(d.sharedInfo + d.layout.wcSec)).toBe(DEFAULT_WALLCLOCK);
  });
});
