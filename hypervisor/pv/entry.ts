/**
 * The way back into a PV guest (test_all_events of x86_64/entry.S): what waits for it is put onto its stack as bounce frames, in Xen's
 * order - a trap, an NMI, the event upcall.
 */
import { VEC_NMI } from "../../cpu/core.ts";
import { getFlags } from "../../cpu/flags.ts";
import { CALLBACKTYPE_event } from "../abi/callback.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { createBounceFrame } from "./bounce.ts";
import { injectTrap, TBF_EXCEPTION, TBF_INTERRUPT } from "./inject.ts";
import * as R from "./registers.ts";
import { iretToGuest } from "./return.ts";
import { reloadSegments } from "./segments.ts";
import { upcallDue } from "./upcall.ts";

/** Frames for one entry; a guest whose handlers can't even be entered must not keep the machine. */
const MOST_FRAMES = 16;

/** Injects what is due into the (active) vcpu. @returns false if the vcpu can't go on, or not yet. */
export function enterPvGuest(vcpu: Vcpu): boolean {
  const pv = vcpu.pv!;
  if (pv.segmentsStale) reloadSegments(vcpu);
  for (let frames = 0; frames < MOST_FRAMES; frames++) {
    if (!vcpu.isRunnable()) return false;
    if ((pv.bounceFlags & TBF_EXCEPTION) !== 0) bounceTrap(vcpu);
    else if (pv.nmiPending && !pv.nmiBlocked) bounceNmi(vcpu);
    else if (upcallDue(vcpu)) {
      const lo = pv.callbackLo[CALLBACKTYPE_event]!;
      const hi = pv.callbackHi[CALLBACKTYPE_event]!;
      vcpu.domain.eventsDelivered++;
      createBounceFrame(vcpu, lo, hi, pv.callbackCs[CALLBACKTYPE_event]!, TBF_INTERRUPT, 0);
    } else if (!pv.mustIret || firstIret(vcpu)) {
      pv.checkEvents = false;
      return true;
    }
  }
  return false;
}

/** Loads CS and SS of a vcpu that has not run yet. @returns false if that is a fault, which is bounced next */
function firstIret(vcpu: Vcpu): boolean {
  const i = vcpu.core.i32;
  const flags = getFlags(vcpu.core);
  const [cs, ss] = [i[R.CS]! & 0xffff, i[R.SS]! & 0xffff];
  return iretToGuest(vcpu, cs, ss, i[R.RIP]!, i[R.RIP + 1]!, i[R.RSP]!, i[R.RSP + 1]!, flags);
}

function bounceTrap(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const flags = pv.bounceFlags;
  pv.bounceFlags = 0;
  createBounceFrame(vcpu, pv.bounceEipLo, pv.bounceEipHi, pv.bounceCs, flags, pv.bounceError);
}

/** process_nmi: without a handler the NMI is lost; with one, further ones wait for IRET. */
function bounceNmi(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  pv.nmiPending = false;
  injectTrap(vcpu, VEC_NMI);
  const handled = vcpu.domain.pv!.is32bit ? (pv.bounceCs & ~3) !== 0 : (pv.bounceEipLo | pv.bounceEipHi) !== 0;
  if (!handled) {
    pv.bounceFlags = 0;
    return;
  }
  pv.nmiBlocked = true;
  bounceTrap(vcpu);
}
