/** Crashes of PV domains that the entry code of Xen finds (asm_domain_crash_synchronous), with the walk that did not succeed. */
import { CR3 } from "../../cpu/arena.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";

const CR3_WORD = CR3 >>> 3;
const ADDRESS = 0xf_ffff_ffff_f000n;
const PRESENT = 1n;
const PSE = 0x80n;

/** Says what went wrong and where in Xen, and crashes the domain. @returns false, for those who say whether they could */
export function crashInEntry(vcpu: Vcpu, where: string): false {
  crashDomain(vcpu, `domain_crash_sync called from entry.S: ${where}`);
  return false;
}

const hex = (value: bigint, digits: number): string => value.toString(16).padStart(digits, "0");

/** show_page_walk: the entries of the current tables that lead to hi:lo. */
export function showPageWalk(vcpu: Vcpu, lo: number, hi: number): void {
  const { core, domain } = vcpu;
  const hv = domain.hypervisor;
  const address = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  hv.log.xen(`Pagetable walk from ${hex(address, 16)}:`);
  let table = core.u64[CR3_WORD]! & ADDRESS;
  for (let level = 4; level > 0; level--) {
    const mfn = Number(table >> 12n);
    if (mfn >= hv.heap.frames) return;
    const index = Number((address >> BigInt(3 + 9 * level)) & 511n);
    const entry = hv.memory.read64(hv.memory.frame(mfn) + index * 8);
    const target = Number((entry & ADDRESS) >> 12n);
    const pfn = target < hv.heap.frames ? hv.m2p!.get(target) : -1;
    const pse = level > 1 && level < 4 && (entry & PSE) !== 0n;
    hv.log.xen(
      ` L${level}[0x${hex(BigInt(index), 3)}] = ${hex(entry, 16)} ${hex(BigInt.asUintN(64, BigInt(pfn)), 16)}${pse ? " (PSE)" : ""}`,
    );
    if ((entry & PRESENT) === 0n || pse) return;
    table = entry & ADDRESS;
  }
}
