/**
 * HYPERVISOR_mmuext_op (do_mmuext_op of xen/arch/x86/mm.c, compat_mmuext_op of x86_64/compat/mm.c): pinning, base pointers, flushes, the LDT,
 * clearing and copying pages. struct mmuext_op is { cmd; arg1; arg2 }, of 8-byte words, or of 4-byte words for a 32-bit guest.
 */
import { copyBytes, fillBytes } from "../../cpu/mmu/memory.ts";
import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import { HYPERVISOR_mmuext_op } from "../abi/hypercall.ts";
import * as M from "../abi/mmu.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COPY_BYTES_PER_CYCLE, COST_COPY_PAGE, COST_MMUEXT } from "../hypercalls/costs.ts";
import { RESTART } from "../hypercalls/dispatch.ts";
import { PGT_l3_page_table, PGT_l4_page_table, PGT_pinned, PGT_writable_page } from "../memory/page-types.ts";
import { installBase, installUserBase } from "./base-table.ts";
import { flushVcpu, flushVcpus, invalidateOn, invalidateVcpu } from "./flush.ts";
import { addressOk, readGuestWords } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";
import { setLdt } from "./ldt.ts";
import {
  advance,
  chargeTables,
  finishTables,
  isEmptyContinuation,
  mayAct,
  pageOwner,
  readDone,
  writeDone,
} from "./mmu-update.ts";
import { forgetAhead, validateAhead } from "./validate-ahead.ts";
import { readVcpuMask } from "./vcpu-mask.ts";

/** Operations between two looks at pending events. */
const PIECE = 64;
const OP_WORDS = 6;
const COMPAT_WORDS = 3;
const PAGE_BYTES = 4096;
const MAX_LDT_ENTRIES = 8192;

/** cmd, pad, arg1 and arg2 as low and high words: the 64-bit form. */
const op = new Int32Array(OP_WORDS);

definePvHypercall(HYPERVISOR_mmuext_op, (vcpu, args, compat) => {
  const caller = vcpu.domain;
  const { pageTables: tables } = caller.hypervisor;
  if (!tables.takeApart(caller)) {
    chargeTables(vcpu, 0);
    return RESTART;
  }
  if (isEmptyContinuation(args)) {
    chargeTables(vcpu, 0);
    return args[6]!;
  }
  const isContinued = (args[2]! & M.MMU_UPDATE_PREEMPTED) !== 0;
  const count = args[2]! & ~M.MMU_UPDATE_PREEMPTED;
  const before = isContinued ? readDone(vcpu, args, 2) : 0;
  if (!addressOk(vcpu, args[0]!, args[1]!)) return -EFAULT;
  const owner = pageOwner(caller, args[6]! & 0xffff);
  if (owner < 0) return owner;
  const named = caller.hypervisor.domain(owner);
  if (named?.isPv === false) return -EINVAL;
  if (named === null || !mayAct(caller, owner)) return -EPERM;
  vcpu.charge("copy", COST_COPY_PAGE);

  let rc = 0;
  let i = 0;
  for (; i < count; i++) {
    if (i === PIECE || !tables.takeApart(named)) {
      rc = RESTART;
      break;
    }
    if (!readGuestWords(vcpu, args[0]!, args[1]!, op, compat ? COMPAT_WORDS : OP_WORDS)) rc = -EFAULT;
    else {
      if (compat) widen();
      rc = operate(vcpu, named, compat);
    }
    if (rc !== 0) break;
    advance(args, 0, (compat ? COMPAT_WORDS : OP_WORDS) * 4);
  }
  vcpu.charge("mmu", i * COST_MMUEXT);
  writeDone(vcpu, args, 2, before + i);
  if (rc === RESTART) args[2] = (count - i) | M.MMU_UPDATE_PREEMPTED;
  else rc = finishTables(vcpu, named, args, rc);
  chargeTables(vcpu, 0);
  return rc;
});

/** { cmd, arg1, arg2 } of 4 bytes each into the 64-bit form. */
function widen(): void {
  op[4] = op[2]!;
  op[2] = op[1]!;
  op[1] = op[3] = op[5] = 0;
}

/** A frame number in the words at `n`; -1 if no machine can have it. */
const frameAt = (n: number): number => (op[n + 1] === 0 && op[n]! >= 0 ? op[n]! : -1);

