/** HYPERVISOR_multicall (public/xen.h): several hypercalls in one exit. */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { HYPERVISOR_multicall, NR_HYPERCALLS } from "../abi/hypercall.ts";
import { readGuest, writeGuest } from "../memory/guest-access.ts";
import { COST_MULTICALL_ENTRY } from "./costs.ts";
import { callHypercall, defineHypercall, RESTART, restart, takeRestart } from "./dispatch.ts";

/** Calls between two looks at pending events. */
const BATCH = 64;
const ARGS = 6;

/** struct multicall_entry: op, result, args[6], each an unsigned long. */
defineHypercall(HYPERVISOR_multicall, (vcpu, args, compat) => {
  const word = compat ? 4 : 8;
  const count = Number(args[1]! & 0xffff_ffffn);
  const now = Math.min(count, BATCH);
  for (let i = 0; i < now; i++) {
    const at = args[0]! + BigInt(i * word * (ARGS + 2));
    const entry = readGuest(vcpu, at, word * (ARGS + 2));
    if (entry === null) return -EFAULT;
    const get = (n: number): bigint =>
      compat ? BigInt(entry.getUint32(n * 4, true)) : entry.getBigUint64(n * 8, true);
    const op = get(0);
    const number = op < BigInt(NR_HYPERCALLS) ? Number(op) : NR_HYPERCALLS;
    vcpu.charge("hypercall", COST_MULTICALL_ENTRY);
    const inner = Array.from({ length: ARGS }, (_, n) => get(n + 2));
    // A multicall in a multicall is refused, as Xen does.
    const result = number === HYPERVISOR_multicall ? -EINVAL : callHypercall(vcpu, number, inner, compat);
    if (result === RESTART) {
      // The rest of this one call is written back as a call of its own, and the list goes on from there.
      takeRestart().forEach((value, n) => {
        if (compat) entry.setUint32((n + 2) * 4, Number(value & 0xffff_ffffn), true);
        else entry.setBigUint64((n + 2) * 8, BigInt.asUintN(64, value), true);
      });
      return writeGuest(vcpu, at, entry) ? restart(at, BigInt(count - i)) : -EFAULT;
    }
    const value = new DataView(new ArrayBuffer(word));
    if (compat) value.setInt32(0, Number(BigInt.asIntN(32, BigInt(result))), true);
    else value.setBigInt64(0, BigInt(result), true);
    if (!writeGuest(vcpu, at + BigInt(word), value)) return -EFAULT;
    // A call that ended the domain, or put the vcpu to sleep, is the last for now.
    if (!vcpu.isRunnable() && i + 1 < count) return restart(at + BigInt(word * (ARGS + 2)), BigInt(count - i - 1));
  }
  if (count > now) return restart(args[0]! + BigInt(now * word * (ARGS + 2)), BigInt(count - now));
  return 0;
});
