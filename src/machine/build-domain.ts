/** From a DomainConfig to a domain of the hypervisor, ready to be unpaused: what xl create does. */

import { hexStringToBytes } from "typed-array-utils";
import { BuilderError } from "../../hypervisor/builder/error.ts";
import type { GuestMemoryWriter } from "../../hypervisor/builder/memory-writer.ts";
import { type PvPlan, planPv } from "../../hypervisor/builder/pv.ts";
import { type PvhPlan, planPvh } from "../../hypervisor/builder/pvh.ts";
import { createDomain, destroyDomain } from "../../hypervisor/domain/create.ts";
import { type Domain, tablePool } from "../../hypervisor/domain/domain.ts";
import { ruleError } from "../../hypervisor/hvm/cpu-policy.ts";
import { PcTimer, wantsPcTimer } from "../../hypervisor/hvm/pc-timer.ts";
import { startPvh } from "../../hypervisor/hvm/vcpu-init.ts";
import type { Hypervisor } from "../../hypervisor/hypervisor.ts";
import { SUPERPAGE_FRAMES } from "../../hypervisor/memory/heap.ts";
import { P2M_RAM_RW, type P2m } from "../../hypervisor/memory/p2m.ts";
import { type DomainConfig, MachineConfigError } from "./api.ts";
import { fillPvDomain } from "./build-pv.ts";
import { ImageError } from "./images/error.ts";
import { loadKernel, loadRamdisk } from "./images/kernel.ts";

const FRAME = 4096;
/** Frames beyond its memory that a PVH domain owns: special pages and ACPI tables (LIBXL_MAXMEM_CONSTANT has 1 MiB). */
const EXTRA_FRAMES = 256;

/** Frames for shared info, grant tables and their status, and what is rounded off. */
const XEN_PAGES = 128;

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** A domain read and laid out, but not yet on a machine: the slow part, done once even if the domain restarts. */
export interface PreparedDomain {
  readonly config: DomainConfig;
  readonly plan: DomainPlan;
}
export type DomainPlan = { readonly pvh: PvhPlan; readonly pv: null } | { readonly pvh: null; readonly pv: PvPlan };

/** Unpacks kernel and ramdisk and lays the domain out. Rejects with MachineConfigError. */
export async function prepareDomain(
  config: DomainConfig,
  onProgress?: (step: string, fraction: number) => void,
): Promise<PreparedDomain> {
  const fail: (part: MachineConfigError["part"], message: string) => never = (
    part: MachineConfigError["part"],
    message: string,
  ): never => {
    throw new MachineConfigError(message, part, config.name);
  };
  const { type } = config;
  if (type === "hvm") return fail("config", `type "hvm" can't be run yet: "pv" and "pvh" domains are`);
  if (!Number.isInteger(config.memory / FRAME) || config.memory <= 0)
    fail("memory", `memory of ${config.memory} bytes is not a whole number of pages`);
  for (const rule of config.cpuid ?? []) {
    const error = ruleError(rule);
    if (error !== null) fail("cpuid", `cpuid: ${error}`);
  }
  if (config.uuid !== undefined && !UUID.test(config.uuid))
    fail("config", `uuid can't be "${config.uuid}": it has the form 01234567-89ab-cdef-0123-456789abcdef`);
  const kernelName = config.kernelName ?? "kernel";
  const kernel = await loadKernel(config.kernel, {
    type,
    onProgress: ({ stage, done, total }) => onProgress?.(`${kernelName}: ${stage}`, total === 0 ? 1 : done / total),
  }).catch((error: unknown) => (error instanceof ImageError ? fail("kernel", error.message) : Promise.reject(error)));
  const ramdisk =
    config.ramdisk === undefined
      ? undefined
      : await loadRamdisk(config.ramdisk).catch((error: unknown) =>
          error instanceof ImageError ? fail("ramdisk", error.message) : Promise.reject(error),
        );
  try {
    const vcpus = config.maxVcpus ?? config.vcpus ?? 1;
    if (type === "pv") {
      const { memory, cmdline: commandLine } = config;
      return { config, plan: { pvh: null, pv: planPv({ memory, kernel, ...(ramdisk && { ramdisk }), commandLine }) } };
    }
    const pvh = planPvh({
      // The memory map shows all that the domain may have, and its balloon driver gives back what it should not: Linux reckons
      // its target from memory/static-max so. Xen populates such a domain on demand; here it has the pages at once.
      memory: config.maxMemory ?? config.memory,
      vcpus,
      online: (vcpu) => vcpu < (config.vcpus ?? 1),
      kernel,
      ...(ramdisk !== undefined && { ramdisk }),
      commandLine: config.cmdline,
    });
    return { config, plan: { pvh, pv: null } };
  } catch (error) {
    if (error instanceof BuilderError) fail("memory", error.message);
    throw error;
  }
}

/** Frames that the machine needs for a prepared domain: its memory, tables and rings. */
export function framesOf(prepared: PreparedDomain): number {
  const { config, plan } = prepared;
  if (plan.pv !== null) return (config.maxMemory ?? config.memory) / FRAME + EXTRA_FRAMES + XEN_PAGES;
  const own = plan.pvh.regions.reduce((sum, region) => sum + region.length / FRAME, 0);
  const max = Math.max(own, (prepared.config.maxMemory ?? prepared.config.memory) / FRAME + EXTRA_FRAMES);
  // Second-level tables, those of grants, and Xen's own pages.
  return max + tablePool(prepared.config.maxVcpus ?? prepared.config.vcpus ?? 1, max) + XEN_PAGES;
}

