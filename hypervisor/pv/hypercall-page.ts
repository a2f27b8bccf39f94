/** The hypercall page of a PV guest (pv/hypercall.c: pv_ring3_init_hypercall_page, pv_ring1_init_hypercall_page). */
import { PAGE_SIZE } from "../../cpu/arena.ts";
import { HYPERVISOR_iret } from "../abi/hypercall.ts";

const STUB_BYTES = 32;
/** push %rcx; push %r11; mov $n,%eax; syscall; pop %r11; pop %rcx; ret. */
const CALL_64 = (n: number): number[] => [0x51, 0x41, 0x53, 0xb8, n, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
/** push %rcx; push %r11; push %rax; mov $HYPERVISOR_iret,%eax; syscall: it does not come back. */
const IRET_64: readonly number[] = [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR_iret, 0, 0, 0, 0x0f, 0x05];
/** mov $n,%eax; int $0x82; ret. */
const CALL_32 = (n: number): number[] => [0xb8, n, 0, 0, 0, 0xcd, 0x82, 0xc3];
/** push %eax; mov $HYPERVISOR_iret,%eax; int $0x82. */
const IRET_32: readonly number[] = [0x50, 0xb8, HYPERVISOR_iret, 0, 0, 0, 0xcd, 0x82];

/** Bytes of the page. */
export function pvHypercallPage(is32bit: boolean): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(0xcc);
  for (let n = 0; n < PAGE_SIZE / STUB_BYTES; n++) {
    const iret = n === HYPERVISOR_iret;
    page.set(is32bit ? (iret ? IRET_32 : CALL_32(n)) : iret ? IRET_64 : CALL_64(n), n * STUB_BYTES);
  }
  return page;
}
