/** The hypercall page: Xen fills a page of the guest with one 32-byte stub a hypercall (public/arch-x86/cpuid.h leaf 3). */
import { PAGE_SIZE } from "../../cpu/arena.ts";
import { HYPERVISOR_iret } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { latchLayout } from "../hypercalls/hvm-op.ts";
import { isRam, isReadOnly } from "../memory/p2m.ts";

/** The MSR that leaf 0x40000002 names. */
export const MSR_XEN_HYPERCALL_PAGE = 0x40000000;
const STUB_BYTES = 32;

/** Bytes of the page for a guest on a processor with VT-x (VMCALL) or SVM (VMMCALL). */
export function hypercallPage(cpu: "intel" | "amd"): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(0xcc);
  const call = cpu === "intel" ? [0x0f, 0x01, 0xc1] : [0x0f, 0x01, 0xd9];
  for (let n = 0; n < PAGE_SIZE / STUB_BYTES; n++) {
    // mov $n,%eax; vmcall; ret. An HVM guest has no use for iret: ud2.
    const stub = n === HYPERVISOR_iret ? [0x0f, 0x0b] : [0xb8, n & 0xff, n >>> 8, 0, 0, ...call, 0xc3];
    page.set(stub, n * STUB_BYTES);
  }
  return page;
}

/** WRMSR of MSR_XEN_HYPERCALL_PAGE. @returns false for #GP. */
export function writeHypercallPage(vcpu: Vcpu, value: bigint): boolean {
  const { p2m, hypervisor } = vcpu.domain;
  // Bits 11..0 choose one of several pages; there is one.
  if ((value & 0xfffn) !== 0n || value >= 1n << 52n) return false;
  const gfn = Number(value >> 12n);
  const type = p2m.typeOf(gfn);
  if (!isRam(type) || isReadOnly(type)) {
    hypervisor.log.xen(`d${vcpu.domain.domid}v${vcpu.id} Bad GMFN ${gfn.toString(16)} for the hypercall page`);
    return false;
  }
  hypervisor.memory.write(hypervisor.memory.frame(p2m.lookup(gfn)), hypercallPage(hypervisor.cpu));
  latchLayout(vcpu);
  return true;
}
