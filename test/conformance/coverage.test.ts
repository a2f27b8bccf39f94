/**
 * Every instruction that CPUID advertises is covered by enough vectors of the corpus, or by a system test that is named here.
 * Vectors that only show how an instruction faults are not enough for one that can do something.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { Arena } from "../../cpu/arena.ts";
import { Core, CoreGroup } from "../../cpu/core.ts";
import { decode } from "../../cpu/decode/decoder.ts";
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { FEATURE_NAMES, ROW_COUNT, ROW_FEATURE, ROW_FLAGS, ROW_MN, ROW_TEXT } from "../../cpu/decode/table.ts";
import { makeInterpreter } from "../../cpu/run.ts";
import { CPU_MODELS, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { featureSet } from "../../cpu/system/features.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import "../../cpu/uops/lift-all.ts";
import { runSystemGuest } from "../support/system-guest.ts";

const PER_ROW = 50;
const PER_INSTRUCTION = 200;
/** Vectors of a row that end without a signal. */
const COMPLETE = 12;
const TEST = new URL("../", import.meta.url).pathname;
const GUESTS = "../guests/system/";
const IMAGES = ["system64.elf", "system32.elf"];
const FOLDER = new URL(".", import.meta.url).pathname;

const INSTRUCTIONS = "cpu/system/instructions.test.ts";
const FEATURES = "cpu/system/cpuid-instructions.test.ts";
const ORACLE = "oracle/instructions.test.ts";

/** What they do is to fault, in user mode at least as AMD's processors have it (register forms of PREFETCHW). */
const FAULTING = /^(UD[012]|INT1|INT3|RSM|NOP: 0f 0d)\b/;

/** Rows of the opcode table (their text) that vectors of 64-bit user mode can't show, and the tests that do. */
const SYSTEM_TESTS: readonly (readonly [row: RegExp, file: string, title: string])[] = [
  [/\) (POP|LES|LDS|CALLF|JMPF): /, INSTRUCTIONS, "in real-address mode"],
  [/\) INTO: /, INSTRUCTIONS, "INTO is #OF after an overflow"],
  [/\) (AA[ADMS]|DA[AS]|SALC): /, "cpu/uops/bcd.test.ts", "agrees with the processor on every input"],
  [
    /^\(not in 64-bit mode\) (ADD|OR|ADC|SBB|AND|SUB|XOR|CMP|PUSH|INC|DEC|PUSHA|POPA|BOUND|ARPL): /,
    ORACLE,
    "-bit code",
  ],
  [/^(RDRAND): /, FEATURES, "RDRAND: it succeeds"],
  [/^(RDSEED): /, FEATURES, "RDSEED: it succeeds"],
  [/^(RDPID): /, FEATURES, "RDPID: it reads TSC_AUX"],
  [/^(RDTSC): /, FEATURES, "TSC: it counts"],
  [/^(RDTSCP): /, FEATURES, "RDTSCP: TSC_AUX in ECX"],
  [/^(SYSCALL): /, FEATURES, "SYSCALL goes where LSTAR says"],
  [/^(SYSENTER): /, FEATURES, "SYSENTER goes where the MSRs say"],
  [/^(MONITOR): /, FEATURES, "MONITOR: it takes an address"],
  [/^(XGETBV): /, FEATURES, "XSAVE: XGETBV reads XCR0"],
  [/^(XSAVEOPT): /, FEATURES, "XSAVEOPT: it stores"],
  [/^(XSAVEC): /, FEATURES, "XSAVEC: it stores in the compact form"],
  [/^(SLDT): /, INSTRUCTIONS, "SLDT stores"],
  [/^(STR): /, INSTRUCTIONS, "STR stores"],
  [/^(SGDT): /, INSTRUCTIONS, "SGDT stores what LGDT loaded"],
  [/^(SIDT): /, INSTRUCTIONS, "SIDT stores what LIDT loaded"],
  [/^(SMSW): /, INSTRUCTIONS, "SMSW stores CR0"],
  [/^(RDPMC): /, INSTRUCTIONS, "RDPMC is #GP"],
  [/^(CPUID): /, INSTRUCTIONS, "CPUID names the vendor"],
  [/^(SYSRET): /, INSTRUCTIONS, "SYSRET goes to user mode"],
  [/^(SYSEXIT): /, INSTRUCTIONS, "SYSEXIT goes to user mode"],
  [/^(MWAIT): /, INSTRUCTIONS, "MWAIT is undefined"],
  [/^(XSAVE|XRSTOR): /, INSTRUCTIONS, "XSAVE and XRSTOR keep ST0"],
  [/^(XSAVE64|XRSTOR64): /, INSTRUCTIONS, "XSAVE64 and XRSTOR64 keep ST0"],
  [/^(XSAVEOPT64): /, INSTRUCTIONS, "XSAVEOPT64 and XRSTOR64 keep ST0"],
  [/^(XSAVEC64): /, INSTRUCTIONS, "XSAVEC64 and XRSTOR64 keep ST0"],
  [/^(INS|OUTS): /, `${GUESTS}ports.c`, 'section("INS and OUTS")'],
  [/^(IN|OUT): /, `${GUESTS}ports.c`, 'section("I/O permission map")'],
  [/^(CLI|STI): /, `${GUESTS}privilege.c`, 'section("IOPL")'],
  [/^INT: /, `${GUESTS}gates.c`, 'section("gates of the IDT")'],
  [/^(CALLF|JMPF): /, `${GUESTS}gates.c`, 'section("direct far transfers")'],
  [/^(MOV: 8e \/2|LSS: )/, `${GUESTS}segments.c`, 'section("loads of SS")'],
  [/^HLT: /, `${GUESTS}debug.c`, 'section("HLT and #DB")'],
  [/^(LLDT|LTR): /, `${GUESTS}segments.c`, 'section("LLDT and LTR")'],
  [/^INVPCID: /, `${GUESTS}tlb.c`, 'section("INVPCID")'],
  [/^XSETBV: /, `${GUESTS}states.c`, 'section("XSETBV and XGETBV")'],
  [
    /^(CLTS|LMSW|INVD|WBINVD|INVLPG|LGDT|LIDT|WRMSR|RDMSR|CLAC|STAC|SWAPGS|MOV: 0f 2[0-3]\b)/,
    `${GUESTS}modes.c`,
    'section("every mode: ring 0")',
  ],
];

