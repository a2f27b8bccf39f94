/**
 * Debian's kernels for tests: from the cache of `xenoscope guests fetch debian`, fetched once where they are absent. With
 * CI=true a kernel that can't be had is an error; elsewhere the tests say why they are skipped.
 */

import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, readDistribution } from "../../src/toolstack/guests/cache.ts";
import { builtXenoscope } from "./command.ts";

export interface DebianGuests {
  /** Paths of the kernels by flavour. */
  cloud: string;
  generic: string;
  initramfs: string;
}

/** The guests, or why there are none. */
export type DebianOrReason = DebianGuests | { missing: string };

function cached(): DebianGuests | undefined {
  let found: ReturnType<typeof readDistribution>;
  try {
    found = readDistribution("debian");
  } catch {
    return undefined;
  }
  if (found === undefined) return undefined;
  const { folder, content } = found;
  const kernel = (flavour: string): string | undefined => content.kernels.find((k) => k.flavour === flavour)?.kernel;
  const [cloud, generic] = [kernel("cloud"), kernel("generic")];
  if (cloud === undefined || generic === undefined) return undefined;
  return { cloud: join(folder, cloud), generic: join(folder, generic), initramfs: join(folder, content.initramfs) };
}

/** Whether what can't be had is a failure. */
export function inCi(): boolean {
  const { CI } = process.env;
  return CI !== undefined && CI !== "" && CI !== "false";
}

const LOCK_STALE_MS = 20 * 60_000;

/** Several test files may want the kernels at once: one fetches, the others wait. */
async function fetchOnce(): Promise<string> {
  try {
    mkdirSync(cacheFolder(), { recursive: true });
  } catch (error) {
    return String(error);
  }
  const lock = join(cacheFolder(), ".fetching-for-tests");
  for (;;) {
    if (cached() !== undefined) return "";
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") return String(error);
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > LOCK_STALE_MS) rmSync(lock, { recursive: true, force: true });
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  try {
    return (await builtXenoscope(["guests", "fetch", "debian"])).stderr;
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** Debian's kernels. Throws with CI=true where they can't be had. */
export async function debianGuests(): Promise<DebianOrReason> {
  const here = cached();
  if (here !== undefined) return here;
  const said = await fetchOnce();
  const fetched = cached();
  if (fetched !== undefined) return fetched;
  const missing = `no Debian kernels: ${said.trim().split("\n").at(-1) ?? "fetching them failed"}`;
  if (inCi()) throw new Error(missing);
  return { missing };
}
