/** HYPERVISOR_hvm_op (public/hvm/hvm_op.h, public/hvm/params.h): parameters, the upcall vector, and small queries. */
import { flushCores } from "../../cpu/mmu/contexts.ts";
import { EEXIST, EFAULT, EINVAL, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../abi/errno.ts";
import * as H from "../abi/hvm.ts";
import { HYPERVISOR_hvm_op } from "../abi/hypercall.ts";
import { LAYOUT_32, LAYOUT_64 } from "../abi/layout.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { readGuest, writeGuest, writeGuest64 } from "../memory/guest-access.ts";
import { isGrant, isRam, isReadOnly } from "../memory/p2m.ts";
import { updateWallclock } from "../time/pv-clock.ts";
import { COST_TLB_FLUSH } from "./costs.ts";
import { defineHypercall } from "./dispatch.ts";

/** Parameters that a guest may set, and read, itself; all others are the toolstack's. */
const GUEST_MAY_SET: ReadonlySet<number> = new Set([
  H.HVM_PARAM_CALLBACK_IRQ,
  H.HVM_PARAM_VM86_TSS,
  H.HVM_PARAM_VM86_TSS_SIZED,
  H.HVM_PARAM_ACPI_IOPORTS_LOCATION,
  H.HVM_PARAM_VM_GENERATION_ID_ADDR,
  H.HVM_PARAM_STORE_EVTCHN,
  H.HVM_PARAM_CONSOLE_EVTCHN,
  H.HVM_PARAM_X87_FIP_WIDTH,
]);
const GUEST_MAY_GET: ReadonlySet<number> = new Set([
  ...GUEST_MAY_SET,
  H.HVM_PARAM_STORE_PFN,
  H.HVM_PARAM_CONSOLE_PFN,
  H.HVM_PARAM_ALTP2M,
]);
const SET_ONCE: ReadonlySet<number> = new Set([
  H.HVM_PARAM_VIRIDIAN,
  H.HVM_PARAM_IOREQ_SERVER_PFN,
  H.HVM_PARAM_NR_IOREQ_SERVER_PAGES,
  H.HVM_PARAM_ALTP2M,
  H.HVM_PARAM_MCA_CAP,
]);

/** Numbers that mean nothing any more (hvm_allow_get_param, hvm_allow_set_param). */
const DEPRECATED: ReadonlySet<number> = new Set([
  H.HVM_PARAM_MEMORY_EVENT_CR0,
  H.HVM_PARAM_MEMORY_EVENT_CR3,
  H.HVM_PARAM_MEMORY_EVENT_CR4,
  H.HVM_PARAM_MEMORY_EVENT_INT3,
  H.HVM_PARAM_MEMORY_EVENT_SINGLE_STEP,
  H.HVM_PARAM_MEMORY_EVENT_MSR,
  H.HVM_PARAM_PAE_ENABLED,
  H.HVM_PARAM_DM_DOMAIN,
  H.HVM_PARAM_NESTEDHVM,
  H.HVM_PARAM_BUFIOREQ_EVTCHN,
]);

/** What HVMOP_get_mem_type answers. */
const HVMMEM_ram_rw = 0;
const HVMMEM_ram_ro = 1;
const HVMMEM_mmio_dm = 2;

/** hvm_latch_shinfo_size: the guest's shared structures have the layout of the mode it is in now. */
export function latchLayout(vcpu: Vcpu): void {
  const domain = vcpu.domain;
  const layout = vcpu.in64BitCode() ? LAYOUT_64 : LAYOUT_32;
  if (domain.layout === layout) return;
  domain.layout = layout;
  updateWallclock(domain);
}

/** hvm_set_callback_via. PVH has neither PIC nor I/O APIC, so anything but a vector has no effect. */
function setCallback(domain: Domain, via: bigint): void {
  if (Number(via >> 56n) !== H.HVM_PARAM_CALLBACK_TYPE_VECTOR) return;
  domain.callbackVector = Number(via & 0xffn);
  domain.hypervisor.log.xen(
    `Dom${domain.domid} callback via changed to Direct Vector 0x${domain.callbackVector.toString(16).padStart(2, "0")}`,
  );
  for (const v of domain.vcpus) if (v.isUp && v.upcallPending) v.kick();
}

/** Sets a parameter for the toolstack, or after the guest's right to it was checked. @returns 0 or -errno. */
export function setParam(domain: Domain, index: number, value: bigint): number {
  switch (index) {
    case H.HVM_PARAM_CALLBACK_IRQ:
      setCallback(domain, value);
      break;
    case H.HVM_PARAM_ACPI_IOPORTS_LOCATION:
      return -ENODEV;
    case H.HVM_PARAM_X87_FIP_WIDTH:
      if (value !== 0n && value !== 4n && value !== 8n) return -EINVAL;
      break;
  }
  domain.params[index] = value;
  return 0;
}

/** The HVM domain that a guest named, if it may. @returns -errno otherwise. */
function targetDomain(vcpu: Vcpu, domid: number): Domain | number {
  if (domid === DOMID_SELF || domid === vcpu.domain.domid) return vcpu.domain.isPv ? -EINVAL : vcpu.domain;
  return vcpu.domain.hypervisor.domain(domid) === null ? -ESRCH : -EPERM;
}

type HvmOp = (vcpu: Vcpu, arg: bigint) => number;

const OPS: Readonly<Record<number, HvmOp>> = {
  /** struct xen_hvm_param: domid u16, pad, index u32, value u64. */
  [H.HVMOP_set_param](vcpu, arg) {
    const s = readGuest(vcpu, arg, 16);
    if (s === null) return -EFAULT;
    const index = s.getUint32(4, true);
    const value = s.getBigUint64(8, true);
    if (index >= H.HVM_NR_PARAMS) return -EINVAL;
    const domain = targetDomain(vcpu, s.getUint16(0, true));
    if (typeof domain === "number") return domain;
    if (DEPRECATED.has(index)) return -EINVAL;
    if (!GUEST_MAY_SET.has(index)) return -EPERM;
    const old = domain.params[index]!;
    if (SET_ONCE.has(index) && old !== 0n && old !== value) return -EEXIST;
    if (index === H.HVM_PARAM_CALLBACK_IRQ) latchLayout(vcpu);
    return setParam(domain, index, value);
  },
  [H.HVMOP_get_param](vcpu, arg) {
    const s = readGuest(vcpu, arg, 16);
    if (s === null) return -EFAULT;
    const index = s.getUint32(4, true);
    if (index >= H.HVM_NR_PARAMS) return -EINVAL;
    const domain = targetDomain(vcpu, s.getUint16(0, true));
    if (typeof domain === "number") return domain;
    if (DEPRECATED.has(index)) return -EINVAL;
    if (!GUEST_MAY_GET.has(index)) return -EPERM;
    s.setBigUint64(8, domain.params[index]!, true);
    return writeGuest(vcpu, arg, s) ? 0 : -EFAULT;
  },
  /** struct xen_hvm_evtchn_upcall_vector: vcpu u32, vector u8. */
  [H.HVMOP_set_evtchn_upcall_vector](vcpu, arg) {
    if (vcpu.domain.isPv) return -EINVAL;
    const s = readGuest(vcpu, arg, 8);
    if (s === null) return -EFAULT;
    const vector = s.getUint8(4);
    if (vector < 0x10) return -EINVAL;
    const target = vcpu.domain.vcpu(s.getUint32(0, true));
    if (target === null) return -ENOENT;
    vcpu.domain.hypervisor.log.xen(
      `d${vcpu.domain.domid}v${target.id}: upcall vector ${vector.toString(16).padStart(2, "0")}`,
    );
    target.upcallVector = vector;
    if (target.upcallPending) target.assertUpcall();
    return 0;
  },
  [H.HVMOP_flush_tlbs](vcpu, arg) {
    if (arg !== 0n || vcpu.domain.isPv) return -EINVAL;
    flushCores(vcpu.domain.vcpus.map((v) => v.core));
    vcpu.charge("tlb", COST_TLB_FLUSH);
    return 0;
  },
  /** A hint for shadow paging, which a guest with nested paging doesn't have. */
  [H.HVMOP_pagetable_dying](vcpu, arg) {
    const s = readGuest(vcpu, arg, 16);
    if (s === null) return -EFAULT;
    const domain = targetDomain(vcpu, s.getUint16(0, true));
    return domain === -EPERM ? -EOPNOTSUPP : typeof domain === "number" ? domain : -EINVAL;
  },
  [H.HVMOP_get_time](vcpu, arg) {
    return writeGuest64(vcpu, arg, BigInt(vcpu.domain.hypervisor.systemTime())) ? 0 : -EFAULT;
  },
  /** struct xen_hvm_get_mem_type: domid u16, mem_type u16 (out), pad, pfn u64. */
  [H.HVMOP_get_mem_type](vcpu, arg) {
    const s = readGuest(vcpu, arg, 16);
    if (s === null) return -EFAULT;
    const domain = targetDomain(vcpu, s.getUint16(0, true));
    if (typeof domain === "number") return domain;
    const pfn = s.getBigUint64(8, true);
    const type = domain.p2m.typeOf(pfn < 1n << 40n ? Number(pfn) : -1);
    const readable = isRam(type) || isGrant(type);
    s.setUint16(2, !readable ? HVMMEM_mmio_dm : isReadOnly(type) ? HVMMEM_ram_ro : HVMMEM_ram_rw, true);
    return writeGuest(vcpu, arg, s) ? 0 : -EFAULT;
  },
  /** Trace records of the guest's own: nobody traces. */
  [H.HVMOP_xentrace](vcpu, arg) {
    return readGuest(vcpu, arg, 4) === null ? -EFAULT : 0;
  },
  /** Nobody monitors. */
  [H.HVMOP_guest_request_vm_event]: (_vcpu, arg) => (arg === 0n ? 0 : -EINVAL),
  [H.HVMOP_altp2m]: () => -EOPNOTSUPP,
};

defineHypercall(HYPERVISOR_hvm_op, (vcpu, args) => {
  const op = OPS[Number(args[0]! & 0xffff_ffffn)];
  return op === undefined ? -ENOSYS : op(vcpu, args[1]!);
});
