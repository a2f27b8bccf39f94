/** Traps for a PV guest (pv_inject_event of pv/traps.c): they wait in the vcpu's trap_bounce for the way back into the guest. */
import { hasErrorCode, VEC_PF } from "../../cpu/core.ts";
import { write32, write64 } from "../../cpu/mmu/memory.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { inKernel } from "./guest-mode.ts";
import { CR2 } from "./registers.ts";

/** trap_bounce.flags (asm-x86/domain.h). */
export const TBF_EXCEPTION = 1;
export const TBF_EXCEPTION_ERRCODE = 2;
/** Events are masked on entry. */
export const TBF_INTERRUPT = 8;

/** trap_info.flags: bits 1..0 the DPL of INT n, and this: events are masked on entry (TI_GET_IF). */
export const TI_IF = 4;
/** #PF error code: user mode. */
const PFEC_user_mode = 4;

const VECTOR_NAMES =
  "#DE #DB NMI #BP #OF #BR #UD #NM #DF CSO #TS #NP #SS #GP #PF SPV #MF #AC #MC #XM #VE #CP ??? ??? ??? ??? ??? ??? #HV #VC #SX ???".split(
    " ",
  );

/** Fills trap_bounce for `vector`. @param error error code, or -1 for none */
function fill(vcpu: Vcpu, vector: number, error: number): void {
  const pv = vcpu.pv!;
  const trap = pv.traps[vector]!;
  pv.bounceFlags = TBF_EXCEPTION | (error >= 0 ? TBF_EXCEPTION_ERRCODE : 0) | (trap.flags & TI_IF ? TBF_INTERRUPT : 0);
  pv.bounceError = error;
  pv.bounceCs = trap.cs;
  pv.bounceEipLo = trap.eipLo;
  pv.bounceEipHi = trap.eipHi;
  const isNull = vcpu.domain.pv!.is32bit ? (trap.cs & ~3) === 0 : (trap.eipLo | trap.eipHi) === 0;
  if (isNull) {
    const what = `${VECTOR_NAMES[vector] ?? "???"}[${Math.max(error, 0).toString(16).padStart(4, "0")}]`;
    vcpu.domain.hypervisor.log.xen(`d${vcpu.domain.domid}v${vcpu.id} Unhandled: vec ${vector}, ${what}`);
  }
}

/** A processor exception 0..31, with the error code if it has one. */
export function injectTrap(vcpu: Vcpu, vector: number, error = 0): void {
  fill(vcpu, vector, hasErrorCode(vector) ? error & 0xffff : -1);
}

/** INT n of a vector that the guest may use so. */
export function injectSoftware(vcpu: Vcpu, vector: number): void {
  fill(vcpu, vector, -1);
}

/** #PF at hi:lo. The user bit of `error` is made to say whether the guest's user did it. */
export function injectPageFault(vcpu: Vcpu, lo: number, hi: number, error: number): void {
  setCr2(vcpu, lo, hi);
  fill(vcpu, VEC_PF, (error & ~PFEC_user_mode & 0xffff) | (inKernel(vcpu) ? 0 : PFEC_user_mode));
}

/** arch_set_cr2: the guest reads it from its vcpu_info. */
export function setCr2(vcpu: Vcpu, lo: number, hi: number): void {
  const { core, domain } = vcpu;
  core.i32[CR2] = lo;
  core.i32[CR2 + 1] = hi;
  const at = vcpu.info + domain.layout.archCr2;
  if (domain.pv!.is32bit) write32(core, at, lo);
  else write64(core, at, lo, hi);
}
