/**
 * The PC's 8254 timer and port 0x61 (8254 data sheet; i8254.c of Xen): channel 0 drives interrupt line 0, channel 2 the
 * speaker, whose gate and output port 0x61 shows. Counts follow from the cycle counter; only channel 0 has events.
 */
import type { Clock } from "../../cpu/core.ts";
import { CPU_FREQUENCY } from "../time/frequency.ts";

export const PIT_PORTS: readonly number[] = [0x40, 0x41, 0x42, 0x43, 0x61];
const PIT_FREQUENCY = 1_193_182;
const CYCLES_PER_TICK = CPU_FREQUENCY / PIT_FREQUENCY;
/** No period is shorter, so that a guest can't drown its host in events (create_periodic_time: 0.1 ms). */
const MINIMUM_TICKS = Math.ceil(PIT_FREQUENCY / 10_000);

/** How the bytes of a count go through the port: 1 only the low one, else: */
const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;

const MODE_TERMINAL_COUNT = 0;
const MODE_RATE = 2;
const MODE_SQUARE = 3;

function fromBcd(value: number): number {
  let result = 0;
  for (let shift = 12; shift >= 0; shift -= 4) result = result * 10 + ((value >>> shift) & 15);
  return result;
}

function toBcd(value: number): number {
  let result = 0;
  let rest = value % 10_000;
  for (let shift = 0; shift < 16; shift += 4) {
    result |= (rest % 10) << shift;
    rest = Math.floor(rest / 10);
  }
  return result;
}

class Channel {
  /** 1..65536 (10000 in BCD). */
  reload = 0x10000;
  mode = 0;
  gate = true;
  /** Cycle at which the count was loaded; -1: none since the mode was set. */
  start = -1;
  private access = ACCESS_BOTH;
  private bcd = false;
  /** The low byte of a count of which the high one is still to come, -1 none. */
  private low = -1;
  private readHigh = false;
  /** Latched count and status, -1 none. */
  private latch = -1;
  private status = -1;

  get periodic(): boolean {
    return this.mode === MODE_RATE || this.mode === MODE_SQUARE;
  }

  private ticks(now: number): number {
    return Math.floor((now - this.start) / CYCLES_PER_TICK);
  }

  private count(now: number): number {
    if (this.start < 0) return 0;
    const t = this.ticks(now);
    if (!this.periodic) {
      const wrap = this.bcd ? 10_000 : 0x10000;
      return (((this.reload - t) % wrap) + wrap) % wrap;
    }
    const left = this.reload - (t % this.reload);
    if (this.mode === MODE_RATE) return left;
    // Mode 3 counts by two, twice a period.
    const half = this.reload / 2;
    return 2 * Math.ceil(left > half ? left - half : left);
  }

  output(now: number): boolean {
    if (this.start < 0) return this.mode !== MODE_TERMINAL_COUNT;
    const t = this.ticks(now);
    switch (this.mode) {
      case MODE_TERMINAL_COUNT:
      case 1:
        return t >= this.reload;
      case MODE_RATE:
        return t % this.reload !== this.reload - 1 || t === 0;
      case MODE_SQUARE:
        return t % this.reload < (this.reload + 1) >>> 1;
      default:
        return t !== this.reload;
    }
  }

  latchCount(now: number): void {
    if (this.latch < 0) this.latch = this.value(now);
  }