/** By FEATURE_ number: some model has it. */
function advertised(): Uint8Array {
  const all = new Uint8Array(FEATURE_NAMES.length);
  for (const model of CPU_MODELS) {
    const core = new Core(new Arena(1 << 20), 0, new CoreGroup());
    setCpuModel(core, model);
    featureSet(core).forEach((has, feature) => {
      all[feature]! |= has;
    });
  }
  return all;
}

/** Vectors by row of the opcode table, and those of them that end without a signal. */
function countRows(): { counts: Uint32Array; complete: Uint32Array } {
  const counts = new Uint32Array(ROW_COUNT);
  const complete = new Uint32Array(ROW_COUNT);
  const ins = new I.Instruction();
  ins.amd = 1;
  for (const name of readdirSync(FOLDER).filter((file) => file.endsWith(".jsonl.gz"))) {
    for (const match of gunzipSync(readFileSync(FOLDER + name))
      .toString("latin1")
      .matchAll(/"code":"([0-9a-f]+)".*?"sig":(\d+)/g)) {
      const code = Buffer.alloc(64, 0xcc);
      code.write(match[1]!, "hex");
      if (decode(ins, code, 0, code.length, 64) !== I.DECODE_OK) continue;
      counts[ins.row]! += 1;
      if (match[2] === "0") complete[ins.row]! += 1;
    }
  }
  return { counts, complete };
}

/** Rows of the instructions that the system guests come to. */
function metByGuests(): Uint8Array {
  const met = new Uint8Array(ROW_COUNT);
  const before = [...LIFTERS];
  before.forEach((lifter, mn) => {
    if (lifter === undefined) return;
    LIFTERS[mn] = (b, ins) => {
      met[ins.row] = 1;
      lifter(b, ins);
    };
  });
  try {
    for (const image of IMAGES) runSystemGuest(TEST + GUESTS + image, { quick: true, makeRunner: makeInterpreter });
  } finally {
    before.forEach((lifter, mn) => {
      LIFTERS[mn] = lifter;
    });
  }
  return met;
}

it("every instruction that CPUID advertises is covered", { timeout: 300_000 }, () => {
  const features = advertised();
  const { counts, complete } = countRows();
  const met = metByGuests();
  const byMnemonic = new Map<number, number>();
  for (let row = 1; row < ROW_COUNT; row++)
    byMnemonic.set(ROW_MN[row]!, (byMnemonic.get(ROW_MN[row]!) ?? 0) + counts[row]!);
  const missing: string[] = [];
  for (let row = 1; row < ROW_COUNT; row++) {
    // VMX and SVM no model has yet.
    const feature = ROW_FEATURE[row]!;
    if (feature === I.FEATURE_VMX || feature === I.FEATURE_SVM) continue;
    if (features[feature] === 0 || LIFTERS[ROW_MN[row]!] === undefined) continue;
    // The VEX forms of AES and PCLMULQDQ need AVX as well.
    const crypto = feature === I.FEATURE_AES || feature === I.FEATURE_PCLMULQDQ;
    if (crypto && ROW_TEXT[row]!.startsWith("vex.") && features[I.FEATURE_AVX] === 0) continue;
    const legacy = (ROW_FLAGS[row]! & I.ROW_NO64) !== 0;
    const text = `${legacy ? "(not in 64-bit mode) " : ""}${MNEMONIC_NAMES[ROW_MN[row]!]}: ${ROW_TEXT[row]}`;
    const many = counts[row]! >= PER_ROW && byMnemonic.get(ROW_MN[row]!)! >= PER_INSTRUCTION;
    const enough = many && (complete[row]! >= COMPLETE || FAULTING.test(text));
    const named = SYSTEM_TESTS.find(([pattern]) => pattern.test(text));
    if (!enough && named === undefined)
      missing.push(`${text}: ${counts[row]} vectors, ${complete[row]} without a fault`);
    else if (!enough && named![1].startsWith(GUESTS) && met[row] === 0)
      missing.push(`${text}: the system guests never come to it`);
  }
  expect(missing).toEqual([]);
});

it("the system tests that stand for vectors exist", () => {
  for (const [, file, title] of SYSTEM_TESTS) {
    expect(existsSync(TEST + file), file).toBe(true);
    expect(readFileSync(TEST + file, "utf8"), `${file}: ${title}`).toContain(title);
  }
});