/** Does `op`, for the pages of `target`. @returns 0, -errno, or RESTART: the same once more */
function operate(vcpu: Vcpu, target: Domain, compat: boolean): number {
  const { domain } = vcpu;
  const isOwn = target === domain;
  switch (op[0]!) {
    case M.MMUEXT_PIN_L1_TABLE:
    case M.MMUEXT_PIN_L2_TABLE:
    case M.MMUEXT_PIN_L3_TABLE:
    case M.MMUEXT_PIN_L4_TABLE:
      return pin(target, op[0]! + 1, frameAt(2));
    case M.MMUEXT_UNPIN_TABLE:
      return unpin(target, frameAt(2));
    case M.MMUEXT_NEW_BASEPTR:
      return isOwn ? newBase(vcpu, frameAt(2), compat ? PGT_l3_page_table : PGT_l4_page_table) : -EPERM;
    case M.MMUEXT_NEW_USER_BASEPTR:
      if (compat) return -EINVAL;
      return isOwn ? newUserBase(vcpu, frameAt(2)) : -EPERM;
    case M.MMUEXT_TLB_FLUSH_LOCAL:
      if (!isOwn) return -EPERM;
      flushVcpu(vcpu);
      return 0;
    case M.MMUEXT_INVLPG_LOCAL:
      if (!isOwn) return -EPERM;
      invalidateVcpu(vcpu, op[2]!, op[3]!);
      return 0;
    case M.MMUEXT_TLB_FLUSH_MULTI:
    case M.MMUEXT_INVLPG_MULTI: {
      if (!isOwn) return -EPERM;
      const mask = readVcpuMask(vcpu, op[4]!, op[5]!);
      if (mask === null) return -EINVAL;
      if (op[0] === M.MMUEXT_TLB_FLUSH_MULTI) flushVcpus(domain, mask);
      else if (addressOk(vcpu, op[2]!, op[3]!)) invalidateOn(domain, mask, op[2]!, op[3]!);
      return 0;
    }
    case M.MMUEXT_TLB_FLUSH_ALL:
      if (!isOwn) return -EPERM;
      flushVcpus(domain, null);
      return 0;
    case M.MMUEXT_INVLPG_ALL:
      if (!isOwn) return -EPERM;
      if (addressOk(vcpu, op[2]!, op[3]!)) invalidateOn(domain, null, op[2]!, op[3]!);
      return 0;
    // Caches are for domains with devices (cache_flush_permitted).
    case M.MMUEXT_FLUSH_CACHE:
      return isOwn ? -EACCES : -EPERM;
    case M.MMUEXT_FLUSH_CACHE_GLOBAL:
      return isOwn ? -EINVAL : -EPERM;
    case M.MMUEXT_SET_LDT: {
      if (!isOwn) return -EPERM;
      const entries = op[4]! >>> 0;
      if (entries > MAX_LDT_ENTRIES) return -EINVAL;
      if (entries !== 0 && ((op[2]! & (PAGE_BYTES - 1)) !== 0 || !addressOk(vcpu, op[2]!, op[3]!))) return -EINVAL;
      setLdt(vcpu, op[2]!, op[3]!, entries);
      return 0;
    }
    case M.MMUEXT_CLEAR_PAGE:
      return clearPage(vcpu, target.domid, frameAt(2));
    case M.MMUEXT_COPY_PAGE:
      return copyPage(vcpu, target.domid, frameAt(2), frameAt(4));
    case M.MMUEXT_MARK_SUPER:
    case M.MMUEXT_UNMARK_SUPER:
      return -EOPNOTSUPP;
    default:
      return -ENOSYS;
  }
}

function newBase(vcpu: Vcpu, mfn: number, type: number): number {
  if (!validateAhead(vcpu.domain, mfn, type)) return RESTART;
  const rc = installBase(vcpu, mfn);
  forgetAhead(vcpu.domain, mfn);
  return rc;
}

function newUserBase(vcpu: Vcpu, mfn: number): number {
  if (mfn !== 0 && !validateAhead(vcpu.domain, mfn, PGT_l4_page_table)) return RESTART;
  const rc = installUserBase(vcpu, mfn);
  forgetAhead(vcpu.domain, mfn);
  return rc;
}

/** Keeps a table validated without a user (a 32-bit guest has no L4: that is ignored). */
function pin(owner: Domain, type: number, mfn: number): number {
  const { pageTypes: types } = owner.hypervisor;
  if (type === PGT_l4_page_table && owner.pv!.is32bit) return 0;
  if (!validateAhead(owner, mfn, type)) return RESTART;
  const rc = types.getPageAndType(mfn, owner.domid, type);
  forgetAhead(owner, mfn);
  if (rc !== 0) return rc;
  if ((types.flags[mfn]! & PGT_pinned) !== 0) {
    types.putPageAndType(mfn);
    return -EINVAL;
  }
  types.flags[mfn]! |= PGT_pinned;
  return 0;
}

function unpin(owner: Domain, mfn: number): number {
  const { pageTypes: types } = owner.hypervisor;
  if (types.ownerOf(mfn) !== owner.domid || (types.flags[mfn]! & PGT_pinned) === 0) return -EINVAL;
  types.flags[mfn]! &= ~PGT_pinned;
  types.putPageAndType(mfn);
  return 0;
}

function clearPage(vcpu: Vcpu, owner: number, mfn: number): number {
  const { hypervisor: hv } = vcpu.domain;
  const rc = hv.pageTypes.getPageAndType(mfn, owner, PGT_writable_page);
  if (rc !== 0) return rc;
  fillBytes(vcpu.core, hv.memory.frame(mfn), PAGE_BYTES, 0);
  hv.pageTypes.putPageAndType(mfn);
  vcpu.charge("memory", PAGE_BYTES / COPY_BYTES_PER_CYCLE);
  return 0;
}

function copyPage(vcpu: Vcpu, owner: number, to: number, from: number): number {
  const { hypervisor: hv } = vcpu.domain;
  const { pageTypes: types } = hv;
  if (types.ownerOf(from) !== owner) return -EINVAL;
  const rc = types.getPageAndType(to, owner, PGT_writable_page);
  if (rc !== 0) return rc;
  copyBytes(vcpu.core, hv.memory.frame(to), hv.memory.frame(from), PAGE_BYTES);
  types.putPageAndType(to);
  vcpu.charge("memory", PAGE_BYTES / COPY_BYTES_PER_CYCLE);
  return 0;
}
