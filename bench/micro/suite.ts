/** `npm run bench -- --micro`: what single things cost, by benny. Each case answers one question, printed at the end. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import b from "benny";
import * as A from "../../cpu/arena.ts";
import { BLOCK_HEADER_BYTES, UOP_BYTES } from "../../cpu/uops/uop.ts";
import { type EngineName, Machine } from "../../src/index.ts";
import { loadKernel } from "../../src/machine/images/kernel.ts";
import { cacheFolder } from "../../src/toolstack/guests/cache.ts";
import { bareCore, FREE } from "./bare.ts";
import { pvLoop } from "./pv-loop.ts";

interface Case {
  name: string;
  /** Does some of it. */
  run: () => void;
  /** How many units were done since the case was made. */
  done: () => number;
  unit: string;
}

const MIB = 2 ** 20;
const TEXT_BYTES = 8 * MIB;
/** Calls of a case before the clock runs. */
const WARM_UP = 5;

/** Decoding and lifting of all blocks in a linear sweep through the text of a real kernel, the stream emptied in time. */
async function decodeAndLift(): Promise<Case | undefined> {
  const file = join(cacheFolder(), "debian/cloud/vmlinuz");
  if (!existsSync(file)) return undefined;
  const image = await loadKernel(new Uint8Array(readFileSync(file)), { type: "pvh" });
  const { core, arena, engine } = bareCore(64 * MIB, FREE, "interpreter");
  const text = image.segments[0]!.bytes.subarray(0, TEXT_BYTES);
  const from = arena.ram + FREE;
  arena.u8.set(text, from);
  core.activate();
  let at = from;
  let done = 0;
  return {
    name: "decode and lift: Debian's kernel text",
    run() {
      for (let n = 0; n < 1000; n++) {
        if (at >= from + text.length - 4096) {
          at = from;
          engine.blocks.flush();
        }
        const record = engine.blocks.get(at, () => ((at & ~0xfff) + 4096) >>> 0);
        at += core.u16[(record + 10) >>> 1]!;
        done++;
      }
    },
    done: () => done,
    unit: "block",
  };
}

/** One block in a loop onto itself: loads, stores, arithmetic, a branch. */
const LOOP: readonly number[] = [
  ...[0x48, 0x8b, 0x03], // mov rax, [rbx]
  ...[0x48, 0x01, 0xc8], // add rax, rcx
  ...[0x48, 0x31, 0xd0], // xor rax, rdx
  ...[0x48, 0x89, 0x43, 0x08], // mov [rbx+8], rax
  ...[0x48, 0xc1, 0xc2, 0x07], // rol rdx, 7
  ...[0x48, 0x8d, 0x54, 0x0a, 0x11], // lea rdx, [rdx+rcx+0x11]
  ...[0x44, 0x8b, 0x43, 0x08], // mov r8d, [rbx+8]
  ...[0x41, 0x81, 0xe0, 0xff, 0x0f, 0x00, 0x00], // and r8d, 0xfff
  ...[0x4c, 0x01, 0x43, 0x10], // add [rbx+16], r8
  ...[0x48, 0xff, 0xc1], // inc rcx
  ...[0x75, 0xd6], // jnz to the beginning
];

function microOps(engine: "interpreter" | "translator"): Case {
  const bare = bareCore(16 * MIB, FREE, engine);
  const { core, arena } = bare;
  arena.u8.set(LOOP, arena.ram + FREE);
  core.setSlot(A.S_RCX, 1n);
  core.setSlot(A.S_RBX, BigInt(2 * MIB));
  bare.engine.run(core, core.now() + 1000);
  const record = bare.engine.blocks.known(arena.ram + FREE, core.i32[A.MODE >>> 2]!);
  const instructions = core.u16[(record + 8) >>> 1]!;
  // The terminal takes two places.
  const count = (core.i32[(record + 12) >>> 2]! - record - BLOCK_HEADER_BYTES) / UOP_BYTES - 1;
  return {
    name: `micro-ops, ${engine}: loop of ${instructions} instructions, ${count} micro-ops`,
    run: () => void bare.engine.run(core, core.now() + 200_000),
    done: () => (core.f64[A.INSTRET >>> 3]! / instructions) * count,
    unit: "micro-op",
  };
}

/** A guest of guests/bench that does not end; `perUnit` instructions to each unit. */
async function guest(engine: EngineName, name: string, unit: string, perUnit: number): Promise<Case> {
  const kernel = new Uint8Array(readFileSync(fileURLToPath(new URL("../../guests/bench/bench.elf", import.meta.url))));
  const cmdline = `bench=${name} n=4000000`;
  const machine = await Machine.create({
    engine,
    domains: [{ name, type: "pvh", kernel, cmdline, memory: 64 * MIB }],
  });
  const hypercalls = (): number =>
    machine.report().domains[0]!.hypercalls.find((call) => call.name === "xen_version")?.count ?? 0;
  return {
    name: `${name}, ${engine}`,
    run: () => void machine.run({ maxCycles: 500_000 }),
    done: () => (name === "hypercall" ? hypercalls() : machine.report().totals.instructions / perUnit),
    unit,
  };
}

/** System calls of a PV guest. */
function pvSyscall(): Case {
  const loop = pvLoop();
  return {
    name: "pv-syscall, translator",
    run: () => loop.run(5_000_000),
    done: () => loop.done(),
    unit: "round trip of SYSCALL, bounce frame and iret hypercall",
  };
}

/** Runs all cases; prints what each unit costs. */
export async function runMicro(): Promise<void> {
  const cases: Case[] = [];
  const decode = await decodeAndLift();
  if (decode === undefined)
    process.stderr.write('bench: no Debian kernel here; "xenoscope guests fetch debian" brings it\n');
  else cases.push(decode);
  for (const engine of ["interpreter", "translator"] as const) {
    cases.push(microOps(engine));
    for (const name of ["hits", "misses"])
      cases.push(await guest(engine, name, "load, with half a DEC and half a JNZ", 2));
    cases.push(await guest(engine, "hypercall", "hypercall", 1));
  }
  cases.push(pvSyscall());
  const counted = new Map<string, { calls: number; from: number }>();
  const summary = await b.suite(
    "what single things cost",
    ...cases.map(({ name, run, done }) =>
      b.add(
        name,
        () => {
          for (let n = 0; n < WARM_UP; n++) run();
          const count = { calls: 0, from: done() };
          counted.set(name, count);
          return () => {
            count.calls++;
            run();
          };
        },
        { minSamples: 5, maxTime: 1 },
      ),
    ),
  );
  for (const { name, details } of summary.results) {
    const { done, unit } = cases.find((candidate) => candidate.name === name)!;
    const { calls, from } = counted.get(name)!;
    const ns = (details.median * 1e9 * calls) / (done() - from);
    process.stdout.write(`${name}: ${ns.toFixed(ns < 100 ? 2 : 0)} ns a ${unit}\n`);
  }
}
