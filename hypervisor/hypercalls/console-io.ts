/** HYPERVISOR_console_io (public/xen.h) and the debug port: lines of a guest in Xen's log. */
import { E2BIG, EFAULT, ENOSYS, EPERM } from "../abi/errno.ts";
import { HYPERVISOR_console_io } from "../abi/hypercall.ts";
import { CONSOLEIO_read, CONSOLEIO_write } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { copyFromGuest } from "../memory/guest-access.ts";
import { COPY_BYTES_PER_CYCLE } from "./costs.ts";
import { defineHypercall, restart } from "./dispatch.ts";

/** A line is printed when it ends, or is as long as Xen's buffer for it. */
const LINE_MAX = 199;
/** Bytes between two looks at pending events. */
const PIECE = 4096;
const MAX_COUNT = 0x7fffffff;
const NEWLINE = 10;
const TAB = 9;

/** One character of a guest for the log; what is neither printable nor a tab or newline is dropped. */
export function printGuestChar(domain: Domain, char: number): void {
  if (char === NEWLINE || domain.consoleLine.length >= LINE_MAX) {
    domain.hypervisor.log.print(`(d${domain.domid}) ${domain.consoleLine}`);
    domain.consoleLine = "";
  }
  if (char === TAB || (char >= 0x20 && char < 0x7f)) domain.consoleLine += String.fromCharCode(char);
}

/** Any domain may write, as in a Xen built with verbose debugging: the only way for an early kernel to say something. */
defineHypercall(HYPERVISOR_console_io, (vcpu, args) => {
  const command = Number(args[0]! & 0xffff_ffffn);
  const count = Number(args[1]! & 0xffff_ffffn);
  if (command === CONSOLEIO_read) return -EPERM;
  if (command !== CONSOLEIO_write) return -ENOSYS;
  if (count >= MAX_COUNT) return -E2BIG;
  const bytes = new Uint8Array(Math.min(count, PIECE));
  if (!copyFromGuest(vcpu, args[2]!, bytes)) return -EFAULT;
  for (const char of bytes) printGuestChar(vcpu.domain, char);
  vcpu.charge("console", Math.ceil(bytes.length / COPY_BYTES_PER_CYCLE));
  if (count > bytes.length) return restart(args[0]!, BigInt(count - bytes.length), args[2]! + BigInt(bytes.length));
  return 0;
});
