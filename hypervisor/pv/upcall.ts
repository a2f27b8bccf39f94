/** The event upcall of a PV vcpu. */
import { VCPU_INFO_UPCALL_MASK, VCPU_INFO_UPCALL_PENDING } from "../abi/layout.ts";
import type { Vcpu } from "../domain/vcpu.ts";

/** evtchn_upcall_pending, and not masked. */
export function upcallDue(vcpu: Vcpu): boolean {
  const { u8 } = vcpu.core;
  return u8[vcpu.info + VCPU_INFO_UPCALL_PENDING] !== 0 && u8[vcpu.info + VCPU_INFO_UPCALL_MASK] === 0;
}
