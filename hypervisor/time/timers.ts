/** The vcpu's own timers: singleshot and periodic (public/vcpu.h), both of which send VIRQ_TIMER. Times are system time in ns. */
import { VIRQ_TIMER } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { nsToCycles } from "./frequency.ts";

/** send_timer_event. */
export function sendTimerEvent(vcpu: Vcpu): void {
  vcpu.domain.events?.sendVirq(vcpu, VIRQ_TIMER);
}

/** Arms the singleshot timer in place of an armed one. A time that has passed fires at the next cut. */
export function setSingleshot(vcpu: Vcpu, at: number): void {
  const { queue } = vcpu.domain.hypervisor;
  queue.cancel(vcpu.singleshotTimer);
  vcpu.singleshotTimer = queue.schedule(nsToCycles(at), () => {
    vcpu.singleshotTimer = 0;
    sendTimerEvent(vcpu);
  });
}

/** VCPUOP_set_singleshot_timer. A time that has passed sends the event at once, VCPU_SSHOTTMR_future or not (the header allows to ignore it). */
export function startSingleshot(vcpu: Vcpu, at: number): void {
  if (at < vcpu.domain.hypervisor.systemTime()) {
    stopSingleshot(vcpu);
    sendTimerEvent(vcpu);
  } else setSingleshot(vcpu, at);
}

export function stopSingleshot(vcpu: Vcpu): void {
  vcpu.domain.hypervisor.queue.cancel(vcpu.singleshotTimer);
  vcpu.singleshotTimer = 0;
}

/** Starts the periodic timer with `period` ns from now on; 0 stops it. */
export function setPeriodic(vcpu: Vcpu, period: number): void {
  const { queue } = vcpu.domain.hypervisor;
  queue.cancel(vcpu.periodicTimer);
  vcpu.periodicTimer = 0;
  vcpu.periodicPeriod = period;
  if (period > 0) armPeriodic(vcpu, vcpu.domain.hypervisor.systemTime() + period);
}

function armPeriodic(vcpu: Vcpu, at: number): void {
  vcpu.periodicTimer = vcpu.domain.hypervisor.queue.schedule(nsToCycles(at), () => {
    vcpu.periodicTimer = 0;
    sendTimerEvent(vcpu);
    armPeriodic(vcpu, at + vcpu.periodicPeriod);
  });
}
