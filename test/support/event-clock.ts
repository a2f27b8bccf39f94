/** Events in the order of their cycles, for the timers of a bare core's APIC. */
import type { Clock, Core } from "../../cpu/core.ts";

export class EventClock implements Clock {
  private readonly core: Core;
  private events: { cycle: number; handle: number; fire: () => void }[] = [];
  private handles = 0;
  constructor(core: Core) {
    this.core = core;
  }
  now(): number {
    return this.core.now();
  }
  schedule(cycle: number, fire: () => void): number {
    this.events.push({ cycle, handle: ++this.handles, fire });
    this.events.sort((a, b) => a.cycle - b.cycle);
    return this.handles;
  }
  cancel(handle: number): void {
    this.events = this.events.filter((e) => e.handle !== handle);
  }
  /** The cycle of the next event, Infinity if there is none. */
  get due(): number {
    return this.events[0]?.cycle ?? Infinity;
  }
  /** Fires the next event; its cycle, or -1. */
  next(): number {
    const event = this.events.shift();
    event?.fire();
    return event?.cycle ?? -1;
  }
}
