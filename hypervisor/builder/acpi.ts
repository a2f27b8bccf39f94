// ACPI tables of a PVH domain. Contents and order follow Xen's tools/libacpi as libxl calls it for PVH (libxl_x86_acpi.c):
// no VGA, no RTC, no 8042, no IO-APIC, no PM timer. Left out: RSDT and the revision 1 FADT (for guests of before 2000), and
// the processor hot-plug method, whose I/O port nothing serves in a PVH domain.

import { APIC_DEFAULT_BASE } from "../../cpu/system/apic.ts";
import { amlBuffer, amlDevice, amlInteger, amlName, amlScope, amlString } from "./aml.ts";
import { ACPI_INFO_ADDRESS, PAGE_SIZE } from "./e820.ts";
import { Struct } from "./memory-writer.ts";

/** libxl reserves this much for the RSDP, which itself has 36 bytes. */
export const RSDP_REGION_SIZE = 64;
const RSDP_SIZE = 36;
const RSDP_V1_SIZE = 20;
const HEADER_SIZE = 36;
const HEADER_CHECKSUM = 9;
const FACS_SIZE = 64;
const FADT_SIZE = 268;
const MADT_SIZE = 44;

const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_PWR_BUTTON = 1 << 4;
const FADT_SLP_BUTTON = 1 << 5;
const FADT_FIX_RTC = 1 << 6;
const FADT_TMR_VAL_EXT = 1 << 8;
const FADT_USE_PLATFORM_CLOCK = 1 << 15;
const BOOT_ARCH_NO_VGA = 1 << 2;
const BOOT_ARCH_NO_CMOS_RTC = 1 << 5;

const SYSTEM_IO = 1;
const SCI_INTERRUPT = 9;
// ACPI_*_V1 of public hvm/ioreq.h.
const PM1A_EVENT_PORT = 0xb000;
const PM1A_CONTROL_PORT = 0xb004;
const GPE0_PORT = 0xafe0;
const GPE0_LENGTH = 4;
const RESET_PORT = 0xcf9;
/** Over 100 and 1000 microseconds: no C2, no C3. */
const NO_C_STATE = 0x0fff;

const MADT_LOCAL_APIC = 0;
const MADT_LOCAL_X2APIC = 9;
const MADT_PCAT_COMPAT = 1;
const MADT_ENABLED = 1;
/** 0xff is the broadcast id of xAPIC, so the largest id that a local APIC entry can hold is this one. */
const XAPIC_ID_MAX = 254;

/** The APIC id of a vcpu, everywhere in Xen. */
export function apicId(vcpu: number): number {
  return vcpu * 2;
}

export interface AcpiConfig {
  vcpus: number;
  /** Whether a vcpu can be used from the start. */
  online(vcpu: number): boolean;
  /**
   * Where the RSDP goes: Linux before its XENFEAT_linux_rsdp_unrestricted looks only where a BIOS has it.
   */
  rsdpInBios: boolean;
}

export interface AcpiTables {
  /** Guest-physical address of the RSDP. */
  rsdp: number;
  /** What to write, in libxl's order: RSDP, acpi_info page, tables. */
  regions: readonly { gpa: number; bytes: Uint8Array }[];
}

function setChecksum(bytes: Uint8Array, at: number, length: number): void {
  bytes[at] = 0;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += bytes[i]!;
  bytes[at] = -sum;
}

/** A table with its common header filled, checksum aside. */
function table(signature: string, revision: number, size: number): Struct {
  return new Struct(size)
    .text(0, signature)
    .u32(4, size)
    .u8(8, revision)
    .text(10, "Xen")
    .text(16, "HVM")
    .text(28, "HVML");
}

function finish(t: Struct): Uint8Array {
  setChecksum(t.bytes, HEADER_CHECKSUM, t.bytes.length);
  return t.bytes;
}

/** A generic address structure in I/O space. */
function genericAddress(t: Struct, at: number, bits: number, port: number): void {
  t.u8(at, SYSTEM_IO)
    .u8(at + 1, bits)
    .u64(at + 4, port);
}

function buildFacs(): Uint8Array {
  return new Struct(FACS_SIZE).text(0, "FACS").u32(4, FACS_SIZE).u8(32, 1).bytes;
}

function buildFadt(facs: number, dsdt: number): Uint8Array {
  const t = table("FACP", 5, FADT_SIZE)
    .u32(36, facs)
    .u32(40, dsdt)
    .u16(46, SCI_INTERRUPT)
    .u32(56, PM1A_EVENT_PORT)
    .u32(64, PM1A_CONTROL_PORT)
    .u32(80, GPE0_PORT)
    .u8(88, 4) // pm1_evt_len
    .u8(89, 2) // pm1_cnt_len
    .u8(92, GPE0_LENGTH)
    .u16(96, NO_C_STATE)
    .u16(98, NO_C_STATE)
    .u16(109, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC)
    .u32(
      112,
      FADT_PROC_C1 |
        FADT_WBINVD |
        FADT_PWR_BUTTON |
        FADT_SLP_BUTTON |
        FADT_FIX_RTC |
        FADT_TMR_VAL_EXT |
        FADT_USE_PLATFORM_CLOCK,
    )
    .u8(128, 6) // reset_value
    .u64(132, facs)
    .u64(140, dsdt);
  genericAddress(t, 116, 8, RESET_PORT);
  genericAddress(t, 148, 32, PM1A_EVENT_PORT);
  genericAddress(t, 172, 16, PM1A_CONTROL_PORT);
  return finish(t);
}

