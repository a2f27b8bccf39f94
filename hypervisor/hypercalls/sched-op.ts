/** HYPERVISOR_sched_op (public/sched.h). */

import { RFLAGS_SYS } from "../../cpu/arena.ts";
import { FLAG_IF } from "../../cpu/flags.ts";
import { EFAULT, EINVAL, ENOSPC, ENOSYS, EPERM, ESRCH } from "../abi/errno.ts";
import { HYPERVISOR_sched_op } from "../abi/hypercall.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import {
  SCHEDOP_block,
  SCHEDOP_pin_override,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  SHUTDOWN_watchdog,
} from "../abi/sched.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import { shutdownDomain } from "../domain/lifecycle.ts";
import { type Vcpu, VPF_BLOCKED } from "../domain/vcpu.ts";
import { eventsNeedDelivery } from "../hvm/interrupts.ts";
import { readGuest } from "../memory/guest-access.ts";
import { nsToCycles } from "../time/frequency.ts";
import { defineHypercall } from "./dispatch.ts";

const MAX_POLL_PORTS = 128;
const NR_WATCHDOGS = 2;
const NS_PER_SECOND = 1e9;

/** vcpu_block: sleeps until an event, unless one is there. */
export function blockVcpu(vcpu: Vcpu): void {
  vcpu.pauseFlags |= VPF_BLOCKED;
  if (eventsNeedDelivery(vcpu)) vcpu.pauseFlags &= ~VPF_BLOCKED;
  else vcpu.sleep();
}

/** vcpu_block_enable_events: for an HVM guest "enabling events" is RFLAGS.IF. */
export function blockWithEvents(vcpu: Vcpu): void {
  if (vcpu.pv !== null) vcpu.domain.hypervisor.memory.write8(vcpu.info + VCPU_INFO_UPCALL_MASK, 0);
  else vcpu.core.i32[RFLAGS_SYS >>> 2]! |= FLAG_IF;
  blockVcpu(vcpu);
}

defineHypercall(HYPERVISOR_sched_op, (vcpu, args, compat) => {
  const domain = vcpu.domain;
  const arg = args[1]!;
  switch (Number(BigInt.asIntN(32, args[0]!))) {
    case SCHEDOP_yield:
      domain.hypervisor.scheduler.yield(vcpu);
      return 0;
    case SCHEDOP_block:
      blockWithEvents(vcpu);
      return 0;
    case SCHEDOP_shutdown: {
      const s = readGuest(vcpu, arg, 4);
      if (s === null) return -EFAULT;
      shutdownDomain(domain, s.getUint32(0, true) & 0xff);
      return 0;
    }
    case SCHEDOP_shutdown_code: {
      const s = readGuest(vcpu, arg, 4);
      if (s === null) return -EFAULT;
      domain.presetShutdownCode = s.getUint32(0, true) & 0xff;
      return 0;
    }
    case SCHEDOP_poll:
      return poll(vcpu, arg, compat);
    case SCHEDOP_remote_shutdown: {
      const s = readGuest(vcpu, arg, 8);
      if (s === null) return -EFAULT;
      const domid = s.getUint16(0, true);
      if (domid === DOMID_SELF || domid === domain.domid) return -EPERM;
      return domain.hypervisor.domain(domid) === null ? -ESRCH : -EPERM;
    }
    case SCHEDOP_watchdog: {
      const s = readGuest(vcpu, arg, 8);
      if (s === null) return -EFAULT;
      return watchdog(vcpu, s.getUint32(0, true), s.getUint32(4, true));
    }
    case SCHEDOP_pin_override:
      // The hardware domain's; nobody else's argument is even looked at.
      return -EPERM;
    default:
      return -ENOSYS;
  }
});

/** struct sched_poll: handle of u32 ports, nr_ports u32, timeout u64 (system time, 0 none). */
function poll(vcpu: Vcpu, arg: bigint, compat: boolean): number {
  const s = readGuest(vcpu, arg, compat ? 16 : 24);
  if (s === null) return -EFAULT;
  const handle = compat ? BigInt(s.getUint32(0, true)) : s.getBigUint64(0, true);
  const count = s.getUint32(compat ? 4 : 8, true);
  const timeout = s.getBigUint64(compat ? 8 : 16, true);
  if (count > MAX_POLL_PORTS) return -EINVAL;
  const list = readGuest(vcpu, handle, count * 4);
  if (list === null) return -EFAULT;
  const ports = Array.from({ length: count }, (_, i) => list.getUint32(i * 4, true));
  if (eventsNeedDelivery(vcpu)) return 0;
  const { hypervisor: hv, events } = vcpu.domain;
  const state = events?.pollState(ports) ?? -EINVAL;
  if (typeof state === "number") return state;
  if (state) return 0;
  vcpu.polling = ports;
  vcpu.pauseFlags |= VPF_BLOCKED;
  if (timeout !== 0n && timeout < 1n << 52n)
    vcpu.pollTimer = hv.queue.schedule(nsToCycles(Number(timeout)), () => {
      vcpu.pollTimer = 0;
      vcpu.unblock();
    });
  vcpu.sleep();
  return 0;
}

/** domain_watchdog: id 0 allocates one and returns its id; timeout 0 (seconds) stops an old one. */
function watchdog(vcpu: Vcpu, id: number, timeout: number): number {
  const domain = vcpu.domain;
  const { queue } = domain.hypervisor;
  if (id > NR_WATCHDOGS) return -EINVAL;
  const arm = (slot: number): void => {
    domain.watchdogs[slot] = queue.schedule(queue.now() + nsToCycles(timeout * NS_PER_SECOND), () => {
      domain.watchdogs[slot] = 0;
      shutdownDomain(domain, SHUTDOWN_watchdog);
    });
  };
  if (id === 0) {
    const slot = domain.watchdogs.slice(0, NR_WATCHDOGS).indexOf(0);
    if (slot < 0) return -ENOSPC;
    arm(slot);
    return slot + 1;
  }
  if (domain.watchdogs[id - 1] === 0) return -EINVAL;
  queue.cancel(domain.watchdogs[id - 1]!);
  domain.watchdogs[id - 1] = 0;
  if (timeout !== 0) arm(id - 1);
  return 0;
}
