/** Asks the host's processor: builds the oracle with gcc once, and runs vectors through it. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FX_BYTES, type Outcome, type Vector, WINDOW_BYTES, YMMH_BYTES } from "./vector.ts";

const SOURCE = fileURLToPath(new URL("./step-oracle.c", import.meta.url));
const CODE_BYTES = 32;
const REQUEST_BYTES = 16 * 8 + 8 + CODE_BYTES + 8 + WINDOW_BYTES + FX_BYTES + YMMH_BYTES;
const RESPONSE_BYTES = 8 + 16 * 8 + 16 + WINDOW_BYTES + FX_BYTES + YMMH_BYTES;

/** True where there is an x86-64 processor and a C compiler to ask it with. */
export function hasHost(): boolean {
  return process.platform === "linux" && process.arch === "x64" && spawnSync("gcc", ["--version"]).status === 0;
}

/** True if the host's processor has the feature, in Linux's names. */
export function hostHas(feature: string): boolean {
  return (
    existsSync("/proc/cpuinfo") && new RegExp(`^flags.* ${feature}\\b`, "m").test(readFileSync("/proc/cpuinfo", "utf8"))
  );
}

/** True if the host can judge all that x86-64-v3 has. */
export function hasHostV3(): boolean {
  return ["avx2", "fma", "f16c", "bmi1", "bmi2", "aes", "pclmulqdq"].every(hostHas);
}

/** Where vendors differ, the core follows the model; vectors need that of the host. */
export function hostIsAmd(): boolean {
  return existsSync("/proc/cpuinfo") && readFileSync("/proc/cpuinfo", "utf8").includes("AuthenticAMD");
}

let built: string | undefined;
function binary(): string {
  if (built === undefined || !existsSync(built) || statSync(built).size === 0) {
    built = join(mkdtempSync(join(tmpdir(), "xenoscope-oracle-")), "step-oracle");
    execFileSync("gcc", ["-O2", "-o", built, SOURCE]);
  }
  return built;
}

/** What the host does with each vector. */
export function askHost(vectors: readonly Vector[]): Outcome[] {
  const request = Buffer.alloc(REQUEST_BYTES * vectors.length);
  vectors.forEach((v, n) => {
    let at = n * REQUEST_BYTES;
    for (const value of v.gpr) at = request.writeBigUInt64LE(value, at);
    at = request.writeBigUInt64LE(BigInt(v.rflags), at);
    request.fill(0xcc, at, at + CODE_BYTES);
    request.set(v.code, at);
    at = request.writeUInt32LE(v.code.length, at + CODE_BYTES);
    at = request.writeUInt32LE((v.fx === null ? 0 : 1) | (v.ymmh === null ? 0 : 2) | (v.size << 8), at);
    request.set(v.mem, at);
    if (v.fx !== null) request.set(v.fx, at + WINDOW_BYTES);
    if (v.ymmh !== null) request.set(v.ymmh, at + WINDOW_BYTES + FX_BYTES);
  });
  const run = spawnSync(binary(), [], { input: request, maxBuffer: RESPONSE_BYTES * vectors.length + 4096 });
  if (run.status !== 0 || run.stdout.length !== RESPONSE_BYTES * vectors.length)
    throw new Error(`the oracle failed: ${run.stderr.toString().trim() || `status ${run.status}`}`);
  return vectors.map((v, n) => {
    // What the upper halves hold after legacy code is undefined.
    const cut = v.size === 64 ? 64 : 32;
    let at = n * RESPONSE_BYTES;
    const sig = run.stdout.readUInt32LE(at);
    at += 8;
    const gpr: bigint[] = [];
    for (let i = 0; i < 16; i++) gpr.push(BigInt.asUintN(cut, run.stdout.readBigUInt64LE(at + i * 8)));
    at += 128;
    const rip = run.stdout.readBigUInt64LE(at);
    const rflags = Number(run.stdout.readBigUInt64LE(at + 8));
    at += 16;
    return {
      sig,
      rip,
      gpr,
      rflags,
      mem: new Uint8Array(run.stdout.subarray(at, at + WINDOW_BYTES)),
      fx: new Uint8Array(run.stdout.subarray(at + WINDOW_BYTES, at + WINDOW_BYTES + FX_BYTES)),
      ymmh: new Uint8Array(
        run.stdout.subarray(at + WINDOW_BYTES + FX_BYTES, at + WINDOW_BYTES + FX_BYTES + YMMH_BYTES),
      ),
    };
  });
}
