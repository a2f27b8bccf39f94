/** HYPERVISOR_vcpu_op (public/vcpu.h), as far as HVM guests may call it. */
import { NMI_PENDING } from "../../cpu/arena.ts";
import { coreWord } from "../../cpu/mmu/contexts.ts";
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO } from "../abi/errno.ts";
import { HYPERVISOR_vcpu_op } from "../abi/hypercall.ts";
import { VCPU_INFO_BYTES, VCPU_INFO_UPCALL_MASK, VCPU_INFO_UPCALL_PENDING } from "../abi/layout.ts";
import { SHUTDOWN_poweroff } from "../abi/sched.ts";
import {
  VCPUOP_down,
  VCPUOP_get_physid,
  VCPUOP_get_runstate_info,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_send_nmi,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
} from "../abi/vcpu-op.ts";
import { shutdownDomain } from "../domain/lifecycle.ts";
import { runstateInfo, updateRunstateArea } from "../domain/runstate.ts";
import { type Vcpu, VPF_DOWN } from "../domain/vcpu.ts";
import { HVM_CONTEXT_BYTES, initialiseFromContext } from "../hvm/vcpu-context.ts";
import { getOwnFrame, readGuest, writeGuest } from "../memory/guest-access.ts";
import { addressOk } from "../pv/guest-words.ts";
import { contextBytes, initialisePvVcpu } from "../pv/vcpu-context.ts";
import { updateVcpuTime } from "../time/pv-clock.ts";
import { setPeriodic, startSingleshot, stopSingleshot } from "../time/timers.ts";
import { defineHypercall } from "./dispatch.ts";

/** STIME_DELTA_MAX of Xen, ns. */
const MAX_PERIOD = 2n ** 62n;
const MIN_PERIOD = 1_000_000n;

type VcpuOp = (target: Vcpu, arg: bigint, caller: Vcpu, compat: boolean) => number;

const OPS: Readonly<Record<number, VcpuOp>> = {
  [VCPUOP_initialise](target, arg, caller) {
    if (target.usesDummyInfo) return -EINVAL;
    const { pv } = target.domain;
    const context = readGuest(caller, arg, pv === null ? HVM_CONTEXT_BYTES : contextBytes(pv.is32bit));
    if (context === null) return -EFAULT;
    if (target.isInitialised) return -EEXIST;
    return pv === null ? initialiseFromContext(target, context) : initialisePvVcpu(target, context);
  },
  [VCPUOP_up](target) {
    if (!target.isInitialised) return -EINVAL;
    if (!target.isUp) {
      target.pauseFlags &= ~VPF_DOWN;
      target.wake();
    }
    return 0;
  },
  [VCPUOP_down](target) {
    const domain = target.domain;
    if (!domain.vcpus.some((v) => v !== target && v.isUp)) {
      shutdownDomain(domain, SHUTDOWN_poweroff);
      return 0;
    }
    if (target.isUp) {
      target.pauseFlags |= VPF_DOWN;
      target.sleep();
    }
    return 0;
  },
  [VCPUOP_is_up]: (target) => (target.isUp ? 1 : 0),
  [VCPUOP_get_runstate_info](target, arg, caller, compat) {
    const info = runstateInfo(target, compat, caller.domain.hypervisor.systemTime());
    return writeGuest(caller, arg, info) ? 0 : -EFAULT;
  },
  [VCPUOP_register_runstate_memory_area](target, arg, caller, compat) {
    const area = readHandle(caller, arg, compat);
    if (area === null || !areaOk(caller, area)) return -EFAULT;
    target.runstateArea = area === 0n ? null : area;
    if (area === 0n) return 0;
    if (target === caller) updateRunstateArea(target);
    else writeGuest(caller, area, runstateInfo(target, compat, caller.domain.hypervisor.systemTime()));
    return 0;
  },
  [VCPUOP_set_periodic_timer](target, arg, caller) {
    const s = readGuest(caller, arg, 8);
    if (s === null) return -EFAULT;
    const period = s.getBigUint64(0, true);
    if (period < MIN_PERIOD || period > MAX_PERIOD) return -EINVAL;
    setPeriodic(target, Number(period));
    return 0;
  },
  [VCPUOP_stop_periodic_timer](target) {
    setPeriodic(target, 0);
    return 0;
  },
  [VCPUOP_set_singleshot_timer](target, arg, caller, compat) {
    if (target !== caller) return -EINVAL;
    const s = readGuest(caller, arg, compat ? 12 : 16);
    if (s === null) return -EFAULT;
    startSingleshot(target, Number(s.getBigInt64(0, true)));
    return 0;
  },
  [VCPUOP_stop_singleshot_timer](target, _arg, caller) {
    if (target !== caller) return -EINVAL;
    stopSingleshot(target);
    return 0;
  },
  [VCPUOP_register_vcpu_info](target, arg, caller) {
    const s = readGuest(caller, arg, 16);
    if (s === null) return -EFAULT;
    return registerVcpuInfo(target, caller, s.getBigUint64(0, true), s.getUint32(8, true));
  },
  [VCPUOP_send_nmi](target, arg) {
    if (arg !== 0n) return -EINVAL;
    sendNmi(target);
    return 0;
  },
  // Only the hardware domain's pinned vcpus have one.
  [VCPUOP_get_physid]: () => -EINVAL,
  [VCPUOP_register_vcpu_time_memory_area](target, arg, caller, compat) {
    const area = readHandle(caller, arg, compat);
    if (area === null || !areaOk(caller, area)) return -EFAULT;
    target.timeArea = area === 0n ? null : area;
    if (target === caller) updateVcpuTime(target, caller.domain.hypervisor.now());
    return 0;
  },
};

