import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CPL, RIP } from "../../../cpu/arena.ts";
import { EXIT_VMCALL } from "../../../cpu/core.ts";
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../../../hypervisor/abi/errno.ts";
import {
  HVM_PARAM_CALLBACK_IRQ,
  HVM_PARAM_STORE_PFN,
  HVMOP_get_param,
  HVMOP_set_param,
} from "../../../hypervisor/abi/hvm.ts";
import * as N from "../../../hypervisor/abi/hypercall.ts";
import { LAYOUT_32 } from "../../../hypervisor/abi/layout.ts";
import { SCHEDOP_poll, SCHEDOP_shutdown, SHUTDOWN_reboot } from "../../../hypervisor/abi/sched.ts";
import * as V from "../../../hypervisor/abi/vcpu-op.ts";
import { XENVER_commandline, XENVER_get_features, XENVER_version } from "../../../hypervisor/abi/version.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import type { Domain } from "../../../hypervisor/domain/domain.ts";
import type { Vcpu } from "../../../hypervisor/domain/vcpu.ts";
import { handleExit } from "../../../hypervisor/hvm/exits.ts";
import { copyFromPhysical, copyToPhysical } from "../../../hypervisor/memory/guest-access.ts";
import { FakeMachine, result, setHypercall } from "../fake-machine.ts";

const BUFFER = 0x3000;
/** An address that no frame is at. */
const NOWHERE = 0x7000_0000;

function start(options: { maxVcpus?: number } = {}): { m: FakeMachine; domain: Domain; vcpu: Vcpu } {
  const m = new FakeMachine();
  const domain = m.domain(options);
  domain.unpause();
  return { m, domain, vcpu: domain.vcpus[0]! };
}

/** The guest is in the state of its first instruction: 32-bit mode without paging, so addresses are physical. */
function call(vcpu: Vcpu, number: number, ...args: number[]): number {
  setHypercall(vcpu, number, ...args);
  handleExit(vcpu, EXIT_VMCALL);
  return result(vcpu);
}

function put(domain: Domain, at: number, ...words: number[]): void {
  expect(copyToPhysical(domain, at, new Uint8Array(Uint32Array.from(words).buffer))).toBe(true);
}

function get(domain: Domain, at: number): number {
  const bytes = new Uint8Array(4);
  expect(copyFromPhysical(domain, at, bytes)).toBe(true);
  return new DataView(bytes.buffer).getInt32(0, true);
}

