/**
 * What the engine needs to know to do a PV guest's system calls, irets and INs in place (cpu/interpreter/pv-ends.ts, pv-ports.ts): words that
 * are put there whenever Xen lets the guest run, so that nothing has to be kept in step. What would need more than that is not allowed.
 */
import * as A from "../../cpu/arena.ts";
import { EXIT_PV } from "../../cpu/core.ts";
import { PV_FRAME_BYTES, PV_MAY_CALL, PV_MAY_IN, PV_MAY_IRET } from "../../cpu/interpreter/pv-ends.ts";
import { EFER_SCE } from "../../cpu/system/bits.ts";
import { CALLBACKTYPE_syscall } from "../abi/callback.ts";
import { HYPERVISOR_iret } from "../abi/hypercall.ts";
import { VMASST_TYPE_architectural_iopl } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import {
  COST_HYPERCALL,
  COST_IO,
  COST_PV_BOUNCE,
  COST_PV_EMULATE,
  COST_PV_IRET,
  COST_PV_SYSCALL,
  COST_PV_TOGGLE,
  COST_PV_TRAP,
} from "../hypercalls/costs.ts";
import { isXensStack } from "./bounce.ts";
import { PCID_KERNEL, PCID_USER } from "./guest-mode.ts";
import { isGuestHalf } from "./guest-words.ts";
import { ioplAllows } from "./ports.ts";

/** What each of them charges to the exit path and to the hypercall path, and an IN to the exit path. */
const CALL_EXIT = COST_PV_SYSCALL + COST_PV_BOUNCE + COST_PV_TOGGLE;
const IRET_EXIT = COST_PV_SYSCALL;
const IRET_HYPERCALL = COST_HYPERCALL + COST_PV_IRET;
const IRET_USER_HYPERCALL = IRET_HYPERCALL + COST_PV_TOGGLE;
const IN_EXIT = COST_PV_TRAP + COST_PV_EMULATE;

const PAGE = 4096;
const FLAG_IOPL = 0x3000;

/** The (active) vcpu is about to run. */
export function armFastPath(vcpu: Vcpu): void {
  const { core, domain } = vcpu;
  const i = core.i32;
  const pv = vcpu.pv!;
  const hv = domain.hypervisor;
  i[A.PV_MAY >>> 2] = 0;
  if (domain.pv!.is32bit || !hv.pvInEngine) return;
  if (pv.nmiBlocked || pv.nmiPending || pv.mustIret || (i[A.EFER >>> 2]! & EFER_SCE) === 0) return;
  const { memory, arena } = hv;
  i[A.PV_INFO >>> 2] = vcpu.info;
  i[A.PV_INFO_ATTR >>> 2] = arena.frameAttr + arena.frameOf(vcpu.info);
  const showsIopl = (domain.vmAssist & (1 << VMASST_TYPE_architectural_iopl)) !== 0;
  i[A.PV_IOPL >>> 2] = showsIopl ? pv.iopl : 0;
  i[A.PV_IOPL_MASK >>> 2] = showsIopl ? FLAG_IOPL : 0;
  const { contexts } = core.mmu;
  i[A.PV_CTX_KERNEL >>> 2] = contexts[PCID_KERNEL]!;
  i[A.PV_CTX_USER >>> 2] = pv.guestTableUser < 0 ? 0 : contexts[PCID_USER]!;
  i[A.PV_CR3_KERNEL >>> 2] = (pv.guestTable << 12) | PCID_KERNEL;
  i[(A.PV_CR3_KERNEL + 4) >>> 2] = pv.guestTable >>> 20;
  i[A.PV_CR3_USER >>> 2] = (pv.guestTableUser << 12) | PCID_USER;
  i[(A.PV_CR3_USER + 4) >>> 2] = pv.guestTableUser >>> 20;
  i[A.PV_GDT >>> 2] = pv.gdtFrames.length > 0 ? memory.frame(pv.gdtFrames[0]!) : 0;
  if (i[A.PV_COST_CALL >>> 2] === 0) {
    // What never changes.
    i[A.PV_GDT_RESERVED >>> 2] = memory.frame(domain.pv!.addressSpace.reservedGdtMfn);
    i[A.PV_COST_CALL >>> 2] = CALL_EXIT;
    i[A.PV_COST_IRET >>> 2] = IRET_EXIT + IRET_HYPERCALL;
    i[A.PV_COST_IRET_USER >>> 2] = IRET_EXIT + IRET_USER_HYPERCALL;
    i[A.PV_COST_IN >>> 2] = IN_EXIT + COST_IO;
  }
  // Breakpoints on ports are Xen's to match.
  const mayIn = pv.dr7Emul === 0 && ioplAllows(vcpu, true);
  i[A.PV_MAY >>> 2] = PV_MAY_IRET | (armCall(vcpu) ? PV_MAY_CALL : 0) | (mayIn ? PV_MAY_IN : 0);
}

