/**
 * Brings in Debian's kernels and a small initramfs around busybox, by apt and dpkg-deb, without root: packages are
 * downloaded into a temporary folder and unpacked there, nothing is installed.
 */

import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { buildInitramfs, type InitramfsEntry } from "../../machine/images/initramfs.ts";
import { systemReason } from "../load.ts";
import { UserError } from "../user-error.ts";
import { CACHE_LAYOUT, type CachedDistribution, type CachedKernel, cacheFolder, MANIFEST } from "./cache.ts";

/** Debian's meta packages; each depends on the kernel package of the day. */
const FLAVOURS: readonly { readonly flavour: string; readonly meta: string }[] = [
  { flavour: "cloud", meta: "linux-image-cloud-amd64" },
  { flavour: "generic", meta: "linux-image-amd64" },
];
const BUSYBOX = "busybox-static";

/** Where there is no apt: how to go on with a kernel from elsewhere. */
export const OWN_KERNEL_HINT = `Any x86-64 Linux kernel with CONFIG_PVH and CONFIG_XEN_PVHVM will do: write an xl.cfg with
  name = "mine"
  type = "pvh"
  kernel = "/path/to/vmlinuz"
  ramdisk = "/path/to/initrd"
  extra = "console=hvc0"
  memory = 256
and start it with: xenoscope run mine.cfg`;

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; undefined where there is no such program. */
function execute(program: string, args: readonly string[], cwd?: string): Promise<Finished | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", (error) => {
      if ("code" in error && error.code === "ENOENT") resolve(undefined);
      else reject(new UserError(`can't run ${program}: ${systemReason(error)}`));
    });
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** The last line that a failed program said, for a one-line message. */
function complaint(finished: Finished): string {
  const lines = finished.stderr.split("\n").filter((line) => /^E: |error/i.test(line));
  return (
    (lines.at(-1) ?? finished.stderr.trim().split("\n").at(-1) ?? "").replace(/^E: /, "") ||
    `exit code ${finished.code}`
  );
}

async function need(program: string, args: readonly string[], cwd: string | undefined, doing: string): Promise<string> {
  const finished = await execute(program, args, cwd);
  if (finished === undefined)
    throw new UserError(`${program} is not here: guests fetch debian needs apt and dpkg.\n${OWN_KERNEL_HINT}`);
  if (finished.code !== 0) throw new UserError(`${doing}: ${program}: ${complaint(finished)}`);
  return finished.stdout;
}

/** `:amd64` where that is not the host's own architecture. */
async function architectureSuffix(): Promise<string> {
  const native = (await need("dpkg", ["--print-architecture"], undefined, "asking for the architecture")).trim();
  return native === "amd64" ? "" : ":amd64";
}

/** The kernel package that a meta package stands for. */
async function resolveKernel(meta: string): Promise<string> {
  const finished = await execute("apt-cache", ["depends", meta]);
  if (finished === undefined)
    throw new UserError(`apt-cache is not here: guests fetch debian needs apt.\n${OWN_KERNEL_HINT}`);
  const match = /^\s*\|?Depends: (linux-image-\S+)$/m.exec(finished.stdout);
  if (match === null) {
    const who = process.getuid?.() === 0 ? "run: apt-get update" : "ask for: sudo apt-get update";
    throw new UserError(
      `apt knows no package ${meta}: its lists are empty, or this is not Debian; ${who}\n${OWN_KERNEL_HINT}`,
    );
  }
  return match[1]!;
}

/** `[package, bytes]` of what apt-get would download. */
async function downloadSizes(packages: readonly string[], cwd: string): Promise<Map<string, number>> {
  const text = await need("apt-get", ["download", "--print-uris", ...packages], cwd, "finding the packages");
  const sizes = new Map<string, number>();
  for (const match of text.matchAll(/^'[^']*' (\S+) ([0-9]+) /gm)) sizes.set(match[1]!, Number(match[2]));
  return sizes;
}

async function bytesIn(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder)) sum += (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0;
  return sum;
}

async function findFile(folder: string, wanted: RegExp): Promise<string> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && wanted.test(path.slice(folder.length + 1))) return path;
  }
  throw new UserError(`the package holds no file ${wanted.source}: Debian changed its layout`);
}

/** First program of the initramfs: mounts, says what it found, gives a shell on the console, and powers off after it. */
export const INIT_SCRIPT = `#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo "xenoscope: $(uname -sr), guest type $(cat /sys/hypervisor/guest_type 2>/dev/null || echo none)"
cd /root
setsid cttyhack sh
echo "xenoscope: the shell ended, powering off"
poweroff -f
`;

/** The files of the initramfs. */
export function initramfsEntries(busybox: Uint8Array): InitramfsEntry[] {
  const folders = ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin"];
  return [
    ...folders.map((path): InitramfsEntry => ({ kind: "directory", path, mode: 0o755 })),
    { kind: "device", path: "dev/console", mode: 0o600, device: "c", major: 5, minor: 1 },
    { kind: "device", path: "dev/null", mode: 0o666, device: "c", major: 1, minor: 3 },
    { kind: "file", path: "bin/busybox", mode: 0o755, data: busybox },
    { kind: "symlink", path: "bin/sh", target: "busybox" },
    { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(INIT_SCRIPT) },
  ];
}