describe("the dispatch of hypercalls", () => {
  it("answers -ENOSYS for numbers that Xen doesn't have, and counts them", () => {
    const { vcpu, domain } = start();
    for (const number of [11, 55, 63, 64, 0x7fffffff, -1]) expect(call(vcpu, number)).toBe(-ENOSYS);
    expect(domain.hypercallCounts[N.NR_HYPERCALLS]).toBe(3);
    expect(domain.hypercallCounts[55]).toBe(1);
  });

  it("answers -EPERM outside of ring 0, before anything else", () => {
    const { vcpu } = start();
    vcpu.core.activate();
    vcpu.core.i32[CPL >>> 2] = 3;
    expect(call(vcpu, N.HYPERVISOR_xen_version, XENVER_version)).toBe(-EPERM);
    expect(call(vcpu, 63)).toBe(-EPERM);
  });

  it("moves RIP past the instruction", () => {
    const { vcpu } = start();
    expect(call(vcpu, N.HYPERVISOR_xen_version, XENVER_version)).toBe((4 << 16) | 17);
    expect(vcpu.core.u32[RIP >>> 2]).toBe(0x1003);
  });

  it("answers -EFAULT for a buffer that isn't there, and doesn't run half of the call", () => {
    const { vcpu, domain } = start();
    expect(call(vcpu, N.HYPERVISOR_sched_op, SCHEDOP_shutdown, NOWHERE)).toBe(-EFAULT);
    expect(call(vcpu, N.HYPERVISOR_xen_version, XENVER_get_features, NOWHERE)).toBe(-EFAULT);
    expect(domain.isShutDown).toBe(false);
  });

  it("refuses what is the control domain's, or for other guests, as Xen does", () => {
    const { vcpu, domain } = start();
    const domctl = (command: number, domid: number, version = 0x15): void =>
      put(domain, BUFFER, command, version, domid);
    for (const [command, domid, answer] of [
      [1, 77, -EPERM],
      [5, 77, -EPERM],
      [10, 77, -ESRCH],
      [10, 0, -EPERM],
      [10, domain.domid, -EPERM],
      [10, DOMID_SELF, -ESRCH],
    ] as const) {
      domctl(command, domid);
      expect(call(vcpu, N.HYPERVISOR_domctl, BUFFER)).toBe(answer);
      if (command === 10) expect(call(vcpu, N.HYPERVISOR_paging_domctl_cont, BUFFER)).toBe(answer);
    }
    domctl(9, domain.domid);
    expect(call(vcpu, N.HYPERVISOR_paging_domctl_cont, BUFFER)).toBe(-EOPNOTSUPP);
    expect(call(vcpu, N.HYPERVISOR_paging_domctl_cont, NOWHERE)).toBe(-EFAULT);
    // Its pages are no PV domain's, and it may name nobody else's.
    expect(call(vcpu, N.HYPERVISOR_mmuext_op, BUFFER, 1, 0, DOMID_SELF)).toBe(-EINVAL);
    expect(call(vcpu, N.HYPERVISOR_mmuext_op, BUFFER, 1, 0, domain.domid)).toBe(-ESRCH);
    expect(call(vcpu, N.HYPERVISOR_mmuext_op, 0, 0x80000000, 0, 42)).toBe(42);
    expect(call(vcpu, N.HYPERVISOR_mca, BUFFER)).toBe(-ENOSYS);
    expect(call(vcpu, N.HYPERVISOR_kexec_op, 0, BUFFER)).toBe(-ENOSYS);
  });

  it("writes of a text that it denies no more than the text", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, 0, 0, 0, 0x600dcafe);
    expect(call(vcpu, N.HYPERVISOR_xen_version, XENVER_commandline, BUFFER)).toBe(0);
    expect([get(domain, BUFFER), get(domain, BUFFER + 8), get(domain, BUFFER + 12)]).toEqual([
      0x6e65643c, 0, 0x600dcafe,
    ]);
  });

  it("never throws, whatever the registers hold", () => {
    const { vcpu, domain } = start({ maxVcpus: 2 });
    const word = fc.oneof(fc.integer(), fc.constantFrom(0, 1, 2, BUFFER, 0xffff, 0x3ff8, 0x7ff0, -1));
    fc.assert(
      fc.property(
        fc.nat(65),
        fc.nat(45),
        word,
        word,
        word,
        fc.array(word, { minLength: 8, maxLength: 8 }),
        (number, a, b, c, d, memory) => {
          put(domain, BUFFER, ...memory);
          call(vcpu, number, a, b, c, d, BUFFER);
          call(vcpu, number, a, BUFFER, b, c);
          if (domain.isShutDown) domain.shutdownCode = -1;
          vcpu.pauseFlags = 0;
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("multicall", () => {
  it("runs its entries and writes each result", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, N.HYPERVISOR_xen_version, 99, XENVER_version, 0, 0, 0, 0, 0, 62, 99, 0, 0, 0, 0, 0, 0);
    expect(call(vcpu, N.HYPERVISOR_multicall, BUFFER, 2)).toBe(0);
    expect(get(domain, BUFFER + 4)).toBe((4 << 16) | 17);
    expect(get(domain, BUFFER + 36)).toBe(-ENOSYS);
  });

  it("goes on after a piece by executing the same instruction again", () => {
    const { vcpu, domain } = start();
    for (let i = 0; i < 100; i++)
      put(domain, BUFFER + 32 * i, N.HYPERVISOR_xen_version, 99, XENVER_version, 0, 0, 0, 0, 0);
    setHypercall(vcpu, N.HYPERVISOR_multicall, BUFFER, 100);
    handleExit(vcpu, EXIT_VMCALL);
    expect(vcpu.core.u32[RIP >>> 2]).toBe(0x1000);
    handleExit(vcpu, EXIT_VMCALL);
    expect(vcpu.core.u32[RIP >>> 2]).toBe(0x1003);
    expect(result(vcpu)).toBe(0);
    expect(get(domain, BUFFER + 32 * 99 + 4)).toBe((4 << 16) | 17);
  });

  it("refuses a multicall in a multicall, and stops at an entry that isn't there", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, N.HYPERVISOR_multicall, 99, BUFFER, 1, 0, 0, 0, 0);
    expect(call(vcpu, N.HYPERVISOR_multicall, BUFFER, 1)).toBe(0);
    expect(get(domain, BUFFER + 4)).toBe(-EINVAL);
    expect(call(vcpu, N.HYPERVISOR_multicall, NOWHERE, 1)).toBe(-EFAULT);
  });
});

describe("vcpu_op", () => {
  it("fails for a vcpu that can't exist", () => {
    const { vcpu } = start({ maxVcpus: 2 });
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_is_up, 0)).toBe(1);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_is_up, 1)).toBe(0);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_is_up, 2)).toBe(-ENOENT);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_up, 1)).toBe(-EINVAL);
  });

  it("starts a vcpu in 32-bit mode from a context, once", () => {
    const { vcpu, domain } = start({ maxVcpus: 2 });
    const context = new DataView(new ArrayBuffer(128));
    context.setUint32(8 + 32, 0x2000, true); // eip
    context.setUint32(8 + 40, 0x11, true); // cr0
    for (let i = 0; i < 4; i++) context.setUint32(8 + 84 + 4 * i, 0xfffff, true); // limits
    context.setUint32(8 + 100, 0x67, true);
    [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b].forEach((ar, i) => {
      context.setUint16(8 + 104 + 2 * i, ar, true);
    });
    const write = (): boolean => copyToPhysical(domain, BUFFER, new Uint8Array(context.buffer));
    context.setUint16(8 + 104, 0xc93, true); // data for CS
    write();
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_initialise, 1, BUFFER)).toBe(-EINVAL);
    context.setUint16(8 + 104, 0xc9b, true);
    write();
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_initialise, 1, BUFFER)).toBe(0);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_initialise, 1, BUFFER)).toBe(-EEXIST);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_up, 1)).toBe(0);
    const second = domain.vcpus[1]!;
    expect(second.isRunnable()).toBe(true);
    second.core.activate();
    expect(second.core.u32[RIP >>> 2]).toBe(0x2000);
  });

  it("places vcpu_info in a page of the guest, with everything pending, and never twice", () => {
    const { vcpu, domain, m } = start();
    put(domain, BUFFER, 5, 0, 0x40, 0);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_register_vcpu_info, 0, BUFFER)).toBe(0);
    expect(vcpu.info).toBe(m.hv.memory.frame(domain.p2m.lookup(5)) + 0x40);
    expect(vcpu.upcallPending).toBe(true);
    expect(m.hv.heap.referencesOf(domain.p2m.lookup(5))).toBe(2);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_register_vcpu_info, 0, BUFFER)).toBe(-EINVAL);
  });

  it("writes the runstate area with times that add up to the time since it runs", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, BUFFER + 0x100);
    expect(call(vcpu, N.HYPERVISOR_vcpu_op, V.VCPUOP_register_runstate_memory_area, 0, BUFFER)).toBe(0);
    expect(get(domain, BUFFER + 0x100)).toBe(vcpu.runstate);
  });
});

