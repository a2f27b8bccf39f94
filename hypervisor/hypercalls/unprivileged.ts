/** set_timer_op, vm_assist, and hypercalls that a domain without privilege is refused: with Xen's errno for each. */
import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../abi/errno.ts";
import {
  HYPERVISOR_dm_op,
  HYPERVISOR_domctl,
  HYPERVISOR_hypfs_op,
  HYPERVISOR_mmuext_op,
  HYPERVISOR_paging_domctl_cont,
  HYPERVISOR_physdev_op,
  HYPERVISOR_platform_op,
  HYPERVISOR_set_timer_op,
  HYPERVISOR_sysctl,
  HYPERVISOR_vm_assist,
  HYPERVISOR_xenpmu_op,
} from "../abi/hypercall.ts";
import { MMU_UPDATE_PREEMPTED } from "../abi/mmu.ts";
import { DOMID_SELF, VMASST_CMD_disable, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag } from "../abi/xen.ts";
import { isAbsentControl } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { readGuest } from "../memory/guest-access.ts";
import { setSingleshot, stopSingleshot } from "../time/timers.ts";
import { defineHypercall } from "./dispatch.ts";

/** The timeout is a signed 64-bit time, in two registers for a 32-bit guest; 0 stops the timer. */
defineHypercall(HYPERVISOR_set_timer_op, (vcpu, args, compat) => {
  const timeout = BigInt.asIntN(64, compat ? args[0]! | (args[1]! << 32n) : args[0]!);
  const now = vcpu.domain.hypervisor.systemTime();
  if (timeout === 0n) stopSingleshot(vcpu);
  // Linux once computed absurd timeouts; Xen looks again in 100 ms.
  else if (timeout < 0n || (timeout - BigInt(now)) >> 50n > 0n) setSingleshot(vcpu, now + 100_000_000);
  else setSingleshot(vcpu, Number(timeout));
  return 0;
});

/** Assists that an HVM guest may have. */
const VALID_ASSISTS: number = 1 << VMASST_TYPE_runstate_update_flag;

defineHypercall(HYPERVISOR_vm_assist, (vcpu, args) => {
  const command = Number(args[0]! & 0xffff_ffffn);
  const type = Number(args[1]! & 0xffff_ffffn);
  if (type >= 32 || ((VALID_ASSISTS >>> type) & 1) === 0) return -EINVAL;
  if (command !== VMASST_CMD_enable && command !== VMASST_CMD_disable) return -ENOSYS;
  if (command === VMASST_CMD_enable) vcpu.domain.vmAssist |= 1 << type;
  else vcpu.domain.vmAssist &= ~(1 << type);
  return 0;
});

const XEN_DOMCTL_INTERFACE_VERSION = 0x15;
const XEN_DOMCTL_createdomain = 1;
const XEN_DOMCTL_getdomaininfo = 5;
const XEN_DOMCTL_shadow_op = 10;
const XEN_SYSCTL_INTERFACE_VERSION = 0x15;
const XENPF_INTERFACE_VERSION = 0x03000001;

/** The head that the three control interfaces share: cmd u32, interface_version u32. @returns an errno, or the head. */
function controlHead(vcpu: Vcpu, arg: bigint, bytes: number, version: number): DataView | number {
  const s = readGuest(vcpu, arg, bytes);
  if (s === null) return -EFAULT;
  return s.getUint32(4, true) === version ? s : -EACCES;
}

defineHypercall(HYPERVISOR_domctl, (vcpu, args) => {
  const s = controlHead(vcpu, args[0]!, 144, XEN_DOMCTL_INTERFACE_VERSION);
  if (typeof s === "number") return s;
  const command = s.getUint32(0, true);
  if (command === XEN_DOMCTL_createdomain || command === XEN_DOMCTL_getdomaininfo) return -EPERM;
  return refuseDomain(vcpu, s.getUint16(8, true));
});

/** rcu_lock_domain_by_id: by its number only, nobody's own domain is DOMID_SELF there. */
const refuseDomain = ({ domain }: Vcpu, domid: number): number =>
  domain.hypervisor.domain(domid) !== null || isAbsentControl(domain, domid) ? -EPERM : -ESRCH;

/** do_paging_domctl_cont: nobody may continue what he could not begin. */
defineHypercall(HYPERVISOR_paging_domctl_cont, (vcpu, args) => {
  const s = readGuest(vcpu, args[0]!, 144);
  if (s === null) return -EFAULT;
  if (s.getUint32(0, true) !== XEN_DOMCTL_shadow_op || s.getUint32(4, true) !== XEN_DOMCTL_INTERFACE_VERSION)
    return -EOPNOTSUPP;
  return refuseDomain(vcpu, s.getUint16(8, true));
});

defineHypercall(HYPERVISOR_sysctl, (vcpu, args) => {
  const s = controlHead(vcpu, args[0]!, 136, XEN_SYSCTL_INTERFACE_VERSION);
  return typeof s === "number" ? s : -EPERM;
});

defineHypercall(HYPERVISOR_platform_op, (vcpu, args) => {
  const s = controlHead(vcpu, args[0]!, 136, XENPF_INTERFACE_VERSION);
  return typeof s === "number" ? s : -EPERM;
});

/** domid in the first register: remote domains only (rcu_lock_remote_domain_by_id), and no privilege over them. */
defineHypercall(HYPERVISOR_dm_op, (vcpu, args) => {
  const domid = Number(args[0]! & 0xffffn);
  if (domid === DOMID_SELF || domid === vcpu.domain.domid) return -EPERM;
  return vcpu.domain.hypervisor.domain(domid) === null ? -ESRCH : -EPERM;
});

/** PVH has no PIRQs, and none of the rest is for a domain without hardware (hvm_physdev_op). */
defineHypercall(HYPERVISOR_physdev_op, () => -ENOSYS);
/**
 * do_mmuext_op, compat_mmuext_op of an HVM guest, which may name nobody's pages: its own are no PV domain's, and a translated domain has
 * no foreign ones (get_pg_owner). A PV guest's is pv/mmuext.ts.
 */
defineHypercall(HYPERVISOR_mmuext_op, (_vcpu, args, compat) => {
  const count = Number(BigInt.asIntN(32, args[1]!));
  if (count === MMU_UPDATE_PREEMPTED && args[0] === 0n) return Number(BigInt.asIntN(32, args[3]!));
  if (compat && (count & ~MMU_UPDATE_PREEMPTED) === 0) return 0;
  return Number(args[3]! & 0xffffn) === DOMID_SELF ? -EINVAL : -ESRCH;
});

defineHypercall(HYPERVISOR_xenpmu_op, () => -EOPNOTSUPP);
defineHypercall(HYPERVISOR_hypfs_op, () => -EPERM);
