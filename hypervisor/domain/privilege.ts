/** Who may do what to whom: the default rules of xsm/dummy.h, as far as hypercalls of guests need them. */
import { EPERM, ESRCH } from "../abi/errno.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Domain } from "./domain.ts";

/** The control domain; its toolstack may run outside of the machine, then there is no such Domain. */
export const CONTROL_DOMID = 0;

export const isControl = (domain: Domain): boolean => domain.domid === CONTROL_DOMID;

/** XSM_TARGET: a domain may do it to itself, the control domain to anybody. */
export const mayTarget = (caller: Domain, target: Domain): boolean => caller === target || isControl(caller);

/** rcu_lock_domain_by_any_id: a live domain; DOMID_SELF is the caller. */
export function domainByAnyId(caller: Domain, domid: number): Domain | null {
  return domid === DOMID_SELF ? caller : caller.hypervisor.domain(domid);
}

/** True for a control domain that exists for the guest but has no Domain here: the toolstack is not a guest. */
export const isAbsentControl = (caller: Domain, domid: number): boolean =>
  domid === CONTROL_DOMID && caller.hypervisor.domain(CONTROL_DOMID) === null;

/** The domain that `domid` names, if the caller may act on it; -ESRCH or -EPERM otherwise. */
export function targetDomain(caller: Domain, domid: number): Domain | number {
  const target = domainByAnyId(caller, domid);
  if (target === null) return isAbsentControl(caller, domid) ? -EPERM : -ESRCH;
  return mayTarget(caller, target) ? target : -EPERM;
}
