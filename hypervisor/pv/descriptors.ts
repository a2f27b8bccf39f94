/** GDT and single descriptors of PV guests (pv/descriptor-tables.c): set_gdt, update_descriptor. */
import { write64 } from "../../cpu/mmu/memory.ts";
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { HYPERVISOR_set_gdt, HYPERVISOR_update_descriptor } from "../abi/hypercall.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_seg_desc_page, PGT_writable_page } from "../memory/page-types.ts";
import { RESERVED_GDT_PAGE } from "./address-space.ts";
import { CheckedDescriptor, checkDescriptor, FIRST_RESERVED_GDT_ENTRY } from "./check-descriptor.ts";
import { flushVcpu } from "./flush.ts";
import { readGuestWords } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";

const ENTRIES_PER_PAGE = 512;

/** pv_destroy_gdt: the vcpu has only Xen's part of a GDT. */
export function destroyGdt(vcpu: Vcpu): void {
  const pv = vcpu.pv!;
  const { domain } = vcpu;
  pv.gdtEntries = 0;
  pv.gdtFrames.splice(0).forEach((mfn, page) => {
    domain.pv!.addressSpace.mapGdtPage(vcpu, page, -1);
    domain.hypervisor.pageTypes.putPageAndType(mfn);
  });
}

/** pv_set_gdt: `frames` machine frames with `entries` descriptors. @returns 0 or -EINVAL, with the old table in place */
export function setGdt(vcpu: Vcpu, frames: readonly number[], entries: number): number {
  const pv = vcpu.pv!;
  const { domain } = vcpu;
  const types = domain.hypervisor.pageTypes;
  if (entries > FIRST_RESERVED_GDT_ENTRY) return -EINVAL;
  for (let n = 0; n < frames.length; n++) {
    if (types.getPageAndType(frames[n]!, domain.domid, PGT_seg_desc_page) === 0) continue;
    for (let k = 0; k < n; k++) types.putPageAndType(frames[k]!);
    return -EINVAL;
  }
  destroyGdt(vcpu);
  pv.gdtEntries = entries;
  frames.forEach((mfn, page) => {
    pv.gdtFrames.push(mfn);
    domain.pv!.addressSpace.mapGdtPage(vcpu, page, mfn);
  });
  return 0;
}

/** Frames that `entries` descriptors take. */
export const gdtPages = (entries: number): number => Math.ceil(entries / ENTRIES_PER_PAGE);

const list: Int32Array = new Int32Array(2 * RESERVED_GDT_PAGE);

definePvHypercall(HYPERVISOR_set_gdt, (vcpu, args, compat) => {
  const entries = args[2]! >>> 0;
  if (entries > FIRST_RESERVED_GDT_ENTRY) return -EINVAL;
  const pages = gdtPages(entries);
  const words = compat ? 1 : 2;
  if (pages > 0 && !readGuestWords(vcpu, args[0]!, args[1]!, list, pages * words)) return -EFAULT;
  const frames = Array.from({ length: pages }, (_, n) => (compat || list[2 * n + 1] === 0 ? list[n * words]! : -1));
  const rc = setGdt(vcpu, frames, entries);
  if (rc === 0) flushVcpu(vcpu);
  return rc;
});

const descriptor = new CheckedDescriptor();

/** do_update_descriptor: `address` machine address of the descriptor. A page that is no table yet must be writable. */
function updateDescriptor(vcpu: Vcpu, addressLo: number, addressHi: number, lo: number, hi: number): number {
  const { domain, core } = vcpu;
  const { pageTypes: types, memory } = domain.hypervisor;
  descriptor.lo = lo;
  descriptor.hi = hi;
  if ((addressLo & 7) !== 0 || !checkDescriptor(domain, descriptor)) return -EINVAL;
  if (addressHi !== 0) return -EINVAL;
  const mfn = addressLo >>> 12;
  if (!types.getPage(mfn, domain.domid)) return -EINVAL;
  const type = types.types[mfn] === PGT_seg_desc_page ? PGT_seg_desc_page : PGT_writable_page;
  const rc = types.getType(mfn, type);
  if (rc === 0) {
    write64(core, memory.frame(mfn) + (addressLo & 0xfff), descriptor.lo, descriptor.hi);
    types.putType(mfn);
  }
  types.putPage(mfn);
  return rc === 0 ? 0 : -EINVAL;
}

definePvHypercall(HYPERVISOR_update_descriptor, (vcpu, args, compat) =>
  compat
    ? updateDescriptor(vcpu, args[0]!, args[2]!, args[4]!, args[6]!)
    : updateDescriptor(vcpu, args[0]!, args[1]!, args[2]!, args[3]!),
);
