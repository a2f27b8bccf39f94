/** The folder in which guests that were brought in are kept. */

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { UserError } from "../user-error.ts";

/** `XENOSCOPE_CACHE`, else `~/.cache/xenoscope` (or below `XDG_CACHE_HOME`). */
export function cacheFolder(): string {
  const { XENOSCOPE_CACHE: own, XDG_CACHE_HOME: xdg } = process.env;
  if (own !== undefined && own !== "") return resolve(own);
  return join(xdg !== undefined && xdg !== "" ? resolve(xdg) : join(homedir(), ".cache"), "xenoscope");
}

/** One kernel of a distribution, ready to boot. */
export interface CachedKernel {
  /** `cloud` or `generic`. */
  flavour: string;
  package: string;
  version: string;
  /** Paths relative to the distribution's folder. */
  kernel: string;
  /** xl.cfg of a PVH and of a PV domain; older caches lack the second. */
  config: string;
  pvConfig?: string | undefined;
}

export interface CachedDistribution {
  /** Raised when the layout of the folder changes; an older folder is fetched anew. */
  layout: number;
  initramfs: string;
  busybox: { package: string; version: string };
  kernels: CachedKernel[];
}

export const CACHE_LAYOUT = 1;
export const MANIFEST = "manifest.json";

const manifestSchema: z.ZodType<CachedDistribution> = z.object({
  layout: z.literal(CACHE_LAYOUT),
  initramfs: z.string(),
  busybox: z.object({ package: z.string(), version: z.string() }),
  kernels: z.array(
    z.object({
      flavour: z.string(),
      package: z.string(),
      version: z.string(),
      kernel: z.string(),
      config: z.string(),
      pvConfig: z.string().optional(),
    }),
  ),
});

/** What the cache holds of a distribution, or undefined. Throws UserError where the manifest can't be read. */
export function readDistribution(name: string): { folder: string; content: CachedDistribution } | undefined {
  const folder = join(cacheFolder(), name);
  const file = join(folder, MANIFEST);
  if (!existsSync(file)) return undefined;
  try {
    return { folder, content: manifestSchema.parse(JSON.parse(readFileSync(file, "utf8"))) };
  } catch {
    throw new UserError(`${file} is damaged or of another version: run xenoscope guests fetch ${name}`);
  }
}
