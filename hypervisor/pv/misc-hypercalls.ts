/**
 * stack_switch, set_segment_base, vm_assist and multicall of PV guests (pv/misc-hypercalls.c, common/multicall.c), and two that are the control
 * domain's whatever they ask for (XSM_PRIV).
 */
import { EFAULT, EINVAL, ENOSYS, EPERM } from "../abi/errno.ts";
import {
  HYPERVISOR_iret,
  HYPERVISOR_kexec_op,
  HYPERVISOR_mca,
  HYPERVISOR_multicall,
  HYPERVISOR_set_segment_base,
  HYPERVISOR_stack_switch,
  HYPERVISOR_vm_assist,
  NR_HYPERCALLS,
} from "../abi/hypercall.ts";
import { VMASST_CMD_disable, VMASST_CMD_enable, VMASST_TYPE_m2p_strict } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_MULTICALL_ENTRY } from "../hypercalls/costs.ts";
import { RESTART } from "../hypercalls/dispatch.ts";
import { fixSelector } from "./check-descriptor.ts";
import { inKernel } from "./guest-mode.ts";
import { addressOk, readGuestWords, writeGuestWords } from "./guest-words.ts";
import { ARG_WORDS, callPvHypercall, definePvHypercall, KEEP_REGISTERS } from "./hypercall-table.ts";
import { pvIret, pvIret32 } from "./iret.ts";
import * as R from "./registers.ts";
import { loadDataSegment } from "./segments.ts";
import { upcallDue } from "./upcall.ts";

const isCanonicalHi = (hi: number): boolean => (hi << 16) >> 16 === hi;

definePvHypercall(HYPERVISOR_stack_switch, (vcpu, args) => {
  const pv = vcpu.pv!;
  pv.kernelSs = fixSelector(vcpu.domain, args[0]! & 0xffff);
  pv.kernelSpLo = args[2]!;
  pv.kernelSpHi = args[3]!;
  return 0;
});

definePvHypercall(HYPERVISOR_kexec_op, () => -EPERM);
definePvHypercall(HYPERVISOR_mca, () => -EPERM);

// ---- segment bases ----------------------------------------------------------------------------------------------------------

/** SEGBASE_* (public/arch-x86/xen-x86_64.h). */
const SEGBASE_FS = 0;
const SEGBASE_GS_USER = 1;
const SEGBASE_GS_KERNEL = 2;
const SEGBASE_GS_USER_SEL = 3;

definePvHypercall(HYPERVISOR_set_segment_base, (vcpu, args, compat) => {
  if (compat) return -ENOSYS;
  const which = args[0]! >>> 0;
  if (which === SEGBASE_GS_USER_SEL) {
    loadUserGs(vcpu, args[2]! & 0xffff);
    return 0;
  }
  const at =
    which === SEGBASE_FS
      ? R.FSBASE
      : which === SEGBASE_GS_USER
        ? R.OTHER_GSBASE
        : which === SEGBASE_GS_KERNEL
          ? R.GSBASE
          : -1;
  if (at < 0 || !isCanonicalHi(args[3]!)) return -EINVAL;
  vcpu.core.i32[at] = args[2]!;
  vcpu.core.i32[at + 1] = args[3]!;
  return 0;
});

/** GS becomes the user's selector, and its base waits for the user; one that can't be loaded becomes null, silently. */
function loadUserGs(vcpu: Vcpu, selector: number): void {
  const i = vcpu.core.i32;
  const kernelLo = i[R.GSBASE]!;
  const kernelHi = i[R.GSBASE + 1]!;
  loadDataSegment(vcpu, R.SEG_GS, selector > 3 ? selector | 3 : selector, false);
  i[R.OTHER_GSBASE] = i[R.GSBASE]!;
  i[R.OTHER_GSBASE + 1] = i[R.GSBASE + 1]!;
  i[R.GSBASE] = kernelLo;
  i[R.GSBASE + 1] = kernelHi;
}

// ---- assists -------------------------------------------------------------------------------------------------------------------