/** A union of a handle and a u64: the size of an unsigned long matters. */
function readHandle(caller: Vcpu, arg: bigint, compat: boolean): bigint | null {
  const s = readGuest(caller, arg, compat ? 4 : 8);
  if (s === null) return null;
  return compat ? BigInt(s.getUint32(0, true)) : s.getBigUint64(0, true);
}

/** guest_handle_okay: Xen's part of a PV guest's address space is no place for it. */
const areaOk = (caller: Vcpu, area: bigint): boolean =>
  caller.pv === null || addressOk(caller, Number(BigInt.asIntN(32, area)), Number(BigInt.asIntN(32, area >> 32n)));

/** Makes an NMI pending; it is taken at the vcpu's next cut. */
export function sendNmi(target: Vcpu): void {
  if (target.pv !== null) target.pv.nmiPending = true;
  else target.core.i32[coreWord(target.core, NMI_PENDING) >>> 2] = 1;
  target.kick();
}

/** map_vcpu_info: from now on the vcpu_info lies in a page of the guest. */
function registerVcpuInfo(target: Vcpu, caller: Vcpu, gfn: bigint, offset: number): number {
  if (offset > 4096 - VCPU_INFO_BYTES || offset % 8 !== 0) return -ENXIO;
  if (target.infoMfn >= 0) return -EINVAL;
  if (target !== caller && target.isUp) return -EINVAL;
  const domain = target.domain;
  const mfn = gfn < 1n << 40n ? getOwnFrame(domain, Number(gfn)) : -1;
  if (mfn < 0) return -EINVAL;
  const { memory } = domain.hypervisor;
  const at = memory.frame(mfn) + offset;
  if (target.usesDummyInfo) {
    memory.write(at, new Uint8Array(VCPU_INFO_BYTES));
    memory.write8(at + VCPU_INFO_UPCALL_MASK, 1);
  } else memory.write(at, memory.read(target.info, VCPU_INFO_BYTES));
  target.info = at;
  target.infoMfn = mfn;
  // Everything is marked pending so that nothing gets lost; the guest copes with a spurious event.
  memory.write8(at + VCPU_INFO_UPCALL_PENDING, 1);
  domain.events?.vcpuInfoMoved(target);
  target.assertUpcall();
  if (target === caller) updateVcpuTime(target, domain.hypervisor.now());
  return 0;
}

defineHypercall(HYPERVISOR_vcpu_op, (vcpu, args, compat) => {
  const command = Number(BigInt.asIntN(32, args[0]!));
  const target = vcpu.domain.vcpu(Number(args[1]! & 0xffff_ffffn));
  // An id at or above the maximum must fail, or Linux counts vcpus for ever.
  if (target === null) return -ENOENT;
  const op = OPS[command];
  return op === undefined ? -ENOSYS : op(target, args[2]!, vcpu, compat);
});
