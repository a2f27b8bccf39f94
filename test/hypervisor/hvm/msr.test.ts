import { expect, it } from "vitest";
import { readGuestMsr, writeGuestMsr } from "../../../hypervisor/hvm/msr.ts";
import { FakeMachine } from "../fake-machine.ts";

it("MSRs of AMD's northbridge read as zero and take any value; one that nobody has does not", () => {
  const vcpu = new FakeMachine().domain().vcpus[0]!;
  vcpu.core.activate();
  for (const msr of [0xc001001f, 0xc0010055]) {
    expect(writeGuestMsr(vcpu, msr, 1n << 46n)).toBe(true);
    expect(readGuestMsr(vcpu, msr)).toBe(0n);
  }
  expect(writeGuestMsr(vcpu, 0xc0010056, 0n)).toBe(false);
  expect(readGuestMsr(vcpu, 0xc0010056)).toBe(null);
});
