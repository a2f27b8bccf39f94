/** The PC's interrupt controllers and timer that a domain without ACPI gets: by their ports, and by a guest. */
import { describe, expect, it } from "vitest";
import { wantsPcTimer } from "../../../hypervisor/hvm/pc-timer.ts";
import { Pic } from "../../../hypervisor/hvm/pic.ts";
import { Pit } from "../../../hypervisor/hvm/pit.ts";
import { EventQueue } from "../../../hypervisor/time/event-queue.ts";

const EOI = 0x20;

/** A pair at vectors 0x30 and 0x38, all lines open; how often it began to ask. */
function pics(icw4 = 1): { pic: Pic; asked: () => number } {
  let asked = 0;
  const pic = new Pic(() => asked++);
  for (const [command, base, wiring] of [
    [0x20, 0x30, 4],
    [0xa0, 0x38, 2],
  ] as const) {
    pic.write(command, 0x11);
    for (const word of [base, wiring, icw4]) pic.write(command + 1, word);
    pic.write(command + 1, 0);
  }
  return { pic, asked: () => asked };
}

describe("the 8259A pair", () => {
  it("delivers an edge once, and lower lines only after the end of interrupt", () => {
    const { pic, asked } = pics();
    expect(pic.output).toBe(false);
    pic.setLine(0, true);
    expect([asked(), pic.output, pic.vector]).toEqual([1, true, 0x30]);
    pic.acknowledge();
    pic.setLine(4, true);
    expect(pic.output).toBe(false);
    pic.write(0x20, EOI);
    expect([pic.output, pic.vector]).toEqual([true, 0x34]);
    pic.acknowledge();
    pic.write(0x20, EOI);
    expect(pic.output).toBe(false);
  });

  it("holds masked lines back, keeps the mask, and shows IRR and ISR", () => {
    const { pic } = pics();
    pic.write(0x21, 0xfe);
    expect(pic.read(0x21)).toBe(0xfe);
    pic.setLine(3, true);
    pic.setLine(0, true);
    expect([pic.vector, pic.read(0x20)]).toEqual([0x30, 0x09]);
    pic.acknowledge();
    pic.write(0x20, 0x0b);
    expect(pic.read(0x20)).toBe(0x01);
    pic.write(0x20, EOI);
    expect(pic.output).toBe(false);
    pic.write(0x21, 0);
    expect(pic.vector).toBe(0x33);
  });

  it("brings the slave's lines through line 2 of the master", () => {
    const { pic } = pics();
    pic.setLine(12, true);
    expect(pic.vector).toBe(0x3c);
    pic.acknowledge();
    pic.setLine(8, true);
    // Not fully nested: the master's line 2 is in service.
    expect(pic.output).toBe(false);
    pic.write(0xa0, EOI);
    pic.write(0x20, 0x62);
    expect(pic.vector).toBe(0x38);
  });

  it("serves level-triggered lines as long as they are up, and rotates when told", () => {
    const { pic } = pics(3);
    pic.write(0x4d0, 0xff);
    expect(pic.read(0x4d0)).toBe(0xf8);
    pic.setLine(5, true);
    pic.acknowledge();
    expect(pic.vector).toBe(0x35);
    pic.setLine(5, false);
    expect(pic.output).toBe(false);
    pic.write(0x20, 0xc1);
    pic.setLine(0, true);
    pic.setLine(3, true);
    // Line 2 is now the highest.
    expect(pic.vector).toBe(0x33);
  });
});

/** A timer whose clock the test moves; the cycles at which line 0 rose. */
function timer(): { pit: Pit; at: (cycle: number) => void; rises: number[] } {
  let now = 0;
  let up = false;
  const rises: number[] = [];
  const queue = new EventQueue(() => now);
  const pit = new Pit(queue, (level) => {
    if (level && !up) rises.push(now);
    up = level;
  });
  const at = (cycle: number): void => {
    while (queue.next <= cycle) {
      now = queue.next;
      queue.run(now);
    }
    now = cycle;
  };
  return { pit, at, rises };
}

const US = 1000;
const load = (pit: Pit, channel: number, mode: number, count: number): void => {
  pit.write(0x43, (channel << 6) | 0x30 | (mode << 1));
  pit.write(0x40 + channel, count & 0xff);
  pit.write(0x40 + channel, count >> 8);
};

describe("the 8254", () => {
  it("interrupts once at the end of the count in mode 0", () => {
    const { pit, at, rises } = timer();
    load(pit, 0, 0, 1193);
    at(5000 * US);
    expect(rises.map((cycle) => Math.round(cycle / US))).toEqual([1000]);
  });

  it("interrupts every period in modes 2 and 3, until it is told another mode", () => {
    for (const mode of [2, 3]) {
      const { pit, at, rises } = timer();
      load(pit, 0, mode, 4773);
      at(1000 * US);
      rises.length = 0;
      at(13_000 * US);
      expect(rises.map((cycle) => Math.round(cycle / US))).toEqual([4000, 8000, 12_001]);
      pit.write(0x43, 0x30);
      rises.length = 0;
      at(50_000 * US);
      expect(rises).toEqual([]);
    }
  });

  it("has no period below 0.1 ms", () => {
    const { pit, at, rises } = timer();
    load(pit, 0, 2, 2);
    at(1000 * US);
    expect(rises.length).toBeLessThanOrEqual(11);
  });

  it("counts down, and latches count and status", () => {
    const { pit, at } = timer();
    load(pit, 0, 2, 10_000);
    at(1000 * US);
    pit.write(0x43, 0x00);
    at(2000 * US);
    expect(pit.read(0x40) | (pit.read(0x40) << 8)).toBe(10_000 - 1193);
    expect(pit.read(0x40) | (pit.read(0x40) << 8)).toBe(10_000 - 2386);
    pit.write(0x43, 0xe2);
    expect(pit.read(0x40)).toBe(0x80 | 0x34);
  });

  it("counts in decimal", () => {
    const { pit, at } = timer();
    pit.write(0x43, 0x35);
    pit.write(0x40, 0x00);
    pit.write(0x40, 0x20);
    at(100 * US);
    pit.write(0x43, 0x00);
    expect(pit.read(0x40) | (pit.read(0x40) << 8)).toBe(0x1881);
  });

  it("shows channel 2 and its gate at port 0x61", () => {
    const { pit, at } = timer();
    pit.write(0x61, 1);
    load(pit, 2, 0, 1193);
    expect(pit.read(0x61) & 0x23).toBe(0x01);
    at(1001 * US);
    expect(pit.read(0x61) & 0x23).toBe(0x21);
  });
});

it("is for command lines that say acpi=off, as a word", () => {
  expect(["console=hvc0 acpi=off", "acpi=off", "acpi=offline", "noacpi=off", undefined].map(wantsPcTimer)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});