/** The MADT entry of a vcpu, processor UID = vcpu id. */
function localApic(config: AcpiConfig, vcpu: number): Uint8Array {
  const id = apicId(vcpu);
  const flags = config.online(vcpu) ? MADT_ENABLED : 0;
  if (id <= XAPIC_ID_MAX)
    return new Struct(8).u8(0, MADT_LOCAL_APIC).u8(1, 8).u8(2, vcpu).u8(3, id).u32(4, flags).bytes;
  return new Struct(16).u8(0, MADT_LOCAL_X2APIC).u8(1, 16).u32(4, id).u32(8, flags).u32(12, vcpu).bytes;
}

function buildMadt(entries: readonly Uint8Array[]): Uint8Array {
  const size = entries.reduce((sum, entry) => sum + entry.length, MADT_SIZE);
  // Revision 3 (ACPI 4.0) is the first with x2APIC entries; Xen's revision is 2.
  const revision = entries.some((entry) => entry[0] === MADT_LOCAL_X2APIC) ? 3 : 2;
  const t = table("APIC", revision, size).u32(36, APIC_DEFAULT_BASE).u32(40, MADT_PCAT_COMPAT);
  let at = MADT_SIZE;
  for (const entry of entries) {
    t.bytes.set(entry, at);
    at += entry.length;
  }
  return finish(t);
}

/** PR00..PRFF as in Xen's DSDT; a fourth digit takes the R's place beyond. */
function processorName(vcpu: number): string {
  const hex = vcpu.toString(16).toUpperCase();
  return vcpu < 0x100 ? `PR${hex.padStart(2, "0")}` : `P${hex}`;
}

/** The processors under \_SB, nothing else. */
function buildDsdt(config: AcpiConfig, entries: readonly Uint8Array[]): Uint8Array {
  const processors = entries.map((entry, vcpu) =>
    amlDevice(
      processorName(vcpu),
      amlName("_HID", amlString("ACPI0007")),
      amlName("_UID", amlInteger(vcpu)),
      amlName("_MAT", amlBuffer(entry)),
      amlName("_STA", amlInteger(config.online(vcpu) ? 0x0f : 0)),
    ),
  );
  const aml = amlScope("\\_SB", ...processors);
  const t = table("DSDT", 5, HEADER_SIZE + aml.length);
  t.bytes.set(aml, HEADER_SIZE);
  return finish(t);
}

function buildXsdt(tables: readonly number[]): Uint8Array {
  const t = table("XSDT", 1, HEADER_SIZE + 8 * tables.length);
  for (const [i, address] of tables.entries()) t.u64(HEADER_SIZE + 8 * i, address);
  return finish(t);
}

function buildRsdp(xsdt: number): Uint8Array {
  const { bytes } = new Struct(RSDP_REGION_SIZE)
    .text(0, "RSD PTR ")
    .text(9, "Xen")
    .u8(15, 2)
    .u32(20, RSDP_SIZE)
    .u64(24, xsdt);
  setChecksum(bytes, 8, RSDP_V1_SIZE);
  setChecksum(bytes, 32, RSDP_SIZE);
  return bytes;
}

/** libacpi's struct acpi_info, which its DSDT reads: the number of vcpus and where the MADT is. */
function buildInfo(vcpus: number, madt: number): Uint8Array {
  return new Struct(PAGE_SIZE)
    .u16(2, vcpus)
    .u32(12, madt + HEADER_CHECKSUM)
    .u32(16, madt + MADT_SIZE).bytes;
}

/** Builds all tables at their guest-physical addresses. */
export function buildAcpiTables(config: AcpiConfig): AcpiTables {
  const base = ACPI_INFO_ADDRESS + PAGE_SIZE;
  const placed: { gpa: number; bytes: Uint8Array }[] = [];
  let next = base;
  const place = (bytes: Uint8Array): number => {
    const gpa = next;
    placed.push({ gpa, bytes });
    next = Math.ceil((gpa + bytes.length) / 16) * 16;
    return gpa;
  };
  const entries = Array.from({ length: config.vcpus }, (_, vcpu) => localApic(config, vcpu));
  const facs = place(buildFacs());
  const dsdt = place(buildDsdt(config, entries));
  const fadt = place(buildFadt(facs, dsdt));
  const madt = place(buildMadt(entries));
  const xsdt = place(buildXsdt([fadt, madt]));

  const tables = new Uint8Array(Math.ceil((next - base) / PAGE_SIZE) * PAGE_SIZE);
  for (const { gpa, bytes } of placed) tables.set(bytes, gpa - base);
  const rsdp = config.rsdpInBios ? 0x100000 - RSDP_REGION_SIZE : base + tables.length;
  return {
    rsdp,
    regions: [
      { gpa: rsdp, bytes: buildRsdp(xsdt) },
      { gpa: ACPI_INFO_ADDRESS, bytes: buildInfo(config.vcpus, madt) },
      { gpa: base, bytes: tables },
    ],
  };
}
