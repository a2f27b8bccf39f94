import { describe, expect, it } from "vitest";
import {
  EACCES,
  EEXIST,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from "../../../hypervisor/abi/errno.ts";
import * as E from "../../../hypervisor/abi/evtchn.ts";
import { LAYOUT_32 } from "../../../hypervisor/abi/layout.ts";
import { DOMID_SELF, VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_TIMER } from "../../../hypervisor/abi/xen.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { VPF_BLOCKED } from "../../../hypervisor/domain/vcpu.ts";
import { eventChannelOp, eventChannelOpCompat } from "../../../hypervisor/events/hypercall.ts";
import { Caller, type Field, NOWHERE, SCRATCH } from "../calls.ts";
import { FakeMachine } from "../fake-machine.ts";

const INVALID_PORT = 5000;
const NO_DOMAIN = 77;

function twoGuests(options = {}): { a: Caller; b: Caller; machine: FakeMachine } {
  const machine = new FakeMachine();
  const a = new Caller(machine.domain({ maxVcpus: 2, ...options }));
  const b = new Caller(machine.domain({ maxVcpus: 2 }));
  return { a, b, machine };
}

/** An interdomain channel between the two: ports of a and b. */
function connect(a: Caller, b: Caller): [number, number] {
  const port = a.events.allocUnbound(b.domain.domid);
  const other = b.events.bindInterdomain(a.events, port);
  expect(other).toBeGreaterThan(0);
  return [port, other];
}

const info = (c: Caller, offset: number): number => c.domain.hypervisor.memory.read8(c.vcpu.info + offset);
const sharedBit = (c: Caller, base: number, port: number): boolean =>
  (c.domain.hypervisor.memory.read8(c.domain.sharedInfo + base + (port >> 3)) & (1 << (port & 7))) !== 0;

describe("operations on event channels answer wrong input as Xen does", () => {
  const cases: readonly [name: string, command: number, fields: readonly Field[], errno: number][] = [
    ["an unknown command", 99, [[4, 0]], ENOSYS],
    ["reset_cont", E.EVTCHNOP_reset_cont, [[4, 0]], ENOSYS],
    [
      "alloc_unbound for an unknown domain",
      E.EVTCHNOP_alloc_unbound,
      [
        [2, NO_DOMAIN],
        [2, 0],
        [4, 0],
      ],
      ESRCH,
    ],
    [
      "alloc_unbound in another domain",
      E.EVTCHNOP_alloc_unbound,
      [
        [2, 2],
        [2, 1],
        [4, 0],
      ],
      EPERM,
    ],
    [
      "alloc_unbound in domain 0",
      E.EVTCHNOP_alloc_unbound,
      [
        [2, 0],
        [2, 1],
        [4, 0],
      ],
      EPERM,
    ],
    [
      "bind_interdomain to an unknown domain",
      E.EVTCHNOP_bind_interdomain,
      [
        [4, NO_DOMAIN],
        [4, 1],
        [4, 0],
      ],
      ESRCH,
    ],
    [
      "bind_interdomain to an invalid port",
      E.EVTCHNOP_bind_interdomain,
      [
        [4, 2],
        [4, INVALID_PORT],
        [4, 0],
      ],
      EINVAL,
    ],
    [
      "bind_interdomain to a free port",
      E.EVTCHNOP_bind_interdomain,
      [
        [4, 2],
        [4, 9],
        [4, 0],
      ],
      EINVAL,
    ],
    [
      "bind_virq beyond the last",
      E.EVTCHNOP_bind_virq,
      [
        [4, 24],
        [4, 0],
        [4, 0],
      ],
      EINVAL,
    ],
    [
      "a global virq on vcpu 1",
      E.EVTCHNOP_bind_virq,
      [
        [4, VIRQ_CONSOLE],
        [4, 1],
        [4, 0],
      ],
      EINVAL,
    ],
    [
      "bind_virq on a vcpu that does not exist",
      E.EVTCHNOP_bind_virq,
      [
        [4, VIRQ_TIMER],
        [4, 2],
        [4, 0],
      ],
      ENOENT,
    ],
    [
      "bind_ipi on a vcpu that does not exist",
      E.EVTCHNOP_bind_ipi,
      [
        [4, 2],
        [4, 0],
      ],
      ENOENT,
    ],
    [
      "bind_pirq beyond the last",
      E.EVTCHNOP_bind_pirq,
      [
        [4, 4000],
        [4, 0],
        [4, 0],
      ],
      EINVAL,
    ],
    ["close of port 0", E.EVTCHNOP_close, [[4, 0]], EINVAL],
    ["close of a free port", E.EVTCHNOP_close, [[4, 9]], EINVAL],
    ["close of an invalid port", E.EVTCHNOP_close, [[4, INVALID_PORT]], EINVAL],
    ["send through an invalid port", E.EVTCHNOP_send, [[4, 0xffffffff]], EINVAL],
    ["send through a free port", E.EVTCHNOP_send, [[4, 9]], EINVAL],
    [
      "status of an invalid port",
      E.EVTCHNOP_status,
      [
        [4, DOMID_SELF],
        [4, INVALID_PORT],
        [0, 16],
      ],
      EINVAL,
    ],
    [
      "status of another domain's port",
      E.EVTCHNOP_status,
      [
        [4, 2],
        [4, 1],
        [0, 16],
      ],
      EPERM,
    ],
    [
      "status in an unknown domain",
      E.EVTCHNOP_status,
      [
        [4, NO_DOMAIN],
        [4, 1],
        [0, 16],
      ],
      ESRCH,
    ],
    [
      "bind_vcpu to a vcpu that does not exist",
      E.EVTCHNOP_bind_vcpu,
      [
        [4, 1],
        [4, 2],
      ],
      ENOENT,
    ],
    [
      "bind_vcpu of a free port",
      E.EVTCHNOP_bind_vcpu,
      [
        [4, 9],
        [4, 1],
      ],
      EINVAL,
    ],
    ["unmask of an invalid port", E.EVTCHNOP_unmask, [[4, INVALID_PORT]], EINVAL],
    ["reset of another domain", E.EVTCHNOP_reset, [[2, 2]], EPERM],
    ["reset of an unknown domain", E.EVTCHNOP_reset, [[2, NO_DOMAIN]], ESRCH],
    [
      "init_control for a vcpu that does not exist",
      E.EVTCHNOP_init_control,
      [
        [8, 5],
        [4, 0],
        [4, 2],
        [8, 0],
      ],
      ENOENT,
    ],
    [
      "init_control beyond the page",
      E.EVTCHNOP_init_control,
      [
        [8, 5],
        [4, 4032],
        [4, 0],
        [8, 0],
      ],
      EINVAL,
    ],
    [
      "init_control unaligned",
      E.EVTCHNOP_init_control,
      [
        [8, 5],
        [4, 4],
        [4, 0],
        [8, 0],
      ],
      EINVAL,
    ],
    [
      "init_control without a page",
      E.EVTCHNOP_init_control,
      [
        [8, 0xffffffffffn],
        [4, 0],
        [4, 0],
        [8, 0],
      ],
      EINVAL,
    ],
    ["expand_array with the 2-level ABI", E.EVTCHNOP_expand_array, [[8, 5]], EOPNOTSUPP],
    [
      "set_priority with the 2-level ABI",
      E.EVTCHNOP_set_priority,
      [
        [4, 1],
        [4, 0],
      ],
      ENOSYS,
    ],
    [
      "set_priority of an invalid port",
      E.EVTCHNOP_set_priority,
      [
        [4, INVALID_PORT],
        [4, 0],
      ],
      EINVAL,
    ],
  ];
  it.each(cases)("%s", (_name, command, fields, errno) => {
    const { a } = twoGuests();
    expect(a.evtchn(command, ...fields)).toBe(-errno);
  });

  it("a structure at an address without memory is -EFAULT", () => {
    const { a } = twoGuests();
    a.vcpu.core.activate();
    expect(eventChannelOp(a.vcpu, E.EVTCHNOP_send, BigInt(NOWHERE))).toBe(-EFAULT);
  });

  it("-ENOSPC when all ports up to the domain's limit are used, and freed ports come back", () => {
    const { a } = twoGuests({ maxEventChannels: 70 });
    for (let i = 1; i <= 70; i++) expect(a.events.allocUnbound(2)).toBe(i);
    expect(a.events.allocUnbound(2)).toBe(-ENOSPC);
    expect(a.events.close(17)).toBe(0);
    expect(a.events.allocUnbound(2)).toBe(17);
  });
});

describe("binding", () => {
  it("reports each kind of channel with its other end", () => {
    const { a, b } = twoGuests();
    const [port, other] = connect(a, b);
    const ipi = a.events.bindIpi(1);
    const virq = a.events.bindVirq(VIRQ_DEBUG, 1);
    const unbound = a.events.allocUnbound(0);
    const status = (p: number): number[] => {
      expect(a.evtchn(E.EVTCHNOP_status, [4, DOMID_SELF], [4, p], [0, 16])).toBe(0);
      return [8, 12, 16, 20].map((at) => a.get(SCRATCH + at, 4));
    };
    expect(status(port)).toEqual([E.EVTCHNSTAT_interdomain, 0, 2, other]);
    expect(status(ipi).slice(0, 2)).toEqual([E.EVTCHNSTAT_ipi, 1]);
    expect(status(virq).slice(0, 3)).toEqual([E.EVTCHNSTAT_virq, 1, VIRQ_DEBUG]);
    expect(status(unbound).slice(0, 3)).toEqual([E.EVTCHNSTAT_unbound, 0, 0]);
    expect(status(0)[0]).toBe(E.EVTCHNSTAT_closed);
    expect(b.events.close(other)).toBe(0);
    expect(status(port).slice(0, 3)).toEqual([E.EVTCHNSTAT_unbound, 0, 2]);
  });

  it("lets only the named domain bind an unbound port, once", () => {
    const { a, b } = twoGuests();
    const port = a.events.allocUnbound(7);
    expect(b.events.bindInterdomain(a.events, port)).toBe(-EINVAL);
    const [mine] = connect(a, b);
    expect(b.events.bindInterdomain(a.events, mine)).toBe(-EINVAL);
  });

  it("connects a domain with itself", () => {
    const { a } = twoGuests();
    const port = a.events.allocUnbound(a.domain.domid);
    const other = a.events.bindInterdomain(a.events, port);
    expect(other).not.toBe(port);
    expect(a.events.send(other)).toBe(0);
    expect(a.events.isPending(port)).toBe(true);
  });

  it("binds a virq once, per vcpu or per domain", () => {
    const { a } = twoGuests();
    expect(a.events.bindVirq(VIRQ_TIMER, 0)).toBeGreaterThan(0);
    expect(a.events.bindVirq(VIRQ_TIMER, 0)).toBe(-EEXIST);
    const second = a.events.bindVirq(VIRQ_TIMER, 1);
    expect(second).toBeGreaterThan(0);
    expect(a.events.bindVcpu(second, 0)).toBe(-EINVAL);
    const global = a.events.bindVirq(VIRQ_CONSOLE, 0);
    expect(a.events.bindVcpu(global, 1)).toBe(0);
    a.events.close(second);
    expect(a.events.bindVirq(VIRQ_TIMER, 1)).toBe(second);
    a.events.sendVirq(a.domain.vcpus[1]!, VIRQ_TIMER);
    expect(a.events.isPending(second)).toBe(true);
  });

  it("keeps the guest away from ports that Xen listens on", () => {
    const { a, b } = twoGuests();
    let heard = 0;
    const port = a.events.allocXen(0, b.domain.domid, () => heard++);
    expect(a.events.send(port)).toBe(-EINVAL);
    expect(a.events.close(port)).toBe(-EINVAL);
    expect(a.events.bindVcpu(port, 1)).toBe(-EINVAL);
    expect(a.evtchn(E.EVTCHNOP_status, [4, DOMID_SELF], [4, port], [0, 16])).toBe(-EACCES);
    const other = b.events.bindInterdomain(a.events, port);
    expect(b.events.send(other)).toBe(0);
    expect(heard).toBe(1);
    expect(a.events.notify(port)).toBe(true);
    expect(heard).toBe(2);
  });

  it("closes everything when a domain goes, and the other ends wait again", () => {
    const { a, b } = twoGuests();
    const [port, other] = connect(a, b);
    destroyDomain(b.domain);
    expect(a.events.channel(port)!.remote).toBeNull();
    expect(a.events.send(port)).toBe(0);
    expect(b.events.channel(other)!.state).toBe(0);
  });
});

describe("the 2-level ABI", () => {
  it("sets the pending bit, the selector and the upcall; a masked event only the bit, until it is unmasked", () => {
    const { a, b } = twoGuests();
    const [port, other] = connect(a, b);
    const { memory } = a.domain.hypervisor;
    memory.write8(a.domain.sharedInfo + 0xa00 + (port >> 3), 1 << (port & 7));
    expect(b.events.send(other)).toBe(0);
    expect(sharedBit(a, 0x800, port)).toBe(true);
    expect([info(a, 0), info(a, 8)]).toEqual([0, 0]);
    expect(a.events.unmask(port)).toBe(0);
    expect(sharedBit(a, 0xa00, port)).toBe(false);
    expect([info(a, 0), info(a, 8)]).toEqual([1, 1]);
  });

  it("uses words of 32 bits and 1024 ports for a 32-bit guest", () => {
    const { a } = twoGuests({ maxEventChannels: 4000 });
    a.domain.layout = LAYOUT_32;
    for (let i = 1; i < 1024; i++) expect(a.events.bindIpi(0)).toBe(i);
    expect(a.events.bindIpi(0)).toBe(-ENOSPC);
    expect(a.events.send(40)).toBe(0);
    expect(sharedBit(a, 0x800, 40)).toBe(true);
    expect(info(a, 4)).toBe(2);
  });

  it("raises the upcall of the vcpu that the channel is bound to", () => {
    const { a } = twoGuests();
    const port = a.events.bindIpi(1);
    a.events.send(port);
    expect(info(a, 0)).toBe(0);
    expect(a.domain.vcpus[1]!.upcallPending).toBe(true);
    expect(a.events.anyPending(a.domain.vcpus[1]!)).toBe(true);
    expect(a.events.anyPending(a.vcpu)).toBe(false);
  });
});

describe("polling", () => {
  it("wakes for its only port, also a masked one, and not for another", () => {
    const { a } = twoGuests();
    const [one, two] = [a.events.bindIpi(1), a.events.bindIpi(1)];
    a.domain.hypervisor.memory.write8(a.domain.sharedInfo + 0xa00, 0xff);
    a.vcpu.polling = [two];
    a.vcpu.pauseFlags |= VPF_BLOCKED;
    a.events.send(one);
    expect(a.vcpu.pauseFlags & VPF_BLOCKED).toBe(VPF_BLOCKED);
    a.events.send(two);
    expect(a.vcpu.pauseFlags & VPF_BLOCKED).toBe(0);
    expect(a.vcpu.polling).toBeNull();
  });

  it("answers whether a port is pending, and -EINVAL for a bad one that comes before", () => {
    const { a } = twoGuests();
    const port = a.events.bindIpi(0);
    expect(a.events.pollState([port])).toBe(false);
    a.events.send(port);
    expect(a.events.pollState([port, INVALID_PORT])).toBe(true);
    expect(a.events.pollState([INVALID_PORT, port])).toBe(-EINVAL);
  });
});

it("the old form of the hypercall has the command in front, and knows nothing after unmask", () => {
  const { a } = twoGuests();
  a.vcpu.core.activate();
  a.put(SCRATCH, [4, E.EVTCHNOP_bind_ipi], [4, 1], [4, 0], [0, 16]);
  expect(eventChannelOpCompat(a.vcpu, BigInt(SCRATCH))).toBe(0);
  expect(a.get(SCRATCH + 8, 4)).toBe(1);
  a.put(SCRATCH, [4, E.EVTCHNOP_reset], [4, DOMID_SELF], [0, 20]);
  expect(eventChannelOpCompat(a.vcpu, BigInt(SCRATCH))).toBe(-ENOSYS);
});