describe("sched_op and hvm_op", () => {
  it("shuts the domain down for the reason given", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, SHUTDOWN_reboot);
    expect(call(vcpu, N.HYPERVISOR_sched_op, SCHEDOP_shutdown, BUFFER)).toBe(0);
    expect(domain.shutdownCode).toBe(SHUTDOWN_reboot);
    expect(vcpu.isRunnable()).toBe(false);
  });

  it("refuses a poll of more ports than Xen takes", () => {
    const { vcpu, domain } = start();
    put(domain, BUFFER, BUFFER, 129, 0, 0);
    expect(call(vcpu, N.HYPERVISOR_sched_op, SCHEDOP_poll, BUFFER)).toBe(-EINVAL);
  });

  it("lets a guest set its callback but not the toolstack's parameters, and read what it must", () => {
    const { vcpu, domain } = start();
    domain.params[HVM_PARAM_STORE_PFN] = 0xfeffcn;
    put(domain, BUFFER, DOMID_SELF, HVM_PARAM_STORE_PFN, 1, 0);
    expect(call(vcpu, N.HYPERVISOR_hvm_op, HVMOP_set_param, BUFFER)).toBe(-EPERM);
    expect(call(vcpu, N.HYPERVISOR_hvm_op, HVMOP_get_param, BUFFER)).toBe(0);
    expect(get(domain, BUFFER + 8)).toBe(0xfeffc);
    put(domain, BUFFER, DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, 0xf3, 0x02000000);
    expect(call(vcpu, N.HYPERVISOR_hvm_op, HVMOP_set_param, BUFFER)).toBe(0);
    expect(domain.callbackVector).toBe(0xf3);
    expect(domain.layout).toBe(LAYOUT_32);
    put(domain, BUFFER, DOMID_SELF, 1000, 0, 0);
    expect(call(vcpu, N.HYPERVISOR_hvm_op, HVMOP_get_param, BUFFER)).toBe(-EINVAL);
  });
});
