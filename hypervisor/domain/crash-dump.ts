/** The registers of a vcpu in the form that Xen prints for an HVM guest (arch/x86/x86_64/traps.c). */
import {
  CR0,
  CR2,
  CR3,
  CR4,
  MSR_KERNEL_GS_BASE,
  RIP,
  S_FSBASE,
  S_GSBASE,
  S_RSP,
  S_SEGBASE,
  SEG,
  SEG_SELECTOR,
  SEG_STRIDE,
} from "../../cpu/arena.ts";
import { getFlags } from "../../cpu/flags.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import { XEN_BANNER_VERSION } from "../hypercalls/xen-version.ts";
import { copyFromGuest } from "../memory/guest-access.ts";
import type { Vcpu } from "./vcpu.ts";

const hex = (value: bigint, digits: number): string => value.toString(16).padStart(digits, "0");

/** Names and slots (or arena addresses) in the order of the dump, three a line. */
const GENERAL = [
  ["rax", 0x00],
  ["rbx", 0x18],
  ["rcx", 0x08],
  ["rdx", 0x10],
  ["rsi", 0x30],
  ["rdi", 0x38],
  ["rbp", 0x28],
  ["rsp", 0x20],
  ["r8", 0x40],
  ["r9", 0x48],
  ["r10", 0x50],
  ["r11", 0x58],
  ["r12", 0x60],
  ["r13", 0x68],
  ["r14", 0x70],
  ["r15", 0x78],
] as const;
/** ES CS SS DS FS GS. */
const SEGMENTS = [
  ["ds", 3],
  ["es", 0],
  ["fs", 4],
  ["gs", 5],
  ["ss", 2],
  ["cs", 1],
] as const;
const STACK_LINES = 20;
const WORDS_PER_LINE = 4;

/** Lines without the log's prefix. Leaves everything as it is, the active core too. */
export function dumpVcpu(vcpu: Vcpu): string[] {
  const before = vcpu.core.shared.active;
  vcpu.core.activate();
  const lines = dumpActive(vcpu);
  before?.activate();
  return lines;
}

/** What kind of guest; for a PV guest with its upcall mask before ("EM"). */
function context(vcpu: Vcpu): string {
  if (vcpu.pv === null) return "CONTEXT: hvm guest";
  const mask = vcpu.core.u8[vcpu.info + VCPU_INFO_UPCALL_MASK] === 0 ? 0 : 1;
  return `EM: ${mask}   CONTEXT: pv guest`;
}

function dumpActive(vcpu: Vcpu): string[] {
  const core = vcpu.core;
  const at = (address: number): bigint => core.u64[address >>> 3]!;
  const selector = (seg: number): string =>
    hex(BigInt(core.u32[(SEG + seg * SEG_STRIDE + SEG_SELECTOR) >>> 2]! & 0xffff), 4);
  const named = (name: string, value: bigint): string => `${`${name}:`.padEnd(5)}${hex(value, 16)}`;
  const registers = [
    ...GENERAL.map(([name, slot]) => named(name, core.slot(slot))),
    named("cr0", at(CR0)),
    named("cr4", at(CR4)),
    named("cr3", at(CR3)),
    named("cr2", at(CR2)),
  ];
  const lines = [
    `----[ Xen-${XEN_BANNER_VERSION}  x86_64  debug=n  Not tainted ]----`,
    `CPU:    ${vcpu.processor}`,
    `RIP:    ${selector(1)}:[<${hex(at(RIP), 16)}>]`,
    `RFLAGS: ${hex(BigInt(getFlags(core) >>> 0), 16)}   ${context(vcpu)} (d${vcpu.domain.domid}v${vcpu.id})`,
  ];
  for (let i = 0; i < registers.length; i += 3) lines.push(registers.slice(i, i + 3).join("   "));
  lines.push(
    [named("fsb", core.slot(S_FSBASE)), named("gsb", core.slot(S_GSBASE)), named("gss", at(MSR_KERNEL_GS_BASE))].join(
      "   ",
    ),
    SEGMENTS.map(([name, seg]) => `${name}: ${selector(seg)}`).join("   "),
  );
  return lines.concat(stackTrace(vcpu));
}

function stackTrace(vcpu: Vcpu): string[] {
  const core = vcpu.core;
  const sp = core.slot(S_RSP);
  const word = vcpu.in64BitCode() ? 8 : 4;
  const base = vcpu.in64BitCode() ? 0n : core.slot(S_SEGBASE + 2 * 8);
  const name = vcpu.pv === null ? "sp" : vcpu.in64BitCode() ? "rsp" : "esp";
  const lines = [`Guest stack trace from ${name}=${hex(sp, 16)}:`];
  // Looking leaves no accessed bits behind, and no fault either.
  core.mmu.peek = true;
  for (let line = 0; line < STACK_LINES; line++) {
    const bytes = new Uint8Array(WORDS_PER_LINE * word);
    const address = base + sp + BigInt(line * bytes.length);
    if (!copyFromGuest(vcpu, address, bytes)) {
      lines.push("  Stack empty or not mapped.");
      break;
    }
    const view = new DataView(bytes.buffer);
    const words: string[] = [];
    for (let i = 0; i < WORDS_PER_LINE; i++)
      words.push(word === 8 ? hex(view.getBigUint64(i * 8, true), 16) : hex(BigInt(view.getUint32(i * 4, true)), 8));
    lines.push(`   ${words.join(" ")}`);
  }
  core.mmu.peek = false;
  return lines;
}