/** PV32_VM_ASSIST_MASK: types 0..5; 64-bit guests have m2p_strict as well. */
const ASSISTS_32 = 0x3f;

definePvHypercall(HYPERVISOR_vm_assist, (vcpu, args, compat) => {
  const { domain } = vcpu;
  const type = args[2]! >>> 0;
  const known = (type < 32 && ((ASSISTS_32 >>> type) & 1) !== 0) || (type === VMASST_TYPE_m2p_strict && !compat);
  if (!known) return -EINVAL;
  const bit = 2 ** type;
  const isSet = Math.floor(domain.vmAssist / bit) % 2 === 1;
  switch (args[0]) {
    case VMASST_CMD_enable:
      if (!isSet) domain.vmAssist += bit;
      return 0;
    case VMASST_CMD_disable:
      if (isSet) domain.vmAssist -= bit;
      return 0;
    default:
      return -ENOSYS;
  }
});

// ---- multicall ------------------------------------------------------------------------------------------------------------------

/** Calls between two looks at whether the vcpu should do something else. */
const BATCH = 64;
const ENTRY_WORDS = 16;
const entry: Int32Array = new Int32Array(ENTRY_WORDS);
const inner: Int32Array = new Int32Array(ARG_WORDS);

/** struct multicall_entry: op, result, args[6], each an unsigned long. */
definePvHypercall(HYPERVISOR_multicall, (vcpu, args, compat) => {
  const long = compat ? 1 : 2;
  const size = 8 * long * 4;
  const count = args[2]! >>> 0;
  let lo = args[0]!;
  let hi = args[1]!;
  if (!addressOk(vcpu, lo, hi)) return -EFAULT;
  const again = (done: number): number => {
    args[0] = lo;
    args[1] = hi;
    args[2] = count - done;
    args[3] = 0;
    return RESTART;
  };
  for (let n = 0; n < count; n++) {
    if (n > 0 && (n === BATCH || upcallDue(vcpu))) return again(n);
    if (!readGuestWords(vcpu, lo, hi, entry, 8 * long)) return -EFAULT;
    vcpu.charge("hypercall", COST_MULTICALL_ENTRY);
    const opHi = compat ? 0 : entry[1]!;
    const op = opHi === 0 && entry[0]! >>> 0 < NR_HYPERCALLS ? entry[0]! : NR_HYPERCALLS;
    if (op === HYPERVISOR_iret) {
      // mc_exit: the frame of the return is all that counts.
      vcpu.domain.hypercallCounts[op]!++;
      if (compat) pvIret32(vcpu);
      else pvIret(vcpu);
      return KEEP_REGISTERS;
    }
    for (let k = 0; k < 6; k++) {
      inner[2 * k] = entry[(k + 2) * long]!;
      inner[2 * k + 1] = compat ? 0 : entry[(k + 2) * 2 + 1]!;
    }
    const result = op === HYPERVISOR_multicall ? -EINVAL : callPvHypercall(vcpu, op, inner, compat);
    if (result === RESTART) {
      // The rest of this one call is written back as a call of its own, and the list goes on from there.
      for (let k = 0; k < 6; k++) {
        entry[(k + 2) * long] = inner[2 * k]!;
        if (!compat) entry[(k + 2) * 2 + 1] = inner[2 * k + 1]!;
      }
      return writeGuestWords(vcpu, lo, hi, entry, 8 * long) ? again(n) : -EFAULT;
    }
    entry[0] = result | 0;
    entry[1] = Math.floor(result / 0x100000000) | 0;
    const at = (lo + 4 * long) | 0;
    if (!writeGuestWords(vcpu, at, at >>> 0 < 4 * long ? (hi + 1) | 0 : hi, entry, long)) return -EFAULT;
    lo = (lo + size) | 0;
    if (!compat && lo >>> 0 < size) hi = (hi + 1) | 0;
    // A call that ended the domain, put the vcpu to sleep or left its kernel is the last for now.
    if ((!vcpu.isRunnable() || !inKernel(vcpu)) && n + 1 < count) return again(n + 1);
  }
  return 0;
});