/** "xxxxxxxx-xxxx-..." to 16 bytes; without one, made from the name and the number of the domain. */
function uuidBytes(config: DomainConfig, domid: number): Uint8Array {
  if (config.uuid !== undefined) return hexStringToBytes(config.uuid);
  const bytes = new Uint8Array(16);
  // FNV-1a over name and domid, sixteen times with another start; then version 4, variant 1 of RFC 4122.
  const text = new TextEncoder().encode(`${config.name}\0${domid}`);
  for (let i = 0; i < 16; i++) {
    let hash = 0x811c9dc5 ^ i;
    for (const b of text) hash = Math.imul(hash ^ b, 0x01000193);
    bytes[i] = hash >>> 24;
  }
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

/** Gives the domain frames for guest memory [gpa, gpa + length), in superpages where they fit. */
function populate(domain: Domain, physmap: P2m, gpa: number, length: number): boolean {
  const { heap } = domain.hypervisor;
  let gfn = gpa / FRAME;
  const end = gfn + length / FRAME;
  while (gfn < end) {
    if (gfn % SUPERPAGE_FRAMES === 0 && gfn + SUPERPAGE_FRAMES <= end) {
      const first = heap.allocSuperpage(domain.domid);
      if (first >= 0) {
        if (!physmap.mapSuperpage(gfn, first, P2M_RAM_RW)) return false;
        gfn += SUPERPAGE_FRAMES;
        continue;
      }
    }
    const mfn = heap.alloc(domain.domid);
    if (mfn < 0 || !physmap.map(gfn, mfn, P2M_RAM_RW)) return false;
    gfn++;
  }
  return true;
}

/** Writes guest-physical memory of a domain frame by frame. */
function writerOf(domain: Domain): GuestMemoryWriter {
  const { memory } = domain.hypervisor;
  const pieces = (gpa: number, length: number, piece: (address: number, from: number, bytes: number) => void): void => {
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const bytes = Math.min(length - done, FRAME - (at % FRAME));
      const mfn = domain.p2m.lookup(Math.floor(at / FRAME));
      if (mfn < 0) throw new BuilderError(`nothing is mapped at guest address 0x${at.toString(16)}`);
      piece(memory.frame(mfn) + (at % FRAME), done, bytes);
      done += bytes;
    }
  };
  return {
    write: (gpa, data) =>
      pieces(gpa, data.length, (address, from, bytes) => memory.write(address, data.subarray(from, from + bytes))),
    zero: (gpa, length) =>
      pieces(gpa, length, (address, _from, bytes) => memory.write(address, ZEROES.subarray(0, bytes))),
  };
}
const ZEROES = new Uint8Array(FRAME);

/** A domain with its memory, and what is left to do when the daemons have introduced it. */
export interface BuiltDomain {
  readonly domain: Domain;
  complete(): void;
}

/** Builds the domain, still paused. Throws MachineConfigError if the machine has no room for it. */
export function buildDomain(hypervisor: Hypervisor, prepared: PreparedDomain): BuiltDomain {
  const { config, plan } = prepared;
  const noRoom = (): never => {
    throw new MachineConfigError(
      `${config.memory / 2 ** 20} MiB of memory don't fit into what the machine has left`,
      "memory",
      config.name,
    );
  };
  let domain: Domain;
  try {
    domain = createDomain(hypervisor, {
      name: config.name,
      maxVcpus: config.maxVcpus ?? config.vcpus ?? 1,
      maxPages: (config.maxMemory ?? config.memory) / FRAME + EXTRA_FRAMES,
      uuid: uuidBytes(config, hypervisor.domains.size + 1),
      type: plan.pv === null ? "pvh" : plan.pv.is32bit ? "pv32" : "pv",
      // libxl tells a PV domain of one range (xc_domain_set_memmap_limit).
      memoryMap: plan.pvh?.memoryMap ?? [{ address: 0, size: config.maxMemory ?? config.memory, type: 1 }],
      ...(config.weight !== undefined && { weight: config.weight }),
      ...(config.cap !== undefined && { cap: config.cap }),
      ...(config.affinity !== undefined && { affinity: config.affinity }),
      ...(config.maxGrantVersion !== undefined && { maxGrantVersion: config.maxGrantVersion }),
      ...(config.maxEventChannels !== undefined && { maxEventChannels: config.maxEventChannels }),
      ...(config.cpuModel !== undefined && { cpuLevel: config.cpuModel }),
      ...(config.cpuid !== undefined && { cpuid: config.cpuid }),
    });
  } catch (error) {
    if (error instanceof RangeError) return noRoom();
    throw error;
  }
  if (plan.pv !== null) {
    const complete = fillPvDomain(domain, plan.pv);
    if (complete !== null) return { domain, complete };
    destroyDomain(domain);
    return noRoom();
  }
  const { regions, load, params, vcpu } = plan.pvh;
  for (const region of regions) {
    if (populate(domain, domain.physmap!, region.gpa, region.length)) continue;
    destroyDomain(domain);
    noRoom();
  }
  load(writerOf(domain));
  for (const { index, value } of params) domain.params[index] = value;
  startPvh(domain.vcpus[0]!, vcpu.rip, vcpu.rbx);
  if (wantsPcTimer(config.cmdline)) {
    domain.pcTimer = new PcTimer(domain);
    hypervisor.interrupts.setVirtualWire(domain.vcpus[0]!);
  }
  return { domain, complete: () => {} };
}
