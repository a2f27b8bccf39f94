/** Runs vector files on a core and counts what agrees. */
import { MODEL_AMD, MODEL_INTEL } from "../../cpu/system/cpu-model.ts";
import type { CpuVendor } from "../machine/api.ts";
import { UserError } from "../toolstack/user-error.ts";
import { agrees, type Difference, describe, differences, mnemonicOf } from "./compare.ts";
import type { ConformanceEngine } from "./engines.ts";
import { type Progress, readLines } from "./reader.ts";
import { BATCH, SIG_EXIT, Subject } from "./subject.ts";
import { Vector, VectorError } from "./vector.ts";

export interface CheckOptions {
  cpu: CpuVendor;
  engine: ConformanceEngine;
  /** Differences to keep in full. */
  maxDifferences: number;
  /** Called now and then with the bytes read and the vectors checked. */
  onProgress?: (read: number, checked: number) => void;
}

/** A vector that our core executes otherwise. */
export interface Failure {
  file: string;
  line: number;
  id: string;
  mnemonic: string;
  before: string[];
  differences: Difference[];
}

/** Vectors of one mnemonic. */
export interface Count {
  vectors: number;
  differing: number;
  /** Of those: encodings that the core doesn't have, which end in #UD here and not on the processor. */
  unsupported: number;
}

export interface CheckResult {
  files: string[];
  vectors: number;
  differing: number;
  unsupported: number;
  /** Vectors whose instruction was translated; all others were interpreted. */
  translated: number;
  /** By mnemonic. */
  instructions: Map<string, Count>;
  failures: Failure[];
}

const SIGILL = 4;

class Checker {
  readonly result: CheckResult;
  private readonly subject: Subject;
  private readonly vectors: Vector[] = Array.from({ length: BATCH }, () => new Vector());
  private readonly lines: Uint32Array = new Uint32Array(BATCH);
  private filled = 0;
  private readonly maxDifferences: number;

  constructor(files: readonly string[], options: CheckOptions) {
    this.subject = new Subject(options.cpu === "amd" ? MODEL_AMD : MODEL_INTEL, options.engine);
    this.maxDifferences = options.maxDifferences;
    this.result = {
      files: [...files],
      vectors: 0,
      differing: 0,
      unsupported: 0,
      translated: 0,
      instructions: new Map(),
      failures: [],
    };
  }

  add(file: string, line: number, text: string): void {
    const n = this.filled;
    try {
      this.vectors[n]!.parse(text);
    } catch (error) {
      if (!(error instanceof VectorError)) throw error;
      throw new UserError(`${file}:${line}: ${error.message}`);
    }
    this.lines[n] = line;
    this.filled = n + 1;
    if (this.filled === BATCH) this.flush(file);
  }

  /** Executes the vectors that wait. */
  flush(file: string): void {
    const count = this.filled;
    this.filled = 0;
    for (let n = 0; n < count; n++) this.subject.place(n, this.vectors[n]!);
    this.subject.prepare(count);
    for (let n = 0; n < count; n++) {
      const v = this.vectors[n]!;
      this.subject.run(n, v);
      this.judge(file, this.lines[n]!, v);
    }
  }

  finish(): CheckResult {
    this.result.translated = this.subject.translator?.counts.functions ?? 0;
    return this.result;
  }

  private judge(file: string, line: number, v: Vector): void {
    const { result } = this;
    const got = this.subject.result;
    const mnemonic = mnemonicOf(v);
    let counted = result.instructions.get(mnemonic);
    if (counted === undefined) {
      counted = { vectors: 0, differing: 0, unsupported: 0 };
      result.instructions.set(mnemonic, counted);
    }
    counted.vectors++;
    result.vectors++;
    if (agrees(v, got)) return;
    counted.differing++;
    result.differing++;
    if (mnemonic.startsWith("(") && got.sig === SIGILL) {
      counted.unsupported++;
      result.unsupported++;
    }
    if (result.failures.length >= this.maxDifferences) return;
    const found = differences(v, got);
    if (got.sig >= SIG_EXIT) found.unshift({ what: "exit", expected: "none", found: String(got.sig - SIG_EXIT) });
    result.failures.push({ file, line, id: v.id, mnemonic, before: describe(v), differences: found });
  }
}

/** Checks all vectors of `files`. Throws UserError for a file that can't be read or a line that is no vector. */
export async function checkFiles(files: readonly string[], options: CheckOptions): Promise<CheckResult> {
  const checker = new Checker(files, options);
  const progress: Progress = { read: 0 };
  for (const file of files) {
    let before = checker.result.vectors;
    await readLines(file, progress, (text, line) => {
      checker.add(file, line, text);
      if (checker.result.vectors === before) return;
      before = checker.result.vectors;
      options.onProgress?.(progress.read, before);
    });
    checker.flush(file);
  }
  return checker.finish();
}
