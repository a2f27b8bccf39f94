/** VCPUOP_initialise of HVM guests: register state from a vcpu_hvm_context (public/hvm/hvm_vcpu.h), as arch_set_info_hvm_guest. */
import {
  CPL,
  CR0,
  CR3,
  CR4,
  EFER,
  GDTR,
  IDTR,
  S_RAX,
  S_RBP,
  S_RBX,
  S_RCX,
  S_RDI,
  S_RDX,
  S_RSI,
  S_RSP,
  TR,
} from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import { FLAG_VM, setFlags } from "../../cpu/flags.ts";
import { loadPdptes } from "../../cpu/mmu/walker.ts";
import { CR0_DEFINED, CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, setRip } from "../../cpu/system/bits.ts";
import { cr4Allowed, eferAllowed } from "../../cpu/system/cr.ts";
import { loadSegmentRaw, loadTableRaw, updateMode } from "../../cpu/system/mode.ts";
import { EINVAL } from "../abi/errno.ts";
import { VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B } from "../abi/vcpu-op.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { resetVcpu } from "./vcpu-init.ts";

/** sizeof(vcpu_hvm_context): mode, pad, then the larger of the two register blocks. */
export const HVM_CONTEXT_BYTES = 128;
const REGS = 8;

interface Segment {
  readonly base: number;
  readonly limit: number;
  /** VMX access-rights format. */
  readonly attr: number;
}

const SEG_ES = 0;
const SEG_CS = 1;
const SEG_SS = 2;
const SEG_DS = 3;
const SEG_FS = 4;
const SEG_GS = 5;
const TSS = -1;

const TYPE = 0xf;
const TYPE_CODE = 8;
const TYPE_READ_WRITE = 2;
const S = 0x10;
const P = 0x80;
const G = 0x800;
const ACCESSED = 1;
const BUSY = 2;
const TYPE_TSS_BUSY = 11;
const UNUSABLE = 0x10000;

/** `ar` of the interface (12 bits without a hole) checked and in the core's format, or null (check_segment of Xen). */
function segment(which: number, base: number, limit: number, ar: number): Segment | null {
  if ((ar & 0xf000) !== 0) return null;
  if (ar === 0 && (which === SEG_DS || which === SEG_ES)) return { base, limit, attr: UNUSABLE };
  if ((ar & P) === 0) return null;
  const type = ar & TYPE;
  if (which === TSS) {
    if ((ar & S) !== 0 || (type | BUSY) !== TYPE_TSS_BUSY) return null;
  } else if ((ar & S) === 0) return null;
  else if (which === SEG_CS) {
    if ((type & TYPE_CODE) === 0) return null;
  } else if (which === SEG_SS) {
    if ((type & TYPE_CODE) !== 0 || (type & TYPE_READ_WRITE) === 0) return null;
  } else if ((type & TYPE_CODE) !== 0 && (type & TYPE_READ_WRITE) === 0) return null;
  const used = ar | (which === TSS ? BUSY : ACCESSED);
  return {
    base,
    limit: (ar & G) !== 0 ? ((limit << 12) | 0xfff) >>> 0 : limit,
    attr: (used & 0xff) | ((used & 0xf00) << 4),
  };
}

/** Makes `target`, which is not up, start from `context`. @returns 0 or -EINVAL; then nothing has changed. */
export function initialiseFromContext(target: Vcpu, context: DataView): number {
  const mode = context.getUint32(0, true);
  if (context.getUint32(4, true) !== 0) return -EINVAL;
  const apply =
    mode === VCPU_HVM_MODE_32B
      ? context32(target.core, context)
      : mode === VCPU_HVM_MODE_64B
        ? context64(target.core, context)
        : null;
  if (apply === null) return -EINVAL;
  const before = target.core.shared.active;
  resetVcpu(target);
  apply(target.core);
  before?.activate();
  target.isInitialised = true;
  return 0;
}

/** What VM entry would refuse: bits that this processor doesn't have, paging without protection. */
function validControl(core: Core, cr0: number, cr4: number, efer: bigint): boolean {
  if ((cr0 & ~CR0_DEFINED) !== 0 || (cr4 & ~cr4Allowed(core)) !== 0) return false;
  if ((efer & ~BigInt(eferAllowed(core))) !== 0n) return false;
  return (cr0 & CR0_PG) === 0 || (cr0 & CR0_PE) !== 0;
}

function setSegments(core: Core, segments: readonly (Segment | null)[], tr: Segment): void {
  [SEG_CS, SEG_DS, SEG_SS, SEG_ES].forEach((seg, n) => {
    const s = segments[n]!;
    loadSegmentRaw(core, seg, 0, s.base | 0, 0, s.limit | 0, s.attr);
  });
  for (const seg of [SEG_FS, SEG_GS]) loadSegmentRaw(core, seg, 0, 0, 0, 0, UNUSABLE);
  loadTableRaw(core, TR, 0, tr.base | 0, 0, tr.limit | 0, tr.attr);
  loadTableRaw(core, GDTR, 0, 0, 0, 0, 0);
  loadTableRaw(core, IDTR, 0, 0, 0, 0, 0);
}

