/**
 * HYPERVISOR_mmu_update (do_mmu_update of xen/arch/x86/mm.c): a list of requests to change page-table entries, or entries of the
 * machine-to-phys table. struct mmu_update is { uint64 ptr; uint64 val } for guests of both widths.
 */
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from "../abi/errno.ts";
import { HYPERVISOR_mmu_update } from "../abi/hypercall.ts";
import {
  MMU_MACHPHYS_UPDATE,
  MMU_NORMAL_PT_UPDATE,
  MMU_PT_UPDATE_NO_TRANSLATE,
  MMU_PT_UPDATE_PRESERVE_AD,
  MMU_UPDATE_PREEMPTED,
} from "../abi/mmu.ts";
import { DOMID_IO, DOMID_SELF, DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { CONTROL_DOMID, isAbsentControl } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_COPY_PAGE, COST_PTE_CHECK, COST_PTE_UPDATE } from "../hypercalls/costs.ts";
import { RESTART } from "../hypercalls/dispatch.ts";
import {
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_writable_page,
} from "../memory/page-types.ts";
import { flushVcpus } from "./flush.ts";
import { addressOk, readGuestWords, writeGuestWords } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";
import { PTE_FRAME_HI, PTE_P } from "./pte.ts";
import { forgetAhead, validateAhead } from "./validate-ahead.ts";

/** Requests between two looks at pending events. */
const PIECE = 256;
const REQUEST_BYTES = 16;

const request = new Int32Array(4);
const word = new Int32Array(1);

/**
 * get_pg_owner and the rules of xsm/dummy.h: the domain whose pages a request may name, as a number: a domid, DOMID_IO or DOMID_XEN.
 * @returns -errno if there is none that `caller` may name
 */
export function pageOwner(caller: Domain, domid: number): number {
  if (domid === DOMID_SELF) return caller.domid;
  if (domid === caller.domid) return -ESRCH;
  if (domid === DOMID_IO || domid === DOMID_XEN || isAbsentControl(caller, domid)) return domid;
  return caller.hypervisor.domain(domid) === null ? -ESRCH : domid;
}

/** XSM_TARGET: a domain may do it to itself, the control domain to anybody. */
export const mayAct = (caller: Domain, target: number): boolean =>
  caller.domid === target || caller.domid === CONTROL_DOMID;

/** Adds `add` to the 64-bit argument `n`. */
export function advance(args: Int32Array, n: number, add: number): void {
  const lo = (args[2 * n]! >>> 0) + add;
  args[2 * n] = lo | 0;
  if (lo > 0xffff_ffff) args[2 * n + 1]!++;
}

/** Writes how many requests have been done at argument `n`, if it is not null. @param before those of earlier pieces */
export function writeDone(vcpu: Vcpu, args: Int32Array, n: number, done: number): void {
  if ((args[2 * n]! | args[2 * n + 1]!) === 0) return;
  word[0] = done;
  writeGuestWords(vcpu, args[2 * n]!, args[2 * n + 1]!, word, 1);
}

/** The count that earlier pieces of a continued call have left there. */
export function readDone(vcpu: Vcpu, args: Int32Array, n: number): number {
  if ((args[2 * n]! | args[2 * n + 1]!) === 0) return 0;
  return readGuestWords(vcpu, args[2 * n]!, args[2 * n + 1]!, word, 1) ? word[0]! : 0;
}

/** Charges what validating and taking apart has cost since the last call. */
export function chargeTables(vcpu: Vcpu, updates: number): void {
  const work = vcpu.domain.hypervisor.pageTables.takeWork();
  vcpu.domain.pv!.pageTableUpdates += updates;
  vcpu.charge("mmu", updates * COST_PTE_UPDATE + work * COST_PTE_CHECK);
}

/** A call without a list that says that it goes on: Xen's own form to give up tables, which answers `foreigndom` (as Xen does, whoever asks). */
export const isEmptyContinuation = (args: Int32Array): boolean =>
  args[2] === (MMU_UPDATE_PREEMPTED | 0) && (args[0]! | args[1]!) === 0;

/**
 * Before a list of operations, and when nothing of it is left to be done: what the domain has given up is taken apart before the guest sees an
 * answer, if need be by calls of Xen's own without a list (put_old_guest_table). @param owner whose tables they were @returns `rc`, or RESTART
 */
export function finishTables(vcpu: Vcpu, owner: Domain, args: Int32Array, rc: number): number {
  const { pageTables } = vcpu.domain.hypervisor;
  // Those of others, for a control domain, at once: the continuation does not know whose they are.
  if (rc === RESTART || pageTables.takeApart(owner, owner !== vcpu.domain)) return rc;
  args[0] = args[1] = args[3] = args[4] = args[5] = 0;
  args[2] = MMU_UPDATE_PREEMPTED;
  args[6] = rc;
  return RESTART;
}

