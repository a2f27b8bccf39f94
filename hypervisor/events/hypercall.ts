/**
 * HYPERVISOR_event_channel_op: structures of public/event_channel.h to operations on EventChannels. They have the same layout
 * for 32-bit and 64-bit guests.
 */
import { EACCES, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from "../abi/errno.ts";
import {
  EVTCHN_FIFO_LINK_BITS,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_pirq,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
} from "../abi/evtchn.ts";
import { HYPERVISOR_event_channel_op } from "../abi/hypercall.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { domainByAnyId, isAbsentControl, mayTarget, targetDomain } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_COPY_PAGE, COST_EVENT_SEND } from "../hypercalls/costs.ts";
import { defineHypercall } from "../hypercalls/dispatch.ts";
import { readGuest, writeGuest } from "../memory/guest-access.ts";
import { ECS_FREE, ECS_INTERDOMAIN, ECS_IPI, ECS_PIRQ, ECS_RESERVED, ECS_UNBOUND, ECS_VIRQ } from "./channel.ts";
import { eventsOf } from "./channels.ts";

/** An operation on its structure: 0 or -errno; `s` is written back on 0 if the table says so. */
interface Operation {
  readonly bytes: number;
  readonly run: (caller: Domain, s: DataView) => number;
  readonly out?: true;
}

const u16 = (s: DataView, at: number): number => s.getUint16(at, true);
const u32 = (s: DataView, at: number): number => s.getUint32(at, true);
/** A frame number; anything beyond the p2m stays beyond it. */
const frame = (s: DataView, at: number): number => Number(s.getBigUint64(at, true));

/** Stores a port at `at`, or passes an error on. */
function putPort(s: DataView, at: number, port: number): number {
  if (port < 0) return port;
  s.setUint32(at, port, true);
  return 0;
}

function allocUnbound(caller: Domain, s: DataView): number {
  const domid = u16(s, 0);
  const target = domainByAnyId(caller, domid);
  if (target === null) return isAbsentControl(caller, domid) ? -EPERM : -ESRCH;
  const remote = u16(s, 2);
  const port = eventsOf(target).allocUnbound(remote === DOMID_SELF ? caller.domid : remote, mayTarget(caller, target));
  return putPort(s, 4, port);
}

function bindInterdomain(caller: Domain, s: DataView): number {
  const domid = u16(s, 0);
  const remote = domainByAnyId(caller, domid);
  // A toolstack outside of the machine offers no ports.
  if (remote === null) return isAbsentControl(caller, domid) ? -EINVAL : -ESRCH;
  return putPort(s, 8, eventsOf(caller).bindInterdomain(eventsOf(remote), u32(s, 4)));
}

/** Status by state of the channel. */
const STATUS: Readonly<Record<number, number>> = {
  [ECS_FREE]: EVTCHNSTAT_closed,
  [ECS_RESERVED]: EVTCHNSTAT_closed,
  [ECS_UNBOUND]: EVTCHNSTAT_unbound,
  [ECS_INTERDOMAIN]: EVTCHNSTAT_interdomain,
  [ECS_PIRQ]: EVTCHNSTAT_pirq,
  [ECS_VIRQ]: EVTCHNSTAT_virq,
  [ECS_IPI]: EVTCHNSTAT_ipi,
};

function status(caller: Domain, s: DataView): number {
  const domid = u16(s, 0);
  const target = domainByAnyId(caller, domid);
  if (target === null) return isAbsentControl(caller, domid) ? -EPERM : -ESRCH;
  const channel = eventsOf(target).channel(u32(s, 4));
  if (channel === null) return -EINVAL;
  if (channel.xenConsumer !== null) return -EACCES;
  if (!mayTarget(caller, target)) return -EPERM;
  s.setUint32(8, STATUS[channel.state]!, true);
  s.setUint32(12, channel.notifyVcpu, true);
  if (channel.state === ECS_UNBOUND || channel.state === ECS_INTERDOMAIN) s.setUint16(16, channel.remoteDomid, true);
  if (channel.state === ECS_INTERDOMAIN) s.setUint32(20, channel.remotePort, true);
  if (channel.state === ECS_PIRQ || channel.state === ECS_VIRQ) s.setUint32(16, channel.irq, true);
  return 0;
}

function reset(caller: Domain, s: DataView): number {
  const target = targetDomain(caller, u16(s, 0));
  if (typeof target === "number") return target;
  // Only a domain itself, or one that was paused for it, may be reset.
  return target === caller ? eventsOf(target).reset() : -EINVAL;
}

function initControl(caller: Domain, s: DataView): number {
  s.setUint8(16, EVTCHN_FIFO_LINK_BITS);
  return eventsOf(caller).initControl(u32(s, 12), frame(s, 0), u32(s, 8));
}

const OPERATIONS: Readonly<Record<number, Operation>> = {
  [EVTCHNOP_alloc_unbound]: { bytes: 8, run: allocUnbound, out: true },
  [EVTCHNOP_bind_interdomain]: { bytes: 12, run: bindInterdomain, out: true },
  [EVTCHNOP_bind_virq]: {
    bytes: 12,
    run: (caller, s) => putPort(s, 8, eventsOf(caller).bindVirq(u32(s, 0), u32(s, 4))),
    out: true,
  },
  [EVTCHNOP_bind_ipi]: {
    bytes: 8,
    run: (caller, s) => putPort(s, 4, eventsOf(caller).bindIpi(u32(s, 0))),
    out: true,
  },
  [EVTCHNOP_bind_pirq]: {
    bytes: 12,
    run: (caller, s) => putPort(s, 8, eventsOf(caller).bindPirq(u32(s, 0))),
    out: true,
  },
  [EVTCHNOP_close]: { bytes: 4, run: (caller, s) => eventsOf(caller).close(u32(s, 0)) },
  [EVTCHNOP_send]: { bytes: 4, run: (caller, s) => eventsOf(caller).send(u32(s, 0)) },
  [EVTCHNOP_status]: { bytes: 24, run: status, out: true },
  [EVTCHNOP_bind_vcpu]: { bytes: 8, run: (caller, s) => eventsOf(caller).bindVcpu(u32(s, 0), u32(s, 4)) },
  [EVTCHNOP_unmask]: { bytes: 4, run: (caller, s) => eventsOf(caller).unmask(u32(s, 0)) },
  [EVTCHNOP_reset]: { bytes: 2, run: reset },
  [EVTCHNOP_init_control]: { bytes: 24, run: initControl, out: true },
  [EVTCHNOP_expand_array]: { bytes: 8, run: (caller, s) => eventsOf(caller).expandArray(frame(s, 0)) },
  [EVTCHNOP_set_priority]: { bytes: 8, run: (caller, s) => eventsOf(caller).setPriority(u32(s, 0), u32(s, 4)) },
};

/** do_event_channel_op. @param arg guest-linear address of the operation's structure. */
export function eventChannelOp(vcpu: Vcpu, command: number, arg: bigint): number {
  const operation = OPERATIONS[command];
  if (operation === undefined) return -ENOSYS;
  vcpu.charge("copy", COST_COPY_PAGE);
  const s = readGuest(vcpu, arg, operation.bytes);
  if (s === null) return -EFAULT;
  vcpu.charge("event", COST_EVENT_SEND);
  const rc = operation.run(vcpu.domain, s);
  if (rc !== 0 || operation.out === undefined) return rc;
  return writeGuest(vcpu, arg, s) ? 0 : -EFAULT;
}

/** The last operation that the old form of the hypercall knows. */
const COMPAT_LAST = EVTCHNOP_unmask;

/**
 * do_event_channel_op_compat, hypercall 16: the command in front of the structure. Xen offers it to PV guests only, so it has no
 * place in the table that HVM and PVH guests call through.
 */
export function eventChannelOpCompat(vcpu: Vcpu, arg: bigint): number {
  const s = readGuest(vcpu, arg, 28);
  if (s === null) return -EFAULT;
  const command = u32(s, 0);
  return command <= COMPAT_LAST ? eventChannelOp(vcpu, command, arg + 4n) : -ENOSYS;
}

// The command is an int: the register's upper half says nothing.
defineHypercall(HYPERVISOR_event_channel_op, (vcpu, args) =>
  eventChannelOp(vcpu, Number(args[0]! & 0xffff_ffffn), args[1]!),
);
