/** Where the host's time went while a machine was made and ran: what the profile of the core noted, in the shape of report/schema.ts. */
import { type HostClock, HostProfile } from "../../cpu/host-profile.ts";
import type { Engine } from "../../cpu/run.ts";
import type { HostWork } from "../report/schema.ts";
import type { DomainConsole } from "./api.ts";

/** One for each machine that has a clock. */
export class HostWatch {
  readonly profile: HostProfile;
  /** Milliseconds. */
  private unpacking = 0;
  private building = 0;

  constructor(clock: HostClock) {
    this.profile = new HostProfile(clock);
  }

  async unpack<T>(work: () => Promise<T>): Promise<T> {
    const from = this.profile.now();
    try {
      return await work();
    } finally {
      this.unpacking += this.profile.now() - from;
    }
  }

  build<T>(work: () => T): T {
    const from = this.profile.now();
    try {
      return work();
    } finally {
      this.building += this.profile.now() - from;
    }
  }

  /** The console with its listeners timed. */
  listening(console: DomainConsole): DomainConsole {
    const { profile } = this;
    return {
      onOutput: (listener) =>
        console.onOutput((bytes, cycle) => {
          const from = profile.now();
          listener(bytes, cycle);
          profile.note("console", from);
        }),
      input: (bytes, atCycle) => console.input(bytes, atCycle),
    };
  }

  work({ blocks, translator }: Engine): HostWork {
    const all = { unpack: this.unpacking, build: this.building, ...this.profile.times() };
    return {
      seconds: Object.fromEntries(Object.entries(all).map(([part, ms]) => [part, ms / 1000])) as Record<
        keyof typeof all,
        number
      >,
      blocks: blocks.decoded,
      regions: translator?.counts.functions ?? 0,
      modules: translator?.counts.modules ?? 0,
      codeBytes: translator?.counts.bytes ?? 0,
      liveCodeBytes: translator?.codeBytes ?? 0,
      regionsDropped: translator?.counts.dropped ?? 0,
      codeFlushes: translator?.counts.flushes ?? 0,
      translatedShare: this.profile.translatedShare,
    };
  }
}
