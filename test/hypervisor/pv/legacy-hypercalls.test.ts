/** Hypercalls as kernels before Xen 3.2 call them, by both ABIs. */
import { expect, it } from "vitest";
import { EVTCHNOP_bind_ipi } from "../../../hypervisor/abi/evtchn.ts";
import { VCPU_INFO_UPCALL_MASK } from "../../../hypervisor/abi/layout.ts";
import { SCHEDOP_block, SCHEDOP_poll, SCHEDOP_shutdown, SCHEDOP_yield } from "../../../hypervisor/abi/sched.ts";
import { VPF_BLOCKED } from "../../../hypervisor/domain/vcpu.ts";
import { pvMachine, SCRATCH } from "./pv-caller.ts";

const SCHED_OP = 6;
const EVENT_CHANNEL_OP = 16;
const PHYSDEV_OP = 19;
const NOWHERE = 0x1000;
const EFAULT = -14;
const EINVAL = -22;
const ENOSYS = -38;
const SET_IOPL = 6;
const SET_IOBITMAP = 7;

it.each(["pv", "pv32"] as const)("%s: sched_op with a number for its argument", (type) => {
  const p = pvMachine({ type });
  p.domain.unpause();
  expect(p.call(SCHED_OP, SCHEDOP_yield)).toBe(0);
  expect(p.call(SCHED_OP, SCHEDOP_poll, p.at(SCRATCH))).toBe(ENOSYS);
  p.hv.memory.write8(p.vcpu.info + VCPU_INFO_UPCALL_MASK, 1);
  expect(p.call(SCHED_OP, SCHEDOP_block)).toBe(0);
  expect(p.hv.memory.read8(p.vcpu.info + VCPU_INFO_UPCALL_MASK)).toBe(0);
  expect(p.vcpu.pauseFlags & VPF_BLOCKED).toBe(VPF_BLOCKED);
  expect(p.call(SCHED_OP, SCHEDOP_shutdown, 0x103)).toBe(0);
  expect([p.domain.isShutDown, p.domain.shutdownCode]).toEqual([true, 3]);
});

it.each(["pv", "pv32"] as const)("%s: event_channel_op with its command in front of the structure", (type) => {
  const p = pvMachine({ type });
  p.write(SCRATCH, [4, EVTCHNOP_bind_ipi], [4, 0], [4, 0], [0, 16]);
  expect(p.call(EVENT_CHANNEL_OP, p.at(SCRATCH))).toBe(0);
  expect(p.get32(SCRATCH, 8)).toBeGreaterThan(0);
  p.write(SCRATCH, [4, 99]);
  expect(p.call(EVENT_CHANNEL_OP, p.at(SCRATCH))).toBe(ENOSYS);
  expect(p.call(EVENT_CHANNEL_OP, NOWHERE)).toBe(EFAULT);
});

it.each(["pv", "pv32"] as const)("%s: physdev_op with its command in front of the structure", (type) => {
  const p = pvMachine({ type });
  const long = type === "pv" ? 8 : 4;
  p.write(SCRATCH, [long, SET_IOPL], [4, 1], [0, 16]);
  expect(p.call(PHYSDEV_OP, p.at(SCRATCH))).toBe(0);
  expect(p.vcpu.pv!.iopl).toBe(0x1000);
  p.write(SCRATCH, [long, SET_IOPL], [4, 4]);
  expect(p.call(PHYSDEV_OP, p.at(SCRATCH))).toBe(EINVAL);
  p.write(SCRATCH, [long, SET_IOBITMAP], [long, p.at(SCRATCH)], [4, 100]);
  expect(p.call(PHYSDEV_OP, p.at(SCRATCH))).toBe(0);
  expect([p.vcpu.pv!.ioBitmapLo, p.vcpu.pv!.ioBitmapPorts]).toEqual([Number(p.at(SCRATCH)), 100]);
  p.write(SCRATCH, [long, 99]);
  expect(p.call(PHYSDEV_OP, p.at(SCRATCH))).toBe(ENOSYS);
  expect(p.call(PHYSDEV_OP, NOWHERE)).toBe(EFAULT);
});
