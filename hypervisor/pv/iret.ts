/** HYPERVISOR_iret (pv/iret.c): the kernel of a PV guest returns from a bounce frame, to its user or to itself. */
import { VEC_GP } from "../../cpu/core.ts";
import { FLAG_IF, FLAG_IOPL, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from "../../cpu/flags.ts";
import { write8 } from "../../cpu/mmu/memory.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import { VMASST_TYPE_architectural_iopl } from "../abi/xen.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_HYPERCALL, COST_PV_IRET, COST_PV_TOGGLE } from "../hypercalls/costs.ts";
import { sysretToGuest } from "./bounce.ts";
import { toggleGuestMode } from "./guest-mode.ts";
import { readGuestWords, writeGuestWords } from "./guest-words.ts";
import { TI_IF } from "./inject.ts";
import * as R from "./registers.ts";
import { iretToGuest } from "./return.ts";

/** struct iret_context (public/arch-x86/xen-x86_64.h), in words: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
const CONTEXT_WORDS = 18;
const context: Int32Array = new Int32Array(CONTEXT_WORDS);
/** iret_context.flags: return as from a system call, RCX and R11 being clobbered. */
const VGCF_in_syscall = 0x100;

/** The end of every iret: events are masked unless the frame's IF is set; an NMI may come again. */
function restoreEvents(vcpu: Vcpu, flags: number): void {
  const at = vcpu.info + VCPU_INFO_UPCALL_MASK;
  const mask = flags & FLAG_IF ? 0 : 1;
  if (vcpu.core.u8[at] !== mask) write8(vcpu.core, at, mask);
  vcpu.pv!.nmiBlocked = false;
  if (vcpu.domain.vmAssist & (1 << VMASST_TYPE_architectural_iopl)) vcpu.pv!.iopl = flags & FLAG_IOPL;
}

/** do_iret. All registers come from the frame, RAX too. */
export function pvIret(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const core = vcpu.core;
  const i = core.i32;
  const c = context;
  if (!readGuestWords(vcpu, i[R.RSP]!, i[R.RSP + 1]!, c, CONTEXT_WORDS)) {
    crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} Fault while reading IRET context from guest stack`);
    return;
  }
  const cs = c[10]! & 0xffff;
  const toUser = (cs & 3) === 3;
  vcpu.domain.hypervisor.chargeHypercall(vcpu, COST_HYPERCALL + COST_PV_IRET + (toUser ? COST_PV_TOGGLE : 0));
  if (toUser) {
    if (pv.guestTableUser < 0) {
      const who = `d${vcpu.domain.domid}v${vcpu.id}`;
      crashDomain(vcpu, `${who} Guest switching to user mode with no user page tables`);
      return;
    }
    toggleGuestMode(vcpu);
  }
  const flags = c[12]!;
  restoreEvents(vcpu, flags);
  i[R.RAX] = c[0]!;
  i[R.RAX + 1] = c[1]!;
  if (c[6]! & VGCF_in_syscall) {
    sysretToGuest(vcpu, cs | 3, c[8]!, c[9]!, c[14]!, c[15]!, flags);
    return;
  }
  i[R.R11] = c[2]!;
  i[R.R11 + 1] = c[3]!;
  i[R.RCX] = c[4]!;
  i[R.RCX + 1] = c[5]!;
  iretToGuest(vcpu, cs | 3, (c[16]! & 0xffff) | 3, c[8]!, c[9]!, c[14]!, c[15]!, flags);
}

/** compat_iret: EAX, EIP, CS, EFLAGS, and ESP, SS for rings 2 and 3. */
export function pvIret32(vcpu: Vcpu): void {
  vcpu.charge("hypercall", COST_PV_IRET);
  if (!returnFrom32(vcpu)) crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} compat_iret: bad frame`);
}

function returnFrom32(vcpu: Vcpu): boolean {
  const i = vcpu.core.i32;
  const c = context;
  const esp = i[R.RSP]!;
  if (!readGuestWords(vcpu, esp, 0, c, 4)) return false;
  const flags = c[3]!;
  if (flags & FLAG_VM) return refuseVm86(vcpu, flags);
  const cs = c[2]! & 0xffff;
  const ring = cs & 3;
  if (ring === 0) return false;
  let newEsp = (esp + 16) | 0;
  let ss = i[R.SS]! & 0xffff;
  if (ring !== 1) {
    if (!readGuestWords(vcpu, esp, 0, c, 6)) return false;
    newEsp = c[4]!;
    ss = c[5]! & 0xffff;
  }
  restoreEvents(vcpu, flags);
  i[R.RAX] = c[0]!;
  i[R.RAX + 1] = 0;
  iretToGuest(vcpu, cs, ss, c[1]!, 0, newEsp, 0, flags);
  return true;
}

/**
 * There is no virtual-8086 mode for PV guests: #GP on the first instruction there. The frame (ten words with the segments of VM86) is
 * moved to the kernel's stack, with an error code of 0 in the place of EAX.
 */
function refuseVm86(vcpu: Vcpu, flags: number): boolean {
  const pv = vcpu.pv!;
  const i = vcpu.core.i32;
  const c = context;
  const to = (pv.kernelSpLo - 40) | 0;
  const ok = readGuestWords(vcpu, (i[R.RSP]! + 4) | 0, 0, c, 9) && writeGuestWords(vcpu, (to + 4) | 0, 0, c, 9);
  context[0] = 0;
  if (!ok || !writeGuestWords(vcpu, to, 0, c, 1)) return false;
  const trap = pv.traps[VEC_GP]!;
  const masked = trap.flags & TI_IF ? flags & ~FLAG_IF : flags;
  restoreEvents(vcpu, masked);
  iretToGuest(vcpu, trap.cs, pv.kernelSs, trap.eipLo, 0, to, 0, flags & ~(FLAG_VM | FLAG_RF | FLAG_NT | FLAG_TF));
  return true;
}
