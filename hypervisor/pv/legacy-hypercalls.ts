/**
 * Hypercalls 6, 16 and 19 in their forms before Xen 3.1 and 3.2 (arch/x86/compat.c), which kernels built against older headers still
 * use (NetBSD does). Xen has them for PV guests only.
 */
import { EFAULT, ENOSYS } from "../abi/errno.ts";
import {
  HYPERVISOR_event_channel_op_compat,
  HYPERVISOR_physdev_op_compat,
  HYPERVISOR_sched_op_compat,
} from "../abi/hypercall.ts";
import { SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_yield } from "../abi/sched.ts";
import { shutdownDomain } from "../domain/lifecycle.ts";
import { eventChannelOpCompat } from "../events/hypercall.ts";
import { blockWithEvents } from "../hypercalls/sched-op.ts";
import { readGuestWords } from "./guest-words.ts";
import { argument, definePvHypercall } from "./hypercall-table.ts";
import { physdevOp } from "./physdev.ts";

/** The argument of the only command that has one is a number, not a structure. */
definePvHypercall(HYPERVISOR_sched_op_compat, (vcpu, args) => {
  switch (args[0]) {
    case SCHEDOP_yield:
      vcpu.domain.hypervisor.scheduler.yield(vcpu);
      return 0;
    case SCHEDOP_block:
      blockWithEvents(vcpu);
      return 0;
    case SCHEDOP_shutdown:
      shutdownDomain(vcpu.domain, args[2]! & 0xff);
      return 0;
    default:
      return -ENOSYS;
  }
});

definePvHypercall(HYPERVISOR_event_channel_op_compat, (vcpu, args) => eventChannelOpCompat(vcpu, argument(args, 0)));

/** struct physdev_op: the command in front of a union whose longest member begins with a long. Words of it. */
const PHYSDEV_OP_WORDS_64 = 6;
const PHYSDEV_OP_WORDS_32 = 4;
const words: Int32Array = new Int32Array(PHYSDEV_OP_WORDS_64);

definePvHypercall(HYPERVISOR_physdev_op_compat, (vcpu, args, compat) => {
  const count = compat ? PHYSDEV_OP_WORDS_32 : PHYSDEV_OP_WORDS_64;
  if (!readGuestWords(vcpu, args[0]!, args[1]!, words, count)) return -EFAULT;
  const at = argument(args, 0) + (compat ? 4n : 8n);
  return physdevOp(vcpu, words[0]!, Number(BigInt.asIntN(32, at)), Number(BigInt.asIntN(32, at >> 32n)), compat);
});
