/** Where a PV guest wants to be called (pv/callback.c): set_trap_table, set_callbacks, callback_op, nmi_op. */
import { VEC_NMI } from "../../cpu/core.ts";
import {
  CALLBACKF_mask_events,
  CALLBACKOP_register,
  CALLBACKOP_unregister,
  CALLBACKTYPE_event,
  CALLBACKTYPE_failsafe,
  CALLBACKTYPE_nmi,
  CALLBACKTYPE_syscall,
  CALLBACKTYPE_syscall32,
  CALLBACKTYPE_sysenter,
} from "../abi/callback.ts";
import { EFAULT, EINVAL, ENOSYS } from "../abi/errno.ts";
import {
  HYPERVISOR_callback_op,
  HYPERVISOR_nmi_op,
  HYPERVISOR_set_callbacks,
  HYPERVISOR_set_trap_table,
} from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { RESTART } from "../hypercalls/dispatch.ts";
import { fixSelector } from "./check-descriptor.ts";
import { readGuestWords } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";
import { TI_IF } from "./inject.ts";
import * as R from "./registers.ts";

const XENNMI_register_callback = 0;
const XENNMI_unregister_callback = 1;
/** Entries of a trap table between two looks at pending events. */
const BATCH = 64;

const words: Int32Array = new Int32Array(4);
const isCanonicalHi = (hi: number): boolean => (hi << 16) >> 16 === hi;

/** An NMI handler is vector 2 of the trap table, with events masked. */
function registerNmi(vcpu: Vcpu, lo: number, hi: number): number {
  if (!isCanonicalHi(hi)) return -EINVAL;
  const trap = vcpu.pv!.traps[VEC_NMI]!;
  trap.flags = TI_IF;
  trap.cs = vcpu.domain.pv!.is32bit ? R.FLAT_COMPAT_KERNEL_CS : R.FLAT_CS64;
  trap.eipLo = lo;
  trap.eipHi = hi;
  return 0;
}

function unregisterNmi(vcpu: Vcpu): void {
  const trap = vcpu.pv!.traps[VEC_NMI]!;
  trap.flags = 0;
  trap.cs = 0;
  trap.eipLo = 0;
  trap.eipHi = 0;
}

/** Callback types by ABI; the NMI is no callback of its own. */
const isKnown = (vcpu: Vcpu, type: number): boolean =>
  type === CALLBACKTYPE_event ||
  type === CALLBACKTYPE_failsafe ||
  type === CALLBACKTYPE_sysenter ||
  type === CALLBACKTYPE_syscall32 ||
  (type === CALLBACKTYPE_syscall && !vcpu.domain.pv!.is32bit);

/** register_guest_callback, compat_register_guest_callback. */
function register(vcpu: Vcpu, type: number, flags: number, cs: number, lo: number, hi: number): number {
  const pv = vcpu.pv!;
  if (!isCanonicalHi(hi)) return -EINVAL;
  if (type === CALLBACKTYPE_nmi) return registerNmi(vcpu, lo, hi);
  if (!isKnown(vcpu, type)) return -ENOSYS;
  pv.callbackLo[type] = lo;
  pv.callbackHi[type] = hi;
  pv.callbackCs[type] = fixSelector(vcpu.domain, cs);
  // Event upcalls always mask events.
  if (type === CALLBACKTYPE_event) return 0;
  if (flags & CALLBACKF_mask_events) pv.callbackMasks |= 1 << type;
  else pv.callbackMasks &= ~(1 << type);
  return 0;
}

definePvHypercall(HYPERVISOR_set_callbacks, (vcpu, args, compat) => {
  // What is refused of it is refused silently: the call has always answered 0.
  if (compat) {
    register(vcpu, CALLBACKTYPE_event, 0, args[0]! & 0xffff, args[2]!, 0);
    register(vcpu, CALLBACKTYPE_failsafe, 0, args[4]! & 0xffff, args[6]!, 0);
    return 0;
  }
  register(vcpu, CALLBACKTYPE_event, 0, 0, args[0]!, args[1]!);
  register(vcpu, CALLBACKTYPE_failsafe, 0, 0, args[2]!, args[3]!);
  register(vcpu, CALLBACKTYPE_syscall, 0, 0, args[4]!, args[5]!);
  return 0;
});

/** callback_register: type u16, flags u16, address (64-bit: at 8; 32-bit: cs, eip). callback_unregister: type u16. */
definePvHypercall(HYPERVISOR_callback_op, (vcpu, args, compat) => {
  switch (args[0]) {
    case CALLBACKOP_register: {
      if (!readGuestWords(vcpu, args[2]!, args[3]!, words, compat ? 3 : 4)) return -EFAULT;
      const type = words[0]! & 0xffff;
      const flags = words[0]! >>> 16;
      return compat
        ? register(vcpu, type, flags, words[1]! & 0xffff, words[2]!, 0)
        : register(vcpu, type, flags, 0, words[2]!, words[3]!);
    }
    case CALLBACKOP_unregister: {
      if (!readGuestWords(vcpu, args[2]!, args[3]!, words, 1)) return -EFAULT;
      const type = words[0]! & 0xffff;
      if (type === CALLBACKTYPE_nmi) {
        unregisterNmi(vcpu);
        return 0;
      }
      return isKnown(vcpu, type) ? -EINVAL : -ENOSYS;
    }
    default:
      return compat ? -EINVAL : -ENOSYS;
  }
});

/** struct xennmi_callback: handler_address, pad, both unsigned longs. */
definePvHypercall(HYPERVISOR_nmi_op, (vcpu, args, compat) => {
  switch (args[0]) {
    case XENNMI_register_callback:
      if (!readGuestWords(vcpu, args[2]!, args[3]!, words, compat ? 2 : 4)) return -EFAULT;
      return registerNmi(vcpu, words[0]!, compat ? 0 : words[1]!);
    case XENNMI_unregister_callback:
      unregisterNmi(vcpu);
      return 0;
    default:
      return -ENOSYS;
  }
});

/** struct trap_info: vector u8, flags u8, cs u16, address (64-bit: at 8). An entry with address 0 ends the table; no table clears all. */
definePvHypercall(HYPERVISOR_set_trap_table, (vcpu, args, compat) => {
  const { traps } = vcpu.pv!;
  let lo = args[0]!;
  let hi = args[1]!;
  if ((lo | hi) === 0) {
    for (const trap of traps) {
      trap.flags = 0;
      trap.cs = 0;
      trap.eipLo = 0;
      trap.eipHi = 0;
    }
    return 0;
  }
  const size = compat ? 8 : 16;
  for (let n = 0; n < BATCH; n++) {
    if (!readGuestWords(vcpu, lo, hi, words, size / 4)) return -EFAULT;
    const eipLo = words[compat ? 1 : 2]!;
    const eipHi = compat ? 0 : words[3]!;
    if ((eipLo | eipHi) === 0) return 0;
    if (!isCanonicalHi(eipHi)) return -EINVAL;
    const trap = traps[words[0]! & 0xff]!;
    trap.flags = (words[0]! >>> 8) & 0xff;
    trap.cs = fixSelector(vcpu.domain, words[0]! >>> 16);
    trap.eipLo = eipLo;
    trap.eipHi = eipHi;
    lo = (lo + size) | 0;
    if (!compat && lo >>> 0 < size) hi = (hi + 1) | 0;
  }
  args[0] = lo;
  args[1] = hi;
  return RESTART;
});
