/**
 * Where the host's time goes while guests run. The clock is given from outside (cpu/ has none of its own), and nothing that a guest
 * can see depends on what is noted here. Without a HostProfile in the CoreGroup nothing is measured, and no code is there for it.
 *
 * What is rare and long is timed each time: a block that is decoded, a region that is translated, a module. What is frequent and
 * short is sampled: one call of many, at random distances, counts for as many as were let pass. Times are milliseconds.
 */
/** Reads the host's clock: milliseconds from any beginning, with fractions. */
export type HostClock = () => number;

/** Clocks of hosts have been seen to step back, and an estimate less what the clock costs may be less than nothing. */
const positive = (milliseconds: number): number => Math.max(milliseconds, 0);

/** Of so many blocks one is timed instruction by instruction. */
const SPLIT_EVERY = 64;
/** Calls that a Sampler times one after another before it begins to skip some. */
const FIRST = 1000;
/** The clock may take this share of the time that is sampled. */
const OVERHEAD = 1 / 1000;
/** Calls after which a Sampler looks how long they have become, and the most that it lets pass for one. */
const REVIEW = 256;
const MOST = 1024;

/** An estimate of the time that all calls of something took, from some of them. */
export class Sampler {
  /** Estimated milliseconds, and instructions where the caller counts them. */
  total = 0;
  instructions = 0;
  /** How many calls the present sample stands for. */
  weight = 1;
  private readonly cost: number;
  private left = 1;
  private mean = 1;
  private samples = 0;
  /** Milliseconds of the samples since the last review. */
  private recent = 0;
  private seed: number;

  constructor(profile: HostProfile) {
    this.cost = profile.cost;
    this.seed = profile.nextSeed();
  }

  /** Counts a call. @returns whether it is to be timed */
  due(): boolean {
    if (--this.left > 0) return false;
    this.left = this.draw();
    return true;
  }

  /** Begins a sample. @returns the number of the call, counted from this one, that is the next: 1 or more */
  draw(): number {
    this.weight = this.mean;
    if (++this.samples >= FIRST && this.samples % REVIEW === 0) this.review();
    if (this.mean === 1) return 1;
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) | 0;
    return 1 + ((this.seed >>> 8) % (2 * this.mean - 1));
  }

  private review(): void {
    const each = Math.max(this.recent, REVIEW * this.cost) / REVIEW;
    // A clock that is coarse or free of cost can show no time at all.
    this.mean = each > 0 ? Math.min(Math.max(Math.round((2 * this.cost) / (OVERHEAD * each)), 1), MOST) : 1;
    this.recent = 0;
  }

  /** Ends it: the call took `elapsed`, a reading of the clock included. */
  add(elapsed: number, instructions = 0): void {
    this.recent += elapsed;
    this.total += (elapsed - this.cost) * this.weight;
    this.instructions += instructions * this.weight;
  }
}

/** Samples stretches that something else interrupts: what was timed exactly meanwhile is not theirs. */
class Stretches {
  private readonly profile: HostProfile;
  private readonly sampler: Sampler;
  private open = false;
  private from = 0;
  private exact = 0;

  constructor(profile: HostProfile) {
    this.profile = profile;
    this.sampler = new Sampler(profile);
  }

  get total(): number {
    return this.sampler.total;
  }

  begin(): void {
    if (!this.sampler.due()) return;
    this.open = true;
    this.exact = this.profile.exact;
    this.from = this.profile.now();
  }

  end(): void {
    if (!this.open) return;
    this.open = false;
    this.sampler.add(this.profile.now() - this.from - (this.profile.exact - this.exact));
  }
}

/** What one kind of generated code calls in TypeScript. */
export class CalledOut {
  /** Accesses to memory that miss the TLB, page walks included; helpers: instructions that are written in TypeScript. */
  readonly memory: Sampler;
  readonly helpers: Sampler;

  constructor(profile: HostProfile) {
    this.memory = new Sampler(profile);
    this.helpers = new Sampler(profile);
  }
}

/** Milliseconds by what was done; together `running`. Those of generated code are estimates, see docs/command-line.md. */
export interface HostTimes {
  readonly decode: number;
  readonly lift: number;
  readonly translate: number;
  readonly compile: number;
  readonly interpret: number;
  readonly translated: number;
  readonly memory: number;
  readonly helpers: number;
  readonly engine: number;
  readonly hypervisor: number;
  readonly console: number;
}

export class HostProfile {
  readonly now: HostClock;
  /** Milliseconds that a reading of the clock takes. */
  readonly cost: number;
  /** Sum of what is timed each time and lies inside of what is sampled. */
  exact = 0;
  /** Between `enter` and `leave` of the machine. */
  running = 0;
  private entered = 0;

  /** Blocks that were decoded and lifted, and how long that took. */
  blocks = 0;
  private built = 0;
  private blockFrom = 0;
  /** In this block decoding is timed by itself; in all of those so far: both, and decoding alone. */
  splits = false;
  private splitReadings = 0;
  private decodeFrom = 0;
  private splitBuilt = 0;
  private splitDecode = 0;
  /** Forming regions and emitting their code; making modules of it, V8's compiler included as far as it keeps the thread. */
  translate = 0;
  compile = 0;
  /** In those who listen to the guests' consoles. */
  console = 0;

