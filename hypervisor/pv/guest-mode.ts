/** The two halves of a PV guest: its kernel and its user, with an address space and a GS base each (toggle_guest_mode of pv/domain.c). */
import { FETCH_PAGE, TLB_CTX } from "../../cpu/arena.ts";
import { selectContext } from "../../cpu/mmu/contexts.ts";
import { account } from "../../cpu/system/mode.ts";
import { updateRunstateArea } from "../domain/runstate.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { updateTimeArea } from "../time/pv-clock.ts";
import { CR3, CS, GSBASE, OTHER_GSBASE } from "./registers.ts";

/** PCID of the kernel's and of the user's address space. */
export const PCID_KERNEL = 0;
export const PCID_USER = 1;

/** guest_kernel_mode: the guest's kernel runs. */
export function inKernel(vcpu: Vcpu): boolean {
  return vcpu.domain.pv!.is32bit ? (vcpu.core.i32[CS]! & 3) === 1 : vcpu.pv!.kernelMode;
}

/** Loads CR3 of the (active) vcpu for the half of the guest that is current. The translations of the other half stay. */
export function loadGuestCr3(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const core = vcpu.core;
  const table = pv.kernelMode ? pv.guestTable : pv.guestTableUser;
  core.i32[CR3] = (table << 12) | (pv.kernelMode ? PCID_KERNEL : PCID_USER);
  core.i32[CR3 + 1] = table >>> 20;
  const known = core.mmu.contexts[pv.kernelMode ? PCID_KERNEL : PCID_USER]!;
  if (known === 0 || core.mmu.alignCheck) {
    selectContext(core);
    return;
  }
  // selectContext of an active core that has been in this address space before.
  core.i32[TLB_CTX >>> 2] = known;
  core.i32[FETCH_PAGE >>> 2] = -1;
  core.i32[(FETCH_PAGE + 4) >>> 2] = -1;
}

/** Switches page tables only: for a look into the kernel's memory. */
export function toggleGuestTables(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  pv.kernelMode = !pv.kernelMode;
  loadGuestCr3(vcpu);
}

/** From user to kernel or back: page tables and GS base. 64-bit guests only. The caller charges COST_PV_TOGGLE. */
export function toggleGuestMode(vcpu: Vcpu): void {
  const core = vcpu.core;
  const pv = vcpu.pv!;
  const i = core.i32;
  // What the half that ends has run goes to its account.
  account(core);
  for (let word = 0; word < 2; word++) {
    const base = i[GSBASE + word]!;
    i[GSBASE + word] = i[OTHER_GSBASE + word]!;
    i[OTHER_GSBASE + word] = base;
  }
  toggleGuestTables(vcpu);
  if (pv.kernelMode && (pv.timeAreaStale || pv.runstateAreaStale)) updateAreas(vcpu);
}

/** The areas in the kernel's memory that could not be written while the user ran. */
function updateAreas(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  if (pv.runstateAreaStale) updateRunstateArea(vcpu);
  if (pv.timeAreaStale) updateTimeArea(vcpu);
  pv.runstateAreaStale = false;
  pv.timeAreaStale = false;
}
