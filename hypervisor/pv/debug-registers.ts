/** Debug registers of PV guests (set_debugreg of pv/misc-hypercalls.c, x86emul_read_dr): the core's own, less what Xen must not allow. */
import { DR } from "../../cpu/arena.ts";
import { CR4_DE } from "../../cpu/system/bits.ts";
import { writeDr } from "../../cpu/system/dr.ts";
import { EINVAL, ENODEV, EPERM } from "../abi/errno.ts";
import { HYPERVISOR_get_debugreg, HYPERVISOR_set_debugreg } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { isGuestHalf } from "./guest-words.ts";
import { argument, definePvHypercall } from "./hypercall-table.ts";

const DR6 = (DR + 6 * 8) >>> 2;
/** Bits that are always set, and those that are always clear (asm-x86/debugreg.h). */
const STATUS_ONES = 0xffff0ff0n;
const STATUS_ZEROS = ~0xffffefffn;
const CONTROL_ONES = 0x400n;
const CONTROL_ZEROS = ~0xffff27ffn;
const GENERAL_DETECT = 0x2000n;
const ENABLED = 0xffn;
/** R/W field: I/O breakpoint. */
const RW_IO = 2n;
const U32 = 0xffff_ffffn;
/** X86_DR6_DEFAULT. */
const DR6_DEFAULT = 0xffff0ff0 | 0;

/** What #DB reports is added to the guest's DR6 (do_debug); reserved bits are as the processor has them. */
export function latchDebugStatus(vcpu: Vcpu, bits: number): void {
  vcpu.core.i32[DR6] = vcpu.core.i32[DR6]! | (bits & ~DR6_DEFAULT) | DR6_DEFAULT;
}

/** Register number with DR4 and DR5 as DR6 and DR7, unless CR4.DE makes them undefined: -1. */
function numberOf(vcpu: Vcpu, register: number): number {
  if (register < 0 || register > 7) return -1;
  if (register !== 4 && register !== 5) return register;
  return vcpu.pv!.cr4 & CR4_DE ? -1 : register + 2;
}

/** The guest's DRn, or null: #UD. */
export function readGuestDr(vcpu: Vcpu, register: number): bigint | null {
  const n = numberOf(vcpu, register);
  if (n < 0) return null;
  const value = vcpu.core.u64[(DR >>> 3) + n]!;
  return n === 7 ? value | BigInt(vcpu.pv!.dr7Emul) : value;
}

/** @returns 0; -ENODEV: there is none; -EINVAL, -EPERM: not that value */
export function setDebugRegister(vcpu: Vcpu, register: number, value: bigint): number {
  const n = numberOf(vcpu, register);
  if (n < 0) return -ENODEV;
  const lo = Number(BigInt.asIntN(32, value));
  const hi = Number(BigInt.asIntN(32, value >> 32n));
  if (n < 4) {
    if (!isGuestHalf(hi)) return -EPERM;
    writeDr(vcpu.core, n, lo, hi);
    return 0;
  }
  if (value > U32) return -EINVAL;
  if (n === 6) {
    vcpu.core.i32[DR6] = Number(BigInt.asIntN(32, (value & ~STATUS_ZEROS) | STATUS_ONES));
    return 0;
  }
  return setControl(vcpu, (value & ~CONTROL_ZEROS) | CONTROL_ONES);
}

/** DR7: I/O breakpoints need CR4.DE, and are matched by Xen's emulation of the instructions. */
function setControl(vcpu: Vcpu, value: bigint): number {
  if ((value & GENERAL_DETECT) !== 0n) return -EPERM;
  let io = 0n;
  if ((value & ENABLED) !== 0n)
    for (let n = 0n; n < 4n; n++) {
      if (((value >> (16n + 4n * n)) & 3n) !== RW_IO) continue;
      if ((vcpu.pv!.cr4 & CR4_DE) === 0) return -EPERM;
      io |= value & (3n << (2n * n));
    }
  vcpu.pv!.dr7Emul = Number(io);
  writeDr(vcpu.core, 7, Number(BigInt.asIntN(32, value & ~io)), 0);
  return 0;
}

definePvHypercall(HYPERVISOR_set_debugreg, (vcpu, args) => setDebugRegister(vcpu, args[0]!, argument(args, 1)));

definePvHypercall(HYPERVISOR_get_debugreg, (vcpu, args) => {
  const value = readGuestDr(vcpu, args[0]!);
  return value === null ? -ENODEV : Number(BigInt.asIntN(64, value));
});

/** Length in bytes of breakpoint `n`, by DR7. */
const LENGTHS = [1, 2, 8, 4] as const;

/** check_guest_io_breakpoint: DR6 bits of the I/O breakpoints that [port, port + size) hits. */
export function ioBreakpoints(vcpu: Vcpu, port: number, size: number): number {
  const { dr7Emul, cr4 } = vcpu.pv!;
  if (dr7Emul === 0 || (cr4 & CR4_DE) === 0) return 0;
  const { u64, i32 } = vcpu.core;
  const dr7 = i32[(DR + 56) >>> 2]!;
  let hits = 0;
  for (let n = 0; n < 4; n++) {
    if ((dr7Emul & (3 << (2 * n))) === 0) continue;
    const length = BigInt(LENGTHS[(dr7 >>> (18 + 4 * n)) & 3]!);
    const start = u64[(DR >>> 3) + n]! & -length;
    if (start < BigInt(port + size) && start + length > BigInt(port)) hits |= 1 << n;
  }
  return hits;
}