  /** Between two calls of the engine; in the engine between two calls of generated code. */
  readonly hypervisor: Stretches;
  readonly engine: Stretches;
  /** Entries of generated code, and calls of translated code. Stretches of interpreted code follow either. */
  readonly interpreted: Sampler;
  readonly translated: Sampler;
  readonly fromInterpreter: CalledOut;
  readonly fromTranslated: CalledOut;

  /** Estimates: all stretches of interpreted code; of the helpers' time the hypervisor's. */
  private interpretedTime = 0;
  private interpretedInstructions = 0;
  private hypercalls = 0;

  private seeds = 1;

  constructor(clock: HostClock) {
    this.now = clock;
    const readings = 2000;
    const from = clock();
    for (let n = 1; n < readings; n++) clock();
    this.cost = (clock() - from) / readings;
    this.hypervisor = new Stretches(this);
    this.engine = new Stretches(this);
    this.interpreted = new Sampler(this);
    this.translated = new Sampler(this);
    this.fromInterpreter = new CalledOut(this);
    this.fromTranslated = new CalledOut(this);
  }

  nextSeed(): number {
    return Math.imul(this.seeds++, 0x9e3779b1);
  }

  /** The machine begins to run, and ends. */
  enter(): void {
    this.entered = this.now();
    this.hypervisor.begin();
  }
  leave(): void {
    this.hypervisor.end();
    this.running += this.now() - this.entered;
  }

  /** Notes time from `from` until now as `what`. */
  note(what: "translate" | "compile" | "console", from: number): void {
    const elapsed = this.now() - from;
    this[what] += elapsed;
    this.exact += elapsed;
  }

  /** A block is to be decoded and lifted. */
  beginBlock(): void {
    this.splits = this.blocks % SPLIT_EVERY === 0;
    this.splitReadings = 0;
    this.blockFrom = this.now();
  }
  /** A piece of decoding, in a block that `splits`. */
  beginDecode(): void {
    this.decodeFrom = this.now();
  }
  endDecode(): void {
    this.splitDecode += this.now() - this.decodeFrom - this.cost;
    this.splitReadings += 2;
  }
  endBlock(): void {
    const elapsed = this.now() - this.blockFrom;
    this.exact += elapsed;
    // A reading of the clock lies in it, a twentieth of what a block takes.
    this.built += elapsed - this.cost;
    this.blocks++;
    if (this.splits) this.splitBuilt += elapsed - (this.splitReadings + 1) * this.cost;
  }

  /** A sampled call of a helper was the hypervisor's, which answers a PV guest's SYSCALL without leaving the engine. */
  noteHypercall(elapsed: number, weight: number): void {
    this.hypercalls += (elapsed - this.cost) * weight;
  }

  /** A stretch of interpreted code took `elapsed`, a reading of the clock included. */
  noteInterpreted(elapsed: number, instructions: number, weight: number): void {
    this.interpretedTime += (elapsed - this.cost) * weight;
    this.interpretedInstructions += instructions * weight;
  }

  /** Of the instructions, the share that translated code executed: an estimate. */
  get translatedShare(): number {
    const all = this.interpretedInstructions + this.translated.instructions;
    return all > 0 ? this.translated.instructions / all : 0;
  }

  /** What has been noted so far. None is negative, and they add up to `running`. */
  times(): HostTimes {
    const built = positive(this.built);
    const decode = this.splitBuilt > 0 ? built * Math.min(positive(this.splitDecode / this.splitBuilt), 1) : 0;
    const translate = positive(this.translate);
    const compile = positive(this.compile);
    const console = positive(this.console);
    const rest = positive(this.running - built - translate - compile - console);

    // The rest was sampled, all of it: the estimates divide it. An engine that has no samples of its code has what remains.
    const outside = positive(this.hypervisor.total);
    const engine = positive(this.engine.total);
    const translated = positive(this.translated.total);
    const sampled = positive(this.interpretedTime) + translated > 0;
    const interpreted = sampled ? positive(this.interpretedTime) : positive(rest - outside - engine);
    const sum = outside + engine + interpreted + translated;
    const scale = sum > 0 ? rest / sum : 0;
    const cold = called(sum > 0 ? interpreted * scale : rest, this.fromInterpreter);
    const warm = called(translated * scale, this.fromTranslated);
    const helpers = cold.helpers + warm.helpers;
    const hypercalls = Math.min(positive(this.hypercalls), helpers);
    return {
      decode,
      lift: built - decode,
      translate,
      compile,
      interpret: cold.code,
      translated: warm.code,
      memory: cold.memory + warm.memory,
      helpers: helpers - hypercalls,
      engine: engine * scale,
      hypervisor: outside * scale + hypercalls,
      console,
    };
  }
}

/** Time in generated code, divided into the code itself and what it called. */
function called(time: number, { memory, helpers }: CalledOut): { code: number; memory: number; helpers: number } {
  const inMemory = Math.min(positive(memory.total), time);
  const inHelpers = Math.min(positive(helpers.total), time - inMemory);
  return { code: time - inMemory - inHelpers, memory: inMemory, helpers: inHelpers };
}
