/** MSRs of a PVH vcpu: Xen's own, and those of the core's model; an MSR that neither has is #GP. */
import { MsrValue, readMsr, writeMsr } from "../../cpu/system/msr.ts";
import { H_OK } from "../../cpu/uops/uop.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { MSR_XEN_HYPERCALL_PAGE, writeHypercallPage } from "./hypercall-page.ts";

/** MSRs that the guest reads and writes without an exit: segment bases, system call entry points. */
const PASSED: readonly number[] = [
  0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
];
/** Layout of the bitmap (SDM 25.6.9): reads of low and of high MSRs, then writes. */
const HIGH = 0x400;
const WRITES = 0x800;

/** A bitmap in which every MSR exits but PASSED. */
export function createMsrBitmap(): Uint8Array {
  const bitmap = new Uint8Array(4096).fill(0xff);
  for (const msr of PASSED) {
    const at = (msr >= 0xc0000000 ? HIGH : 0) + ((msr & 0x1fff) >>> 3);
    for (const base of [0, WRITES]) bitmap[base + at]! &= ~(1 << (msr & 7));
  }
  return bitmap;
}

/** AMD64_NB_CFG and K8_ENABLE_C1E read as zero and take any value: Linux on AMD asks for both (hvm_msr_read_intercept). */
const READ_AS_ZERO: readonly number[] = [0xc001001f, 0xc0010055];

const value = new MsrValue();

/** Value of `msr`, or null for #GP. The core must be active. */
export function readGuestMsr(vcpu: Vcpu, msr: number): bigint | null {
  if (msr === MSR_XEN_HYPERCALL_PAGE || READ_AS_ZERO.includes(msr)) return 0n;
  if (!readMsr(vcpu.core, msr, value)) return null;
  return (BigInt(value.hi >>> 0) << 32n) | BigInt(value.lo >>> 0);
}

/** @returns false for #GP. The core must be active. */
export function writeGuestMsr(vcpu: Vcpu, msr: number, written: bigint): boolean {
  if (msr === MSR_XEN_HYPERCALL_PAGE) return writeHypercallPage(vcpu, written);
  if (READ_AS_ZERO.includes(msr)) return true;
  const lo = Number(BigInt.asIntN(32, written));
  const hi = Number(BigInt.asIntN(32, written >> 32n));
  return writeMsr(vcpu.core, msr, lo, hi) === H_OK;
}
