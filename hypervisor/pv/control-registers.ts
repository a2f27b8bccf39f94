/** CR0, CR2, CR3 and CR4 of PV guests as Xen's emulator shows and changes them (read_cr, write_cr of pv/emul-priv-op.c). */
import {
  CR0_TS,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_TSD,
} from "../../cpu/system/bits.ts";
import { updateMode } from "../../cpu/system/mode.ts";
import { HYPERVISOR_fpu_taskswitch } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { installBase } from "./base-table.ts";
import { DONE, UNHANDLED } from "./emulated.ts";
import { definePvHypercall } from "./hypercall-table.ts";
import { setCr2 } from "./inject.ts";
import * as R from "./registers.ts";

/** PV_CR4_GUEST_MASK: bits that the guest chooses; PV_CR4_GUEST_VISIBLE_MASK: bits that it sees as they are. */
const GUEST_CHOICE: number = CR4_TSD | CR4_DE | CR4_FSGSBASE | CR4_OSXSAVE;
const GUEST_VISIBLE: number = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

/** pv_fixup_guest_cr4: what the guest's CR4 is after writing `value`. */
export function fixGuestCr4(vcpu: Vcpu, value: number): number {
  return (value & GUEST_CHOICE) | (vcpu.core.i32[R.CR4]! & GUEST_VISIBLE);
}

/**
 * Sets the guest's CR4, and from it the bits of the real one that depend on it (pv_make_cr4). OSXSAVE is Xen's own choice; a 32-bit
 * guest has FSGSBASE set behind its back, where the instructions don't exist.
 */
export function setGuestCr4(vcpu: Vcpu, value: number): void {
  const { core } = vcpu;
  vcpu.pv!.cr4 = fixGuestCr4(vcpu, value);
  const followed = CR4_TSD | CR4_DE | (vcpu.domain.pv!.is32bit ? 0 : CR4_FSGSBASE);
  core.i32[R.CR4] = (core.i32[R.CR4]! & ~followed) | (vcpu.pv!.cr4 & followed);
  updateMode(core);
}

/** xen_pfn_to_cr3, compat_pfn_to_cr3: a 32-bit guest has bits 43..32 of the address in the low bits. */
export const cr3OfMfn = (mfn: number, is32bit: boolean): bigint =>
  is32bit ? BigInt(((mfn << 12) | (mfn >>> 20)) >>> 0) : BigInt(mfn) << 12n;
export const mfnOfCr3 = (cr3: bigint, is32bit: boolean): bigint =>
  is32bit ? ((cr3 & 0xffff_f000n) >> 12n) | ((cr3 & 0xfffn) << 20n) : cr3 >> 12n;

/** Machine frame of the table that the guest's kernel has loaded: a 32-bit guest's L3 is entry 0 of Xen's L4. */
export function guestBase(vcpu: Vcpu): number {
  const { guestTable } = vcpu.pv!;
  const { memory } = vcpu.domain.hypervisor;
  return vcpu.domain.pv!.is32bit ? vcpu.core.i32[memory.frame(guestTable) >>> 2]! >>> 12 : guestTable;
}

/** The guest's CRn, or null: none that may be read. */
export function readGuestCr(vcpu: Vcpu, register: number): bigint | null {
  const { core, domain } = vcpu;
  const pv = vcpu.pv!;
  switch (register) {
    case 0:
      return BigInt(core.u32[R.CR0]!);
    case 2:
      return core.u64[R.CR2 >>> 1]!;
    case 3:
      return cr3OfMfn(guestBase(vcpu), domain.pv!.is32bit);
    case 4:
      return BigInt(pv.cr4 >>> 0);
    default:
      return null;
  }
}

/** MOV CRn. @returns DONE or UNHANDLED */
export function writeGuestCr(vcpu: Vcpu, register: number, value: bigint): number {
  const { core, domain } = vcpu;
  switch (register) {
    case 0: {
      const real = BigInt(core.u32[R.CR0]! & ~CR0_TS) & 0xffff_ffffn;
      if ((value & ~BigInt(CR0_TS)) !== real) return UNHANDLED;
      setTs(vcpu, (value & BigInt(CR0_TS)) !== 0n);
      return DONE;
    }
    case 2:
      setCr2(vcpu, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
      return DONE;
    case 3: {
      const mfn = mfnOfCr3(value, domain.pv!.is32bit);
      if (mfn >= BigInt(domain.hypervisor.heap.frames)) return UNHANDLED;
      return installBase(vcpu, Number(mfn)) === 0 ? DONE : UNHANDLED;
    }
    case 4:
      setGuestCr4(vcpu, Number(BigInt.asIntN(32, value)));
      return DONE;
    default:
      return UNHANDLED;
  }
}

/** do_fpu_taskswitch. */
export function setTs(vcpu: Vcpu, set: boolean): void {
  const { core } = vcpu;
  const before = core.i32[R.CR0]!;
  const after = set ? before | CR0_TS : before & ~CR0_TS;
  if (after === before) return;
  core.i32[R.CR0] = after;
  updateMode(core);
}

definePvHypercall(HYPERVISOR_fpu_taskswitch, (vcpu, args) => {
  setTs(vcpu, args[0] !== 0);
  return 0;
});
