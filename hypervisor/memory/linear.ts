/** Guest-linear addresses for the hypervisor's own accesses: with the rights of the guest's supervisor, SMAP as it is in force. */
import { DTLB, TLB_BASE, TLB_VIEW_BYTES, VIEW_SUPERVISOR_SMAP } from "../../cpu/arena.ts";
import { ACCESS_READ, ACCESS_WRITE } from "../../cpu/mmu/state.ts";
import { isCanonical, walk } from "../../cpu/mmu/walker.ts";
import { H_OK } from "../../cpu/uops/uop.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { guestByte } from "../pv/guest-words.ts";

const TLB_SMAP = DTLB + VIEW_SUPERVISOR_SMAP * TLB_VIEW_BYTES;

/**
 * Arena address of the byte at guest-linear `address` of `vcpu`, whose core must be active, or -1 if the guest's kernel could
 * not access it so. Accessed and dirty bits are set as by the processor.
 */
export function linearToArena(vcpu: Vcpu, address: bigint, write: boolean): number {
  const lo = Number(BigInt.asIntN(32, address));
  const hi = Number(BigInt.asIntN(32, address >> 32n));
  if (vcpu.pv !== null) return guestByte(vcpu, lo, hi, write);
  if (!isCanonical(hi)) return -1;
  const core = vcpu.core;
  const smap = core.i32[TLB_BASE >>> 2] === TLB_SMAP;
  if (walk(core, lo, hi, write ? ACCESS_WRITE : ACCESS_READ, false, smap) !== H_OK) return -1;
  return core.mmu.page < 0 ? -1 : core.mmu.page + (lo & 0xfff);
}
