/**
 * The benchmarks of guests/bench, measured as whole commands: wall time of a run with n rounds less that of a run with none.
 * Subjects take turns within a round, so that what disturbs the host disturbs all of them; ratios are of one round each.
 */
import { rotated, type Spread, spread } from "./statistics.ts";
import type { Guest, Subject } from "./subjects.ts";

/** Rounds of each benchmark for about two seconds in QEMU, so that they are more than one on a faster host too. */
const ROUNDS: Readonly<Record<string, number>> = {
  mix: 16000,
  sha256: 8000,
  memory: 18000,
  chase: 6400,
  parse: 3200,
  muldiv: 60000,
  matmul: 5000,
  nbody: 12000,
  mandelbrot: 18000,
  virtual: 140000,
  bytecode: 2800,
  strings: 24000,
  jit: 13000,
  syscall: 40000,
  fault: 30000,
  switch: 2800,
};
export const KERNEL_NAMES: readonly string[] = Object.keys(ROUNDS);

/** The interpreter does a part of the rounds: it is slow and steady. */
const INTERPRETER_SHARE = 1 / 8;
const QUICK_SHARE = 1 / 2;

export interface Measurement {
  subject: string;
  /** Rounds of the benchmark's own loop. */
  n: number;
  /** Wall seconds for the n rounds, start-up taken off. */
  seconds: Spread;
  /** The same in processor time of all threads. */
  cpuSeconds: Spread;
  /** Some round took so little beyond the start-up that the start-up's own jitter shows in it. */
  tooShort: boolean;
  /** Million guest instructions a second; undefined if no engine of ours ran to count them. */
  mips?: number;
  /** Times as fast as QEMU, each round by itself; undefined without QEMU. */
  ratio?: Spread;
  /** The same by processor time, which a busy host disturbs less, and which counts the threads that compile. */
  cpuRatio?: Spread;
}

export interface KernelResult {
  name: string;
  checksum: string;
  measurements: Measurement[];
}

interface Sample {
  n: number;
  /** Of each round of measuring: seconds for the n rounds alone. */
  seconds: number[];
  cpuSeconds: number[];
  /** Guest instructions of the n rounds alone. */
  instructions?: number;
}

function guest(kernel: string, name: string, n: number): Guest {
  return { name: `bench-${name}`, kernel, cmdline: `bench=${name} n=${n}`, memoryMiB: 64 };
}

async function once(subject: Subject, kernel: string, name: string, n: number) {
  const run = await subject.run(guest(kernel, name, n));
  const checksum = new RegExp(`bench ${name} n=${n} checksum=([0-9a-f]{8})`).exec(run.output)?.[1];
  if (checksum === undefined) throw new Error(`${subject.name}: no checksum from ${name}:\n${run.output}`);
  return { ...run, checksum };
}

/** Less than the clock and the start-up's own jitter can tell. */
const LEAST = 0.001;

/** What a run must take beyond its start-up, seconds, to say something. */
const MEANINGFUL = 0.25;

/** A run with n rounds less a run with none. */
async function net(subject: Subject, kernel: string, name: string, n: number) {
  const startup = await once(subject, kernel, name, 0);
  const run = await once(subject, kernel, name, n);
  return {
    checksum: run.checksum,
    seconds: Math.max(run.seconds - startup.seconds, LEAST),
    cpuSeconds: Math.max((run.cpuSeconds ?? Number.NaN) - (startup.cpuSeconds ?? Number.NaN), LEAST),
    ...(run.instructions !== undefined && { instructions: run.instructions - startup.instructions! }),
  };
}

/** Runs the benchmarks `names`; throws if two subjects compute different things. */
export async function measureKernels(
  kernel: string,
  names: readonly string[],
  subjects: readonly Subject[],
  options: { rounds: number; quick: boolean; progress: (text: string) => void },
): Promise<KernelResult[]> {
  const samples = new Map(names.map((name) => [name, new Map<Subject, Sample>()]));
  /** By "name n=...". */
  const checksums = new Map<string, string>();
  for (let round = 0; round < options.rounds; round++) {
    for (const name of names) {
      options.progress(`round ${round + 1} of ${options.rounds}: ${name}`);
      const own = samples.get(name)!;
      for (const subject of rotated(subjects, round)) {
        const share = subject.name === "interpreter" ? INTERPRETER_SHARE : options.quick ? QUICK_SHARE : 1;
        const n = Math.ceil(ROUNDS[name]! * share);
        const { seconds, cpuSeconds, instructions, checksum } = await net(subject, kernel, name, n);
        const key = `${name} n=${n}`;
        if ((checksums.get(key) ?? checksum) !== checksum)
          throw new Error(`${key}: ${subject.name} computed ${checksum}, another ${checksums.get(key)}`);
        checksums.set(key, checksum);
        const sample = own.get(subject) ?? { n, seconds: [], cpuSeconds: [] };
        sample.seconds.push(seconds);
        sample.cpuSeconds.push(cpuSeconds);
        if (instructions !== undefined) sample.instructions = instructions;
        own.set(subject, sample);
      }
      // Where one did fewer rounds, a second one does as few, once, for the sake of the checksum.
      if (round === 0) await crossCheck(kernel, name, own, checksums);
    }
  }
  return names.map((name) => summarise(name, samples.get(name)!, checksums));
}

async function crossCheck(
  kernel: string,
  name: string,
  samples: ReadonlyMap<Subject, Sample>,
  checksums: ReadonlyMap<string, string>,
): Promise<void> {
  const most = Math.max(...[...samples.values()].map(({ n }) => n));
  const other = [...samples].find(([, { n }]) => n === most)![0];
  for (const { n } of samples.values()) {
    if (n === most) continue;
    const { checksum } = await once(other, kernel, name, n);
    const expected = checksums.get(`${name} n=${n}`);
    if (checksum !== expected)
      throw new Error(`${name} n=${n}: ${other.name} computed ${checksum}, another ${expected}`);
  }
}

function summarise(
  name: string,
  samples: ReadonlyMap<Subject, Sample>,
  checksums: ReadonlyMap<string, string>,
): KernelResult {
  const reference = [...samples].find(([{ name }]) => name === "qemu")?.[1];
  const counted = [...samples.values()].find(({ instructions }) => instructions !== undefined);
  const measurements = [...samples].map(([subject, sample]): Measurement => {
    const { n, seconds } = sample;
    const result: Measurement = {
      subject: subject.name,
      n,
      seconds: spread(seconds),
      cpuSeconds: spread(sample.cpuSeconds),
      tooShort: Math.min(...seconds) < MEANINGFUL,
    };
    // QEMU counts nothing; it does what our engines counted.
    if (counted !== undefined) {
      const instructions = sample.instructions ?? (counted.instructions! / counted.n) * n;
      result.mips = instructions / result.seconds.median / 1e6;
    }
    if (reference !== undefined && reference !== sample) {
      const ratio = (own: readonly number[], theirs: readonly number[]): Spread =>
        spread(own.map((value, round) => theirs[round]! / reference.n / (value / n)));
      result.ratio = ratio(seconds, reference.seconds);
      result.cpuRatio = ratio(sample.cpuSeconds, reference.cpuSeconds);
    }
    return result;
  });
  const most = Math.max(...[...samples.values()].map(({ n }) => n));
  return { name, checksum: checksums.get(`${name} n=${most}`)!, measurements };
}