function setControl(core: Core, cr0: bigint, cr3: bigint, cr4: bigint, efer: bigint): void {
  const set = (address: number, value: bigint): void => {
    core.u64[address >>> 3] = value;
  };
  set(CR0, cr0);
  set(CR3, cr3);
  set(CR4, cr4);
  set(EFER, efer);
  updateMode(core);
  // A PAE guest that starts with paging on: bad entries show when it runs.
  if ((Number(cr0) & CR0_PG) !== 0 && (Number(cr4) & CR4_PAE) !== 0 && (Number(efer) & EFER_LMA) === 0)
    loadPdptes(core, Number(cr3));
}

/** struct vcpu_hvm_x86_32: eax.. edi, eip, eflags, cr0, cr3, cr4, pad, efer u64, bases, limits (cs ds ss es tr), attributes u16. */
function context32(of: Core, context: DataView): ((core: Core) => void) | null {
  const u32 = (n: number): number => context.getUint32(REGS + 4 * n, true);
  const efer = context.getBigUint64(REGS + 56, true);
  const segments = [SEG_CS, SEG_DS, SEG_SS, SEG_ES, TSS].map((which, n) =>
    segment(which, u32(16 + n), u32(21 + n), context.getUint16(REGS + 104 + 2 * n, true)),
  );
  const [cs, ds, ss, es, tr] = segments;
  if (cs === null || ds === null || ss === null || es === null || tr === null) return null;
  const eip = u32(8);
  if (eip > cs!.limit) return null;
  // The stack's privilege is the code's, and data must be reachable from it.
  const dpl = (s: Segment): number => (s.attr >>> 5) & 3;
  if (dpl(ss!) !== dpl(cs!)) return null;
  const usable = (s: Segment): boolean => (s.attr & UNUSABLE) === 0;
  if ((usable(ds!) && dpl(ds!) > dpl(cs!)) || (usable(es!) && dpl(es!) > dpl(cs!))) return null;
  const cr0 = u32(10) | CR0_ET;
  const cr4 = u32(12);
  const flags = efer & ~BigInt(EFER_LMA);
  if (!validControl(of, cr0, cr4, flags) || (u32(9) & FLAG_VM) !== 0) return null;
  const long = (cr0 & CR0_PG) !== 0 && (Number(flags) & EFER_LME) !== 0;
  if (long && (cr4 & CR4_PAE) === 0) return null;
  return (core) => {
    [S_RAX, S_RCX, S_RDX, S_RBX, S_RSP, S_RBP, S_RSI, S_RDI].forEach((slot, n) => {
      core.setSlot(slot, BigInt(u32(n)));
    });
    setSegments(core, [cs!, ds!, ss!, es!], tr!);
    setRip(core, eip | 0, 0);
    setFlags(core, u32(9) | 2);
    core.i32[CPL >>> 2] = dpl(ss!);
    setControl(core, BigInt(cr0 >>> 0), BigInt(u32(11)), BigInt(cr4), flags | (long ? BigInt(EFER_LMA) : 0n));
  };
}

/** struct vcpu_hvm_x86_64: rax.. rdi, rip, rflags, cr0, cr3, cr4, efer. */
function context64(of: Core, context: DataView): ((core: Core) => void) | null {
  const u64 = (n: number): bigint => context.getBigUint64(REGS + 8 * n, true);
  const rip = u64(8);
  const cr0 = u64(10);
  const cr4 = u64(12);
  const efer = u64(13);
  if (BigInt.asIntN(64, rip) >> 47n !== 0n && BigInt.asIntN(64, rip) >> 47n !== -1n) return null;
  const flags = efer & ~BigInt(EFER_LMA);
  if (cr0 >> 32n !== 0n || cr4 >> 32n !== 0n || !validControl(of, Number(cr0), Number(cr4), flags)) return null;
  if ((Number(cr0) & CR0_PG) === 0 || (Number(cr4) & CR4_PAE) === 0 || (Number(flags) & EFER_LME) === 0) return null;
  if ((u64(9) & BigInt(FLAG_VM)) !== 0n) return null;
  const code: Segment = { base: 0, limit: 0xffffffff, attr: 0xa09b };
  const data: Segment = { base: 0, limit: 0xffffffff, attr: 0xc093 };
  const tr: Segment = { base: 0, limit: 0x67, attr: 0x8b };
  return (core) => {
    [S_RAX, S_RCX, S_RDX, S_RBX, S_RSP, S_RBP, S_RSI, S_RDI].forEach((slot, n) => {
      core.setSlot(slot, u64(n));
    });
    setSegments(core, [code, data, data, data], tr);
    setRip(core, Number(BigInt.asIntN(32, rip)), Number(BigInt.asIntN(32, rip >> 32n)));
    setFlags(core, Number(u64(9) & 0xffff_ffffn) | 2);
    setControl(core, cr0 | BigInt(CR0_ET), u64(11), cr4, flags | BigInt(EFER_LMA));
  };
}
