/**
 * HYPERVISOR_physdev_op of PV guests (x86/physdev.c). What is about hardware is the control domain's: others get the errno that Xen's checks
 * give them, in Xen's order. A domain may set its I/O privilege level, and handle PIRQs, though none is ever bound to a device.
 */
import { EBUSY, EFAULT, EINVAL, ENODEV, ENOSPC, ENOSYS, EPERM, ESRCH } from "../abi/errno.ts";
import { HYPERVISOR_physdev_op } from "../abi/hypercall.ts";
import * as P from "../abi/physdev.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_writable_page } from "../memory/page-types.ts";
import { addressOk, readGuestWords, writeGuestWords } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";

/** GSIs of the machine's I/O APIC, and PIRQs of a domain without hardware: as many, and 32 (extra_domU_irqs). */
const NR_GSIS = 24;
const NR_PIRQS: number = NR_GSIS + 32;
const FIRST_FREE_GSI = 16;
const IOPL_SHIFT = 12;
const PORTS = 65536;
const IOBITMAP_BYTES = 8192;

/** The structure that the guest has given, in words. */
const words: Int32Array = new Int32Array(10);

/** What an operation does with `words`; `write` copies the first of them back. @returns 0 or -errno */
type Operation = (vcpu: Vcpu, write: (count: number) => number, compat: boolean) => number;

/** Bytes of the structure for guests of 64 and 32 bits, and what is done with it. */
interface Entry {
  readonly bytes: readonly [number, number];
  readonly run: Operation;
}

const refuse =
  (errno: number): Operation =>
  () =>
    -errno;

/** Whose interrupts: only the control domain maps them, and its own domain is nobody's. */
const mapPirq: Operation = (vcpu) => {
  const domid = words[0]! & 0xffff;
  return domid === DOMID_SELF || vcpu.domain.hypervisor.domain(domid) !== null ? -EPERM : -ESRCH;
};

/** Names a page with a bit per PIRQ that says whether it has to be acknowledged. Of a domain without devices none ever has. */
const pirqEoiMap: Operation = (vcpu) => {
  const { domain } = vcpu;
  const { pageTypes, heap } = domain.hypervisor;
  const pv = domain.pv!;
  const mfn = words[1] === 0 && words[0]! >>> 0 < heap.frames ? words[0]! : -1;
  if (mfn < 0 || pageTypes.getPageAndType(mfn, domain.domid, PGT_writable_page) !== 0) return -EINVAL;
  if (pv.pirqEoiMfn >= 0) {
    pageTypes.putPageAndType(mfn);
    return -EBUSY;
  }
  pv.pirqEoiMfn = mfn;
  return 0;
};

/** get_free_pirq: of a GSI from below, of messages from above. */
const freePirq: Operation = (vcpu, write) => {
  const { pirqs } = vcpu.domain.pv!;
  let n = words[0] === P.MAP_PIRQ_TYPE_GSI ? FIRST_FREE_GSI : NR_GSIS;
  while (n < NR_GSIS && pirqs.has(n)) n++;
  if (n === NR_GSIS) for (n = NR_PIRQS - 1; n >= NR_GSIS && pirqs.has(n); ) n--;
  if (n < NR_GSIS && pirqs.has(n)) return -ENOSPC;
  pirqs.add(n);
  words[1] = n;
  return write(2);
};

const setIoBitmap: Operation = (vcpu, _write, compat) => {
  const pv = vcpu.pv!;
  const ports = words[compat ? 1 : 2]! >>> 0;
  const lo = words[0]!;
  const hi = compat ? 0 : words[1]!;
  // Of a 32-bit guest the end counts, of a 64-bit one where it begins: behind its half there is nothing.
  const end = compat ? (lo >>> 0) + IOBITMAP_BYTES - 1 : lo;
  if (!addressOk(vcpu, end | 0, end >= 2 ** 32 ? 1 : hi) || ports > PORTS) return -EINVAL;
  pv.ioBitmapLo = lo;
  pv.ioBitmapHi = hi;
  pv.ioBitmapPorts = ports;
  return 0;
};

