/**
 * HYPERVISOR_vcpu_op of PV guests, by words: the one-shot timer, which their kernels set all the time, and VCPUOP_is_up, which Linux asks
 * for each of the 8192 vcpus that it could have. The rest is hypercalls/vcpu-op.ts.
 */
import { EFAULT, ENOENT } from "../abi/errno.ts";
import { HYPERVISOR_vcpu_op } from "../abi/hypercall.ts";
import { VCPUOP_is_up, VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer } from "../abi/vcpu-op.ts";
import { startSingleshot, stopSingleshot } from "../time/timers.ts";
import { readGuestWords } from "./guest-words.ts";
import { COMMON, definePvHypercall } from "./hypercall-table.ts";

/** struct vcpu_set_singleshot_timer: the time in ns, and flags; 12 bytes for a 32-bit guest. */
const timer = new Int32Array(4);

definePvHypercall(HYPERVISOR_vcpu_op, (vcpu, args, compat) => {
  if (args[0] === VCPUOP_is_up) {
    const target = vcpu.domain.vcpu(args[2]! >>> 0);
    return target === null ? -ENOENT : target.isUp ? 1 : 0;
  }
  // Another vcpu's is refused there.
  if (args[2] !== vcpu.id) return COMMON;
  switch (args[0]) {
    case VCPUOP_set_singleshot_timer:
      if (!readGuestWords(vcpu, args[4]!, args[5]!, timer, compat ? 3 : 4)) return -EFAULT;
      startSingleshot(vcpu, (timer[0]! >>> 0) + timer[1]! * 2 ** 32);
      return 0;
    case VCPUOP_stop_singleshot_timer:
      stopSingleshot(vcpu);
      return 0;
    default:
      return COMMON;
  }
});
