/** Runstates (public/vcpu.h): where a vcpu's time went, and the guest's copy of it. */
import {
  RUNSTATE_blocked,
  RUNSTATE_INFO_BYTES,
  RUNSTATE_INFO_BYTES_COMPAT,
  RUNSTATE_offline,
  RUNSTATE_runnable,
  XEN_RUNSTATE_UPDATE_HIGH,
} from "../abi/vcpu-op.ts";
import { VMASST_TYPE_runstate_update_flag } from "../abi/xen.ts";
import { copyToGuest, writeGuest32 } from "../memory/guest-access.ts";
import { cyclesToNs } from "../time/frequency.ts";
import type { Vcpu } from "./vcpu.ts";

/** vcpu_runstate_change, and the guest's copy if the vcpu is the active one. */
export function setRunstate(vcpu: Vcpu, state: number, cycle: number): void {
  const now = cyclesToNs(cycle);
  if (vcpu.runstate === state) return;
  const spent = now - vcpu.runstateEntered;
  if (spent > 0) {
    vcpu.runstateTime[vcpu.runstate]! += spent;
    vcpu.runstateEntered = now;
  }
  vcpu.runstate = state;
  // As update_runstate_area: a vcpu that stops or starts updates its own area, through its own page tables.
  if (vcpu.runstateArea !== null && vcpu.core.shared.active === vcpu.core && !vcpu.domain.isDying)
    updateRunstateArea(vcpu);
}

/** vcpu_runstate_info as the guest reads it at `now` ns; the current state's time includes what has passed. */
export function runstateInfo(vcpu: Vcpu, compat: boolean, now: number): DataView {
  const view = new DataView(new ArrayBuffer(compat ? RUNSTATE_INFO_BYTES_COMPAT : RUNSTATE_INFO_BYTES));
  const entry = compat ? 4 : 8;
  view.setUint32(0, vcpu.runstate, true);
  view.setBigUint64(entry, BigInt(vcpu.runstateEntered), true);
  for (let state = 0; state < 4; state++) {
    const open = state === vcpu.runstate ? Math.max(now - vcpu.runstateEntered, 0) : 0;
    view.setBigUint64(entry + 8 + 8 * state, BigInt(vcpu.runstateTime[state]! + open), true);
  }
  return view;
}

/** Writes the registered area. With VMASST runstate_update_flag the guest sees that an update is going on. */
export function updateRunstateArea(vcpu: Vcpu): void {
  const area = vcpu.runstateArea;
  if (area === null) return;
  if (vcpu.pv !== null && !vcpu.pv.kernelMode) {
    vcpu.pv.runstateAreaStale = true;
    return;
  }
  const { compat, vmAssist } = vcpu.domain;
  const entry = compat ? 4 : 8;
  // The area holds the sums as of the last change; the guest adds what has passed since state_entry_time.
  const view = runstateInfo(vcpu, compat, vcpu.runstateEntered);
  const bytes = new Uint8Array(view.buffer);
  const flagged = (vmAssist & (1 << VMASST_TYPE_runstate_update_flag)) !== 0;
  const high = view.getUint32(entry + 4, true);
  if (flagged) view.setUint32(entry + 4, (high | XEN_RUNSTATE_UPDATE_HIGH) >>> 0, true);
  if (!copyToGuest(vcpu, area, bytes)) return;
  if (flagged) writeGuest32(vcpu, area + BigInt(entry + 4), high);
}

/** The runstate of a vcpu that does not run. */
export function stoppedState(vcpu: Vcpu): number {
  if (vcpu.isRunnable()) return RUNSTATE_runnable;
  return vcpu.pauseFlags !== 0 && vcpu.isUp ? RUNSTATE_blocked : RUNSTATE_offline;
}
