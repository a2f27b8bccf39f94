/** What the timers, time areas, runstates, blocking and the watchdog of a guest do, for PVH and for PV guests of both widths. */
import { describe, expect, it } from "vitest";
import { EXIT_VMCALL } from "../../../cpu/core.ts";
import { EFAULT, EINVAL, ENOSPC } from "../../../hypervisor/abi/errno.ts";
import { EVTCHNOP_bind_virq } from "../../../hypervisor/abi/evtchn.ts";
import * as N from "../../../hypervisor/abi/hypercall.ts";
import { VCPU_INFO_UPCALL_MASK, VCPU_INFO_UPCALL_PENDING } from "../../../hypervisor/abi/layout.ts";
import {
  SCHEDOP_block,
  SCHEDOP_poll,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SHUTDOWN_watchdog,
} from "../../../hypervisor/abi/sched.ts";
import * as V from "../../../hypervisor/abi/vcpu-op.ts";
import { VIRQ_TIMER, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag } from "../../../hypervisor/abi/xen.ts";
import type { Domain } from "../../../hypervisor/domain/domain.ts";
import { type Vcpu, VPF_BLOCKED } from "../../../hypervisor/domain/vcpu.ts";
import { handleExit } from "../../../hypervisor/hvm/exits.ts";
import { copyFromPhysical, copyToPhysical } from "../../../hypervisor/memory/guest-access.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { type Field, pack } from "../calls.ts";
import { FakeMachine, MIB, result, setHypercall } from "../fake-machine.ts";
import { PvCaller, SCRATCH } from "../pv/pv-caller.ts";

const US = 1000;
const MS = 1000 * US;
/** Cycles are ns: the processor has 1 GHz. */
const AREA = 0x800;

/** A guest of one type: hypercalls with a structure at `at(0)`. */
interface Guest {
  readonly m: FakeMachine;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  readonly long: 4 | 8;
  at(offset: number): number | bigint;
  call(number: number, ...args: (number | bigint)[]): number;
  write(...fields: Field[]): void;
  get32(offset: number): number;
}

function pvGuest(type: "pv" | "pv32"): Guest {
  const m = new FakeMachine({}, 64 * MIB);
  const p = new PvCaller(m, { type });
  return {
    m,
    domain: p.domain,
    vcpu: p.vcpu,
    long: type === "pv" ? 8 : 4,
    at: (offset) => p.at(SCRATCH, offset),
    call: (number, ...args) => p.call(number, ...args),
    write: (...fields) => p.write(SCRATCH, ...fields),
    get32: (offset) => p.get32(SCRATCH, offset),
  };
}

function pvhGuest(): Guest {
  const m = new FakeMachine();
  const domain = m.domain({ maxVcpus: 2 });
  const vcpu = domain.vcpus[0]!;
  const base = 0x3000;
  return {
    m,
    domain,
    vcpu,
    long: 4,
    at: (offset) => base + offset,
    call(number, ...args) {
      setHypercall(vcpu, number, ...args.map(Number));
      handleExit(vcpu, EXIT_VMCALL);
      return result(vcpu);
    },
    write: (...fields) => void copyToPhysical(domain, base, pack(fields)),
    get32(offset) {
      const bytes = new Uint8Array(4);
      copyFromPhysical(domain, base + offset, bytes);
      return new DataView(bytes.buffer).getUint32(0, true);
    },
  };
}

