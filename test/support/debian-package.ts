/** Single files out of Debian's packages, for tests; kept beside the guests in the cache. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "../../src/toolstack/guests/cache.ts";
import { inCi } from "./debian.ts";

const run = promisify(execFile);

/**
 * The file at `path` of a package, brought by `apt-get download` and unpacked without root. Where apt doesn't know the package,
 * or is absent: why. A download that fails is an error with CI=true.
 */
export async function fileOfPackage(name: string, path: string): Promise<{ file: string } | { missing: string }> {
  const folder = join(cacheFolder(), "packages");
  const file = join(folder, `${name}-${path.replaceAll("/", "-")}`);
  if (existsSync(file)) return { file };
  try {
    await run("apt-cache", ["show", name]);
  } catch {
    return { missing: `apt knows no package ${name}` };
  }
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, ".fetch-"));
  try {
    await run("apt-get", ["download", "-q", name], { cwd: work });
    const deb = (await readdir(work)).find((entry) => entry.endsWith(".deb"))!;
    await run("dpkg-deb", ["-x", join(work, deb), join(work, "files")]);
    await copyFile(join(work, "files", path), join(work, "wanted"));
    await rename(join(work, "wanted"), file);
    return { file };
  } catch (error) {
    const missing = `${name}: ${error instanceof Error ? error.message.split("\n")[0] : error}`;
    if (inCi()) throw new Error(missing);
    return { missing };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
