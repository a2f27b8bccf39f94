/**
 * Which hypercalls and operations there are, as the hypervisor itself answers: every number and command is tried once in a domain that has
 * done nothing yet. What is not there is -ENOSYS.
 */

import { ENOSYS } from "../../../hypervisor/abi/errno.ts";
import * as H from "../../../hypervisor/abi/hypercall.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { FREE, PvCaller } from "../pv/pv-caller.ts";

const COMMANDS = 64;
/** Hypercalls whose first argument is a command, and how many there can be: two answer -EINVAL to those that they do not know. */
export const SUB_OPERATIONS: ReadonlyMap<number, number> = new Map([
  [H.HYPERVISOR_memory_op, COMMANDS],
  [H.HYPERVISOR_xen_version, COMMANDS],
  [H.HYPERVISOR_console_io, COMMANDS],
  [H.HYPERVISOR_grant_table_op, COMMANDS],
  [H.HYPERVISOR_vm_assist, COMMANDS],
  [H.HYPERVISOR_vcpu_op, COMMANDS],
  [H.HYPERVISOR_set_segment_base, 4],
  [H.HYPERVISOR_nmi_op, COMMANDS],
  [H.HYPERVISOR_sched_op, COMMANDS],
  [H.HYPERVISOR_sched_op_compat, COMMANDS],
  [H.HYPERVISOR_callback_op, 2],
  [H.HYPERVISOR_event_channel_op, COMMANDS],
  [H.HYPERVISOR_physdev_op, COMMANDS],
  [H.HYPERVISOR_hvm_op, COMMANDS],
  // These two have it in what they are given a list of.
  [H.HYPERVISOR_mmuext_op, COMMANDS],
  [H.HYPERVISOR_mmu_update, 8],
]);

/** What no domain without privilege or hardware can do, or what no domain can: the fuzzer sees it refused. */
export const REFUSED: ReadonlySet<string> = new Set([
  ...["7", "35", "36", "37", "40", "41", "42", "48", "49"],
  // memory_op: add_to_physmap.. and the foreign, toolstack's and HVM domains' operations.
  ...[7, 10, 15, 16, 17, 21, 23, 24, 26, 28].map((command) => `12:${command}`),
  ...["17:10", "18:1", "24:12", "26:12", "26:18", "26:19", "26:20"],
  // event channels of physical interrupts.
  "32:2",
  "29:4",
  "29:7",
  ...[8, 9, 10, 13, 14, 15, 16, 19, 20, 21, 24, 25, 26, 27, 29, 30, 31].map((command) => `33:${command}`),
  // hvm_op of a PV domain.
  ...[0, 1, 5, 9, 15, 23, 25].map((command) => `34:${command}`),
]);

/** Keys of GuestCaller.reached that a domain of the type can reach. */
export function operations(type: "pv" | "pv32"): string[] {
  const found: string[] = [];
  const machine = new FakeMachine({}, 48 * MIB);
  const answers = (number: number, command: number): boolean => {
    const c = new PvCaller(machine, { type, memoryMap: [{ address: 0, size: 4096, type: 1 }] }, FREE + 1);
    let rc: number;
    if (number === H.HYPERVISOR_mmuext_op) rc = c.ext(command);
    else if (number === H.HYPERVISOR_mmu_update) rc = c.set(FREE, 0, 0n, command);
    else rc = c.call(number, command, 0, 1, 0);
    destroyDomain(c.domain);
    machine.hv.domains.delete(c.domain.domid);
    return rc !== -ENOSYS;
  };
  for (let number = 0; number < H.NR_HYPERCALLS; number++) {
    if (number === H.HYPERVISOR_iret) continue;
    const commands = SUB_OPERATIONS.get(number);
    if (commands === undefined && answers(number, 0)) found.push(`${number}`);
    for (let command = 0; command < (commands ?? 0); command++)
      if (answers(number, command)) found.push(`${number}:${command}`);
  }
  return found.filter((key) => !REFUSED.has(key));
}