definePvHypercall(HYPERVISOR_mmu_update, (vcpu, args) => {
  const caller = vcpu.domain;
  const { hypervisor: hv } = caller;
  if (!hv.pageTables.takeApart(caller)) {
    chargeTables(vcpu, 0);
    return RESTART;
  }
  if (isEmptyContinuation(args)) {
    chargeTables(vcpu, 0);
    return args[6]!;
  }
  const isContinued = (args[2]! & MMU_UPDATE_PREEMPTED) !== 0;
  const count = args[2]! & ~MMU_UPDATE_PREEMPTED;
  const before = isContinued ? readDone(vcpu, args, 2) : 0;
  if (!addressOk(vcpu, args[0]!, args[1]!)) return -EFAULT;
  const foreign = args[6]!;
  let tableOwner = caller;
  if (foreign >>> 16 !== 0) {
    const domid = (foreign >>> 16) - 1;
    const named = hv.domain(domid);
    if (named === null) return isAbsentControl(caller, domid) ? -EPERM : -ESRCH;
    tableOwner = named;
  }
  const owner = pageOwner(caller, foreign & 0xffff);
  if (owner < 0) return owner;
  vcpu.charge("copy", COST_COPY_PAGE);

  let rc = 0;
  let i = 0;
  let mustFlush = false;
  for (; i < count; i++) {
    if (i === PIECE || !hv.pageTables.takeApart(tableOwner)) {
      rc = RESTART;
      break;
    }
    if (!readGuestWords(vcpu, args[0]!, args[1]!, request, 4)) rc = -EFAULT;
    else rc = update(caller, tableOwner, owner);
    if (rc < 0) break;
    if (rc === CHANGED_ABOVE) mustFlush = true;
    advance(args, 0, REQUEST_BYTES);
  }
  if (rc === CHANGED_ABOVE) rc = 0;
  // Whatever may reach tables through tables sees the new ones from here on.
  if (mustFlush) flushVcpus(tableOwner, null);
  writeDone(vcpu, args, 2, before + i);
  if (rc === RESTART) args[2] = (count - i) | MMU_UPDATE_PREEMPTED;
  else rc = finishTables(vcpu, tableOwner, args, rc);
  chargeTables(vcpu, i);
  return rc;
});

/** A table above L1 has changed. */
const CHANGED_ABOVE = 1;

/** Does `request`. @returns 0, CHANGED_ABOVE, -errno, or RESTART: the same once more */
function update(caller: Domain, tableOwner: Domain, pgOwner: number): number {
  const command = request[0]! & 7;
  switch (command) {
    case MMU_NORMAL_PT_UPDATE:
    case MMU_PT_UPDATE_PRESERVE_AD:
    case MMU_PT_UPDATE_NO_TRANSLATE:
      if ((pgOwner !== DOMID_IO && !mayAct(caller, pgOwner)) || !mayAct(caller, tableOwner.domid)) return -EPERM;
      return updateEntry(command, tableOwner, pgOwner);
    case MMU_MACHPHYS_UPDATE: {
      if (caller !== tableOwner) return -EPERM;
      if (pgOwner !== DOMID_IO && !mayAct(caller, pgOwner)) return -EPERM;
      const { pageTypes, m2p } = caller.hypervisor;
      const mfn = request[0]! >>> 12;
      if (request[1] !== 0 || pageTypes.ownerOf(mfn) !== pgOwner) return -EINVAL;
      m2p!.setWords(mfn, request[2]!, request[3]!);
      return 0;
    }
    default:
      return -ENOSYS;
  }
}

function updateEntry(command: number, tableOwner: Domain, pgOwner: number): number {
  const { pageTypes: types, pageTables: tables } = tableOwner.hypervisor;
  const mfn = request[0]! >>> 12;
  if (request[1] !== 0 || types.ownerOf(mfn) !== tableOwner.domid) return -EINVAL;
  const slot = (request[0]! & 0xfff) >>> 3;
  const at = tables.table(mfn) + 2 * slot;
  const type = types.types[mfn]!;
  const preserveAd = command === MMU_PT_UPDATE_PRESERVE_AD;
  if (!types.is(mfn, type)) {
    if (types.getType(mfn, PGT_writable_page) !== 0) return -EINVAL;
    tables.store(at, request[2]!, request[3]!);
    types.putType(mfn);
    return 0;
  }
  switch (type) {
    case PGT_l1_page_table: {
      if (command !== MMU_PT_UPDATE_NO_TRANSLATE && !translateFrame(tableOwner, pgOwner, request, 2)) return -EINVAL;
      return tables.modL1(at, request[2]!, request[3]!, preserveAd, tableOwner, pgOwner);
    }
    case PGT_l2_page_table:
    case PGT_l3_page_table:
    case PGT_l4_page_table: {
      if (pgOwner !== tableOwner.domid) return -EINVAL;
      const child = (request[3]! & PTE_FRAME_HI) === 0 ? request[2]! >>> 12 : -1;
      if ((request[2]! & PTE_P) !== 0 && !validateAhead(tableOwner, child, type - 1)) return RESTART;
      const rc = tables.modAbove(mfn, slot, request[2]!, request[3]!, preserveAd, tableOwner);
      forgetAhead(tableOwner, child);
      return rc === 0 ? CHANGED_ABOVE : rc;
    }
    case PGT_writable_page:
      tables.store(at, request[2]!, request[3]!);
      return 0;
    default:
      return -EINVAL;
  }
}

/** The entry at `words[at]` names a guest frame if it is an HVM domain's: puts its machine frame there. @returns false if there is none. */
export function translateFrame(tableOwner: Domain, pgOwner: number, words: Int32Array, at: number): boolean {
  if (pgOwner === tableOwner.domid || (words[at]! & PTE_P) === 0) return true;
  const owner = tableOwner.hypervisor.domain(pgOwner);
  if (owner === null || owner.isPv) return true;
  const mfn = owner.p2m.lookup((words[at]! >>> 12) + (words[at + 1]! & PTE_FRAME_HI) * 2 ** 20);
  if (mfn < 0) return false;
  words[at] = (mfn << 12) | (words[at]! & 0xfff);
  words[at + 1]! &= ~PTE_FRAME_HI;
  return true;
}