describe.each(["pvh", "pv", "pv32"] as const)("a %s guest", (type) => {
  const start = (): Guest => {
    const g = type === "pvh" ? pvhGuest() : pvGuest(type);
    g.domain.unpause();
    g.m.hv.memory.write8(g.vcpu.info + VCPU_INFO_UPCALL_MASK, 1);
    return g;
  };
  const run = (g: Guest, ns: number): unknown => runMachine(g.m.hv, g.m.hv.now() + ns);
  const bindTimer = (g: Guest): void => {
    g.write([4, VIRQ_TIMER], [4, 0], [4, 0]);
    expect(g.call(N.HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, g.at(0))).toBe(0);
  };
  /** A timer event since the last look. */
  const fired = (g: Guest): boolean => {
    const { memory } = g.m.hv;
    const { sharedInfo, layout } = g.domain;
    const was = memory.read8(g.vcpu.info + VCPU_INFO_UPCALL_PENDING) !== 0;
    memory.write8(g.vcpu.info + VCPU_INFO_UPCALL_PENDING, 0);
    memory.write64(sharedInfo + layout.evtchnPending, 0n);
    memory.write64(g.vcpu.info + layout.pendingSel, 0n);
    return was;
  };
  const at64 = (g: Guest, offset: number): number => g.get32(offset) + (g.get32(offset + 4) & 0x7fffffff) * 2 ** 32;

  it("has a periodic timer that goes on until it is stopped", () => {
    const g = start();
    bindTimer(g);
    fired(g);
    g.write([8, 2 * MS]);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_set_periodic_timer, 0, g.at(0))).toBe(0);
    for (let n = 0; n < 3; n++) {
      run(g, 1.5 * MS);
      expect(fired(g)).toBe(n > 0);
      run(g, 0.5 * MS + 100 * US);
      expect(fired(g)).toBe(n === 0);
      run(g, 0.4 * MS);
    }
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_stop_periodic_timer, 0, 0)).toBe(0);
    fired(g);
    run(g, 10 * MS);
    expect(fired(g)).toBe(false);
  });

  it("has a one-shot timer by set_timer_op, which 0 stops", () => {
    const g = start();
    bindTimer(g);
    fired(g);
    const timer = (ns: number): number =>
      g.long === 8
        ? g.call(N.HYPERVISOR_set_timer_op, ns)
        : g.call(N.HYPERVISOR_set_timer_op, ns % 2 ** 32, Math.floor(ns / 2 ** 32));
    expect(timer(g.m.hv.now() + MS)).toBe(0);
    run(g, 0.9 * MS);
    expect(fired(g)).toBe(false);
    run(g, 0.2 * MS);
    expect(fired(g)).toBe(true);
    timer(g.m.hv.now() + MS);
    timer(0);
    run(g, 2 * MS);
    expect(fired(g)).toBe(false);
    // A time far away: Xen looks again after 100 ms.
    timer(2 ** 60);
    run(g, 99 * MS);
    expect(fired(g)).toBe(false);
    run(g, 2 * MS);
    expect(fired(g)).toBe(true);
  });

  it("has its time in an area of its own as well", () => {
    const g = start();
    g.write([g.long, g.at(AREA)]);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_register_vcpu_time_memory_area, 0, g.at(0))).toBe(0);
    const first = at64(g, AREA + 16);
    expect(g.get32(AREA) & 1).toBe(0);
    run(g, 3e9);
    const { memory } = g.m.hv;
    expect(at64(g, AREA + 16)).toBeGreaterThan(first + 1e9);
    expect(at64(g, AREA + 16)).toBe(Number(memory.read64(g.vcpu.info + 0x20 + 16)));
  });

  it("has its runstate in an area, marked while it changes if it wants that", () => {
    const g = start();
    expect(g.call(N.HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag)).toBe(0);
    g.write([g.long, g.at(AREA)]);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_register_runstate_memory_area, 0, g.at(0))).toBe(0);
    run(g, MS);
    expect(g.get32(AREA)).toBe(V.RUNSTATE_running);
    expect(at64(g, AREA + (g.long === 8 || type === "pvh" ? 8 : 4))).toBeLessThan(g.m.hv.now());
    g.write([4, V.RUNSTATE_offline]);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_get_runstate_info, 0, g.at(0))).toBe(0);
    expect(g.get32(0)).toBe(V.RUNSTATE_running);
  });

  it("sleeps in block and poll until an event, or the time it has named", () => {
    const g = start();
    bindTimer(g);
    fired(g);
    run(g, US);
    expect(g.call(N.HYPERVISOR_sched_op, SCHEDOP_block, 0)).toBe(0);
    expect(g.vcpu.pauseFlags & VPF_BLOCKED).toBe(VPF_BLOCKED);
    if (type !== "pvh") expect(g.m.hv.memory.read8(g.vcpu.info + VCPU_INFO_UPCALL_MASK)).toBe(0);
    g.m.hv.memory.write8(g.vcpu.info + VCPU_INFO_UPCALL_MASK, 1);
    g.vcpu.unblock();
    fired(g);
    run(g, US);
    const timeout = g.m.hv.now() + 5 * MS;
    g.write(
      [g.long, g.at(64)],
      [4, 1],
      [g.long === 8 ? 4 : 0, 0],
      [8, timeout],
      [0, 64 - (g.long === 8 ? 24 : 16)],
      [4, 1],
    );
    expect(g.call(N.HYPERVISOR_sched_op, SCHEDOP_poll, g.at(0))).toBe(0);
    expect(g.vcpu.pauseFlags & VPF_BLOCKED).toBe(VPF_BLOCKED);
    run(g, 4.9 * MS);
    expect(g.vcpu.pauseFlags & VPF_BLOCKED).toBe(VPF_BLOCKED);
    run(g, 0.2 * MS);
    expect(g.vcpu.pauseFlags & VPF_BLOCKED).toBe(0);
  });

  it("has two watchdogs, one of which ends it", () => {
    const g = start();
    const watchdog = (id: number, seconds: number): number => {
      g.write([4, id], [4, seconds]);
      return g.call(N.HYPERVISOR_sched_op, SCHEDOP_watchdog, g.at(0));
    };
    expect([watchdog(0, 3), watchdog(0, 5), watchdog(0, 9), watchdog(3, 1)]).toEqual([1, 2, -ENOSPC, -EINVAL]);
    run(g, 2e9);
    expect([watchdog(1, 0), watchdog(1, 4), watchdog(2, 2)]).toEqual([0, -EINVAL, 0]);
    run(g, 1.9e9);
    expect(g.domain.isShutDown).toBe(false);
    run(g, 0.2e9);
    expect([g.domain.isShutDown, g.domain.shutdownCode]).toEqual([true, SHUTDOWN_watchdog]);
  });

  it("ends at once by a new watchdog of no time, as Xen has it", () => {
    const g = start();
    g.write([4, 0], [4, 0]);
    expect(g.call(N.HYPERVISOR_sched_op, SCHEDOP_watchdog, g.at(0))).toBe(1);
    run(g, MS);
    expect(g.domain.shutdownCode).toBe(SHUTDOWN_watchdog);
  });

  it("names the code of a shutdown that comes later", () => {
    const g = start();
    g.write([4, 4]);
    expect(g.call(N.HYPERVISOR_sched_op, SCHEDOP_shutdown_code, g.at(0))).toBe(0);
    expect(g.domain.presetShutdownCode).toBe(4);
    expect(g.domain.isShutDown).toBe(false);
  });

  it.skipIf(type === "pvh")("has no area of time in Xen's part of the address space", () => {
    const g = start();
    const xen = g.long === 8 ? 0xffff800000001000n : 0xf5801000n;
    g.write([g.long, xen]);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_register_vcpu_time_memory_area, 0, g.at(0))).toBe(-EFAULT);
    expect(g.call(N.HYPERVISOR_vcpu_op, V.VCPUOP_register_runstate_memory_area, 0, g.at(0))).toBe(-EFAULT);
  });
});