const entry = (bytes: number | readonly [number, number], run: Operation): Entry => ({
  bytes: typeof bytes === "number" ? [bytes, bytes] : bytes,
  run,
});

const OPERATIONS: ReadonlyMap<number, Entry> = new Map([
  [P.PHYSDEVOP_IRQ_UNMASK_NOTIFY, entry(0, () => 0)],
  [
    P.PHYSDEVOP_irq_status_query,
    entry(8, (_vcpu, write) => {
      if (words[0]! >>> 0 >= NR_PIRQS) return -EINVAL;
      words[1] = P.XENIRQSTAT_needs_eoi;
      return write(2);
    }),
  ],
  [
    P.PHYSDEVOP_set_iopl,
    entry(4, (vcpu) => {
      if (words[0]! >>> 0 > 3) return -EINVAL;
      vcpu.pv!.iopl = words[0]! << IOPL_SHIFT;
      return 0;
    }),
  ],
  [P.PHYSDEVOP_set_iobitmap, entry([16, 8], setIoBitmap)],
  [P.PHYSDEVOP_apic_read, entry([16, 12], refuse(EPERM))],
  [P.PHYSDEVOP_apic_write, entry([16, 12], refuse(EPERM))],
  [P.PHYSDEVOP_alloc_irq_vector, entry(8, refuse(EPERM))],
  [P.PHYSDEVOP_eoi, entry(4, (vcpu) => (vcpu.domain.pv!.pirqs.has(words[0]! >>> 0) ? 0 : -EINVAL))],
  [P.PHYSDEVOP_map_pirq, entry([40, 36], mapPirq)],
  [P.PHYSDEVOP_unmap_pirq, entry(8, mapPirq)],
  [P.PHYSDEVOP_manage_pci_add, entry(2, refuse(EPERM))],
  [P.PHYSDEVOP_manage_pci_remove, entry(2, refuse(EPERM))],
  [P.PHYSDEVOP_pirq_eoi_gmfn_v1, entry([8, 4], pirqEoiMap)],
  [P.PHYSDEVOP_restore_msi, entry(2, refuse(ENODEV))],
  [P.PHYSDEVOP_manage_pci_add_ext, entry(16, () => (words[1]! >>> 0 > 1 || words[2]! >>> 0 > 1 ? -EINVAL : -EPERM))],
  [P.PHYSDEVOP_setup_gsi, entry(8, () => (words[0]! >>> 0 >= NR_GSIS ? -EINVAL : -EPERM))],
  [P.PHYSDEVOP_get_free_pirq, entry(8, freePirq)],
  [P.PHYSDEVOP_pci_mmcfg_reserved, entry(0, refuse(EPERM))],
  [P.PHYSDEVOP_pci_device_add, entry(12, refuse(EPERM))],
  [P.PHYSDEVOP_pci_device_remove, entry(4, refuse(EPERM))],
  [P.PHYSDEVOP_restore_msi_ext, entry(4, refuse(ENODEV))],
  [P.PHYSDEVOP_pirq_eoi_gmfn_v2, entry([8, 4], pirqEoiMap)],
  [P.PHYSDEVOP_dbgp_op, entry(0, refuse(EPERM))],
  [P.PHYSDEVOP_prepare_msix, entry(4, refuse(EPERM))],
  [P.PHYSDEVOP_release_msix, entry(4, refuse(EPERM))],
]);

/** do_physdev_op. @param addressLo, addressHi words of the address of the command's structure */
export function physdevOp(vcpu: Vcpu, command: number, addressLo: number, addressHi: number, compat: boolean): number {
  const operation = OPERATIONS.get(command);
  if (operation === undefined) return -ENOSYS;
  const count = (operation.bytes[compat ? 1 : 0] + 3) >>> 2;
  words.fill(0);
  if (count > 0 && !readGuestWords(vcpu, addressLo, addressHi, words, count)) return -EFAULT;
  const write = (n: number): number => (writeGuestWords(vcpu, addressLo, addressHi, words, n) ? 0 : -EFAULT);
  return operation.run(vcpu, write, compat);
}

definePvHypercall(HYPERVISOR_physdev_op, (vcpu, args, compat) => physdevOp(vcpu, args[0]!, args[2]!, args[3]!, compat));