/** A string of xl.cfg. */
function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** An xl.cfg for one kernel. A kernel panic is a crash for Xen (xen_legacy_crash), not a reboot. */
export function guestConfig(
  type: "pv" | "pvh",
  flavour: string,
  version: string,
  kernel: string,
  ramdisk: string,
): string {
  return `# Debian kernel ${version} (${flavour}) as ${type.toUpperCase()} with a busybox shell on its console. Leave with: poweroff -f
name = "debian-${flavour}"
type = "${type}"
kernel = ${quote(kernel)}
ramdisk = ${quote(ramdisk)}
extra = "console=hvc0 xen_legacy_crash"
memory = 256
vcpus = 1
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
`;
}

async function install(file: string, data: Uint8Array | string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.new`, data);
  await rename(`${file}.new`, file);
}

/** Fetches kernels and busybox, and writes `debian/` in the cache anew. Says each step; gives the folder. */
export async function fetchDebian(
  say: (text: string) => void,
  onProgress: (step: string, fraction: number) => void,
): Promise<{ folder: string; content: CachedDistribution }> {
  const folder = join(cacheFolder(), "debian");
  let work: string;
  try {
    await mkdir(folder, { recursive: true });
    work = await mkdtemp(join(folder, ".fetch-"));
  } catch (error) {
    throw new UserError(`can't write to the cache ${folder}: ${systemReason(error)} (XENOSCOPE_CACHE names another)`);
  }
  try {
    return { folder, content: await fetchInto(folder, work, say, onProgress) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function fetchInto(
  folder: string,
  work: string,
  say: (text: string) => void,
  onProgress: (step: string, fraction: number) => void,
): Promise<CachedDistribution> {
  const suffix = await architectureSuffix();
  const wanted: { flavour: string; package: string }[] = [];
  for (const { flavour, meta } of FLAVOURS) {
    wanted.push({ flavour, package: (await resolveKernel(meta + suffix)).replace(/:amd64$/, "") });
  }
  const packages = [...wanted.map((kernel) => kernel.package), BUSYBOX].map((name) => name + suffix);
  const downloads = join(work, "packages");
  await mkdir(downloads);
  const sizes = await downloadSizes(packages, downloads);
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  say(`downloading ${packages.join(", ")}: ${(total / 2 ** 20).toFixed(0)} MiB`);
  const poll = setInterval(() => {
    bytesIn(downloads).then(
      (bytes) => onProgress("downloading", total === 0 ? 0 : bytes / total),
      () => {},
    );
  }, 200);
  try {
    await need("apt-get", ["download", "-q", ...packages], downloads, "downloading");
  } finally {
    clearInterval(poll);
  }

  const debs = await readdir(downloads);
  const unpack = async (name: string): Promise<{ version: string; files: string }> => {
    const deb = debs.find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
    if (deb === undefined) throw new UserError(`apt-get downloaded no ${name}`);
    const files = join(work, name);
    await mkdir(files);
    onProgress(`unpacking ${name}`, 1);
    await need("dpkg-deb", ["-x", join(downloads, deb), files], undefined, `unpacking ${name}`);
    const version = (
      await need("dpkg-deb", ["-f", join(downloads, deb), "Version"], undefined, "reading a version")
    ).trim();
    return { version, files };
  };

  const busybox = await unpack(BUSYBOX);
  const program = await readFile(await findFile(busybox.files, /^(usr\/)?bin\/busybox$/));
  await install(join(folder, "busybox"), program);
  await chmod(join(folder, "busybox"), 0o755);
  const initramfs = "initramfs.cpio.gz";
  await install(join(folder, initramfs), await buildInitramfs(initramfsEntries(program)));

  const kernels: CachedKernel[] = [];
  for (const { flavour, package: name } of wanted) {
    const { version, files } = await unpack(name);
    const kernel = join(flavour, "vmlinuz");
    await install(join(folder, kernel), await readFile(await findFile(files, /^boot\/vmlinuz-/)));
    const config = (type: "pv" | "pvh"): string => `debian-${flavour}-${type}.cfg`;
    for (const type of ["pvh", "pv"] as const) {
      const text = guestConfig(type, flavour, version, join(folder, kernel), join(folder, initramfs));
      await install(join(folder, config(type)), text);
    }
    kernels.push({ flavour, package: name, version, kernel, config: config("pvh"), pvConfig: config("pv") });
    await rm(files, { recursive: true, force: true });
  }
  const content: CachedDistribution = {
    layout: CACHE_LAYOUT,
    initramfs,
    busybox: { package: BUSYBOX, version: busybox.version },
    kernels,
  };
  await install(join(folder, MANIFEST), `${JSON.stringify(content, null, 2)}\n`);
  return content;
}