  latchStatus(now: number): void {
    if (this.status >= 0) return;
    const nullCount = this.start < 0 ? 0x40 : 0;
    this.status =
      (this.output(now) ? 0x80 : 0) | nullCount | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  private value(now: number): number {
    return this.bcd ? toBcd(this.count(now)) : this.count(now) & 0xffff;
  }

  control(value: number): void {
    this.access = (value >>> 4) & 3;
    const mode = (value >>> 1) & 7;
    this.mode = mode > 5 ? mode & 3 : mode;
    this.bcd = (value & 1) !== 0;
    this.start = -1;
    this.low = -1;
    this.readHigh = false;
    this.latch = -1;
  }

  /** @returns true once the count is whole */
  write(value: number, now: number): boolean {
    let count: number;
    if (this.access === ACCESS_BOTH && this.low < 0) {
      this.low = value;
      // A new count in mode 0 stops the old one at its first byte.
      if (this.mode === MODE_TERMINAL_COUNT) this.start = -1;
      return false;
    }
    if (this.access === ACCESS_BOTH) count = this.low | (value << 8);
    else count = this.access === ACCESS_HIGH ? value << 8 : value;
    this.low = -1;
    if (this.bcd) this.reload = fromBcd(count) || 10_000;
    else this.reload = count || 0x10000;
    this.start = now;
    return true;
  }

  read(now: number): number {
    if (this.status >= 0) {
      const { status } = this;
      this.status = -1;
      return status;
    }
    const value = this.latch >= 0 ? this.latch : this.value(now);
    const high = this.access === ACCESS_HIGH || (this.access === ACCESS_BOTH && this.readHigh);
    if (this.access === ACCESS_BOTH) this.readHigh = !this.readHigh;
    if (this.access !== ACCESS_BOTH || high) this.latch = -1;
    return high ? value >>> 8 : value & 0xff;
  }
}

export class Pit {
  private readonly clock: Clock;
  private readonly channels: readonly Channel[] = [new Channel(), new Channel(), new Channel()];
  private readonly setIrq: (level: boolean) => void;
  private speaker = false;
  /** Handle of the next edge of channel 0, 0 none. */
  private timer = 0;
  /** Edges so far since its count was loaded. */
  private edges = 0;

  /** @param setIrq interrupt line 0 rises or falls */
  constructor(clock: Clock, setIrq: (level: boolean) => void) {
    this.clock = clock;
    this.setIrq = setIrq;
    this.channels[2]!.gate = false;
  }

  /** The domain is going away. */
  stop(): void {
    this.clock.cancel(this.timer);
    this.timer = 0;
  }

  read(port: number): number {
    const now = this.clock.now();
    if (port === 0x61) {
      const speaker = this.channels[2]!;
      // Bit 4 follows the refresh of the memory, 15 us each way.
      const refresh = Math.floor(now / (15 * (CPU_FREQUENCY / 1e6))) & 1 ? 0x10 : 0;
      return (speaker.gate ? 1 : 0) | (this.speaker ? 2 : 0) | refresh | (speaker.output(now) ? 0x20 : 0);
    }
    return port === 0x43 ? 0xff : this.channels[port & 3]!.read(now);
  }

  write(port: number, value: number): void {
    if (port === 0x61) this.writeSpeaker(value);
    else if (port === 0x43) this.writeControl(value);
    else if (this.channels[port & 3]!.write(value, this.clock.now()) && port === 0x40) this.arm();
  }

  private writeSpeaker(value: number): void {
    const channel = this.channels[2]!;
    const gate = (value & 1) !== 0;
    this.speaker = (value & 2) !== 0;
    // A rising gate starts the count again, in the modes that look at it so.
    if (gate && !channel.gate && channel.mode !== MODE_TERMINAL_COUNT && channel.mode !== 4)
      channel.start = this.clock.now();
    channel.gate = gate;
  }

  private writeControl(value: number): void {
    const now = this.clock.now();
    const select = value >>> 6;
    if (select === 3) {
      for (const [n, channel] of this.channels.entries()) {
        if ((value & (2 << n)) === 0) continue;
        if (!(value & 0x20)) channel.latchCount(now);
        if (!(value & 0x10)) channel.latchStatus(now);
      }
      return;
    }
    const channel = this.channels[select]!;
    if ((value & 0x30) === 0) {
      channel.latchCount(now);
      return;
    }
    channel.control(value);
    if (select !== 0) return;
    this.stop();
    this.setIrq(channel.output(now));
  }

  /** Channel 0 has a new count: its interrupt comes when that has run down, again and again in the periodic modes. */
  private arm(): void {
    this.stop();
    this.edges = 0;
    const channel = this.channels[0]!;
    this.setIrq(channel.output(this.clock.now()) && channel.mode !== MODE_TERMINAL_COUNT);
    if (channel.mode !== 1 && channel.mode !== 5) this.schedule();
  }

  private schedule(): void {
    const channel = this.channels[0]!;
    const ticks = channel.periodic ? Math.max(channel.reload, MINIMUM_TICKS) : channel.reload;
    const at = channel.start + (this.edges + 1) * ticks * CYCLES_PER_TICK;
    this.timer = this.clock.schedule(Math.ceil(at), () => this.expire());
  }

  private expire(): void {
    this.timer = 0;
    this.edges++;
    this.setIrq(false);
    this.setIrq(true);
    if (this.channels[0]!.periodic) this.schedule();
  }
}
