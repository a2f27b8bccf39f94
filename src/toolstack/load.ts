/** Reads xl configuration files and the kernels and ramdisks that they name, and makes a machine's domains of them. */

import { readFileSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import type { DomainConfig } from "../machine/api.ts";
import { UserError } from "./user-error.ts";
import { type Placed, parseDomain, resolveCpuList, type XlDomain } from "./xlcfg/domain.ts";

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "it is a directory",
  ENOTDIR: "a part of the path is not a directory",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "too many symbolic links",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
};

/** A system error in a few words. */
export function systemReason(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
  return (code && REASONS[code]) ?? code ?? String(error);
}

const MAX_CONFIG_BYTES = 1 << 20;

/** Reads and checks the configuration files in order; names must differ. Throws UserError. */
export async function loadConfigs(files: readonly string[]): Promise<{ domains: XlDomain[]; warnings: string[] }> {
  const domains: XlDomain[] = [];
  const warnings: string[] = [];
  for (const file of files) {
    let bytes: Uint8Array;
    try {
      if ((await stat(file)).size > MAX_CONFIG_BYTES)
        throw new UserError(`${file}: too large for a configuration file`);
      bytes = await readFile(file);
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(`${file}: can't read the configuration: ${systemReason(error)}`);
    }
    if (bytes.includes(0)) throw new UserError(`${file}: not a text file, so not an xl configuration`);
    const result = parseDomain(new TextDecoder().decode(bytes), file);
    const same = domains.find((other) => other.name.value === result.domain.name.value);
    if (same !== undefined) {
      const { at } = result.domain.name;
      throw new UserError(`${at.file}:${at.line}: name "${same.name.value}" is taken by the domain of ${same.file}`);
    }
    domains.push(result.domain);
    warnings.push(...result.warnings);
  }
  return { domains, warnings };
}

function readPart(part: Placed<string>, what: string): Uint8Array {
  const place = `${part.at.file}:${part.at.line}`;
  let bytes: Uint8Array;
  try {
    // At once: the promise reads in small pieces, for which a boot would wait a fiftieth of its time.
    bytes = readFileSync(part.value);
  } catch (error) {
    throw new UserError(`${place}: can't read the ${what} ${part.value}: ${systemReason(error)}`);
  }
  if (bytes.length === 0) throw new UserError(`${place}: the ${what} ${part.value} is empty`);
  return bytes;
}

/** Reads the files of one domain (relative paths against the current directory, as xl does). Throws UserError. */
export async function loadDomain(domain: XlDomain, pcpus: number): Promise<DomainConfig> {
  const affinity =
    domain.cpus === undefined
      ? undefined
      : "value" in domain.cpus
        ? new Array<number[]>(domain.maxVcpus).fill(resolveCpuList(domain.cpus, pcpus))
        : domain.cpus.map((list) => resolveCpuList(list, pcpus));
  return {
    name: domain.name.value,
    type: domain.type,
    kernel: readPart(domain.kernel, "kernel"),
    kernelName: domain.kernel.value,
    ...(domain.ramdisk && { ramdisk: readPart(domain.ramdisk, "ramdisk") }),
    cmdline: domain.cmdline,
    memory: domain.memory.value,
    maxMemory: domain.maxMemory,
    vcpus: domain.vcpus,
    maxVcpus: domain.maxVcpus,
    ...(affinity && { affinity }),
    weight: domain.weight,
    cap: domain.cap,
    ...(domain.uuid !== undefined && { uuid: domain.uuid }),
    ...(domain.maxGrantVersion !== undefined && { maxGrantVersion: domain.maxGrantVersion }),
    ...(domain.maxEventChannels !== undefined && { maxEventChannels: domain.maxEventChannels }),
    ...(domain.cpuid?.model !== undefined && { cpuModel: domain.cpuid.model }),
    ...(domain.cpuid && { cpuid: domain.cpuid.rules.map(({ rule }) => rule) }),
  };
}
