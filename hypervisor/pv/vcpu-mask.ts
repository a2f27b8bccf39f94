/** Bitmaps of vcpus as arguments (vcpumask_to_pcpumask of xen/arch/x86/mm.c). */
import type { Vcpu } from "../domain/vcpu.ts";
import { readGuestWords } from "./guest-words.ts";

const MAX_WORDS = 8;
const mask = new Uint32Array(MAX_WORDS);
const words = new Int32Array(2);

/**
 * Reads the bitmap at guest-linear hi:lo, in words of the guest, as far as the domain has vcpus. @returns null if it can't be read;
 * the array is the same at every call.
 */
export function readVcpuMask(vcpu: Vcpu, lo: number, hi: number): Uint32Array | null {
  const { domain } = vcpu;
  const step = domain.pv!.is32bit ? 1 : 2;
  mask.fill(0);
  for (let n = 0; n * 32 < domain.vcpus.length; n += step) {
    const at = (lo >>> 0) + n * 4;
    if (!readGuestWords(vcpu, at | 0, at > 0xffff_ffff ? (hi + 1) | 0 : hi, words, step)) return null;
    mask[n] = words[0]!;
    if (step === 2) mask[n + 1] = words[1]!;
  }
  return mask;
}