/** The callback and the frame of a system call; the frame must lie in one page. */
function armCall(vcpu: Vcpu): boolean {
  const pv = vcpu.pv!;
  const i = vcpu.core.i32;
  const lo = pv.callbackLo[CALLBACKTYPE_syscall]!;
  const hi = pv.callbackHi[CALLBACKTYPE_syscall]!;
  i[A.PV_CALLBACK >>> 2] = lo;
  i[(A.PV_CALLBACK + 4) >>> 2] = hi;
  i[A.PV_MASKS >>> 2] = (pv.callbackMasks >>> CALLBACKTYPE_syscall) & 1;
  const top = pv.kernelSpLo & ~15;
  const frame = (top - PV_FRAME_BYTES) | 0;
  const frameHi = top >>> 0 < PV_FRAME_BYTES ? (pv.kernelSpHi - 1) | 0 : pv.kernelSpHi;
  i[A.PV_FRAME >>> 2] = frame;
  i[(A.PV_FRAME + 4) >>> 2] = frameHi;
  return (
    (lo | hi) !== 0 &&
    i[A.PV_CTX_KERNEL >>> 2] !== 0 &&
    !isXensStack(top, pv.kernelSpHi) &&
    isGuestHalf(frameHi) &&
    (frame & (PAGE - 1)) <= PAGE - PV_FRAME_BYTES &&
    !pv.timeAreaStale &&
    !pv.runstateAreaStale
  );
}

/** Takes over what the engine has counted since the last time. */
export function settleFastPath(vcpu: Vcpu): void {
  const i = vcpu.core.i32;
  const calls = i[A.PV_CALLS >>> 2]!;
  const irets = i[A.PV_IRETS >>> 2]!;
  const toUser = i[A.PV_IRETS_USER >>> 2]!;
  const ins = i[A.PV_INS >>> 2]!;
  if ((calls | irets | toUser | ins) === 0) return;
  i[A.PV_CALLS >>> 2] = i[A.PV_IRETS >>> 2] = i[A.PV_IRETS_USER >>> 2] = i[A.PV_INS >>> 2] = 0;
  vcpu.pv!.inPlace += calls + irets + toUser;
  vcpu.pv!.inPlaceIns += ins;
  const { domain } = vcpu;
  const { charged } = domain.hypervisor;
  const exit = calls * CALL_EXIT + (irets + toUser) * IRET_EXIT + ins * IN_EXIT;
  const hypercall = irets * IRET_HYPERCALL + toUser * IRET_USER_HYPERCALL;
  charged.exit += exit;
  charged.hypercall += hypercall;
  charged.io += ins * COST_IO;
  vcpu.hypervisorCycles += exit + hypercall + ins * COST_IO;
  domain.exitCounts[EXIT_PV]! += calls + irets + toUser + ins;
  domain.hypercallCounts[HYPERVISOR_iret]! += irets + toUser;
}
