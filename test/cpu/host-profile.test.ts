/** Estimates of where the host's time goes, on a clock that the test moves. */
import { describe, expect, it } from "vitest";
import { HostProfile } from "../../cpu/host-profile.ts";
import { Random } from "../support/random.ts";

/** A clock that costs `cost` a reading and stands still otherwise. */
class HandClock {
  time = 0;
  readonly cost: number;
  constructor(cost: number) {
    this.cost = cost;
  }
  readonly read = (): number => {
    this.time += this.cost;
    return this.time;
  };
}

describe("the profile of the host's time", () => {
  it("estimates the time of many short calls from few of them", () => {
    const clock = new HandClock(0.0001);
    const profile = new HostProfile(clock.read);
    const { translated } = profile;
    const random = new Random(7);
    let spent = 0;
    let readings = 0;
    let left = translated.draw();
    for (let call = 0; call < 300_000; call++) {
      // Mostly 200 ns to 400 ns, now and then 2 us.
      const takes = random.below(20) === 0 ? 0.002 : 0.0002 + random.below(100) / 500_000;
      spent += takes;
      if (--left > 0) continue;
      const from = clock.read();
      clock.time += takes;
      translated.add(clock.read() - from, 10);
      readings += 2;
      left = translated.draw();
    }
    expect(translated.total / spent).toBeGreaterThan(0.9);
    expect(translated.total / spent).toBeLessThan(1.1);
    expect(translated.instructions / 3_000_000).toBeCloseTo(1, 1);
    // The clock took less than a hundredth of it.
    expect(readings * clock.cost).toBeLessThan(spent / 100);
  });

  it("leaves out of a stretch what was timed in it", () => {
    const clock = new HandClock(0);
    const profile = new HostProfile(clock.read);
    profile.enter();
    clock.time += 5;
    const from = clock.read();
    clock.time += 2;
    profile.note("console", from);
    clock.time += 1;
    profile.leave();
    const times = profile.times();
    expect(times.console).toBe(2);
    expect(times.hypervisor).toBe(6);
    expect(Object.values(times).reduce((sum, part) => sum + part, 0)).toBe(8);
  });

  it("has no parts on a clock that stands still, nor on one that runs backwards", () => {
    for (const step of [0, -1]) {
      const clock = new HandClock(step);
      const profile = new HostProfile(clock.read);
      profile.enter();
      profile.hypervisor.end();
      profile.beginBlock();
      profile.endBlock();
      profile.note("compile", clock.read());
      profile.leave();
      for (const part of Object.values(profile.times())) expect(part).toBeGreaterThanOrEqual(0);
    }
  });
});
