/** VCPUOP_initialise of PV guests: a vcpu's state from a vcpu_guest_context (arch_set_info_guest of x86/domain.c; public/arch-x86/xen.h). */
import { FLAG_IF, FLAG_IOPL, setFlags } from "../../cpu/flags.ts";
import { LEGACY_BYTES, loadLegacyImage } from "../../cpu/fpu/xsave.ts";
import { CR0_TS } from "../../cpu/system/bits.ts";
import { updateMode } from "../../cpu/system/mode.ts";
import { CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall } from "../abi/callback.ts";
import { EINVAL } from "../abi/errno.ts";
import { type Vcpu, VPF_DOWN } from "../domain/vcpu.ts";
import { dropBases, giveOwnTop, installBase, installUserBase } from "./base-table.ts";
import { fixSelector } from "./check-descriptor.ts";
import { mfnOfCr3, setGuestCr4 } from "./control-registers.ts";
import { setDebugRegister } from "./debug-registers.ts";
import { destroyGdt, gdtPages, setGdt } from "./descriptors.ts";
import { loadGuestCr3 } from "./guest-mode.ts";
import { isGuestHalf } from "./guest-words.ts";
import { setLdt } from "./ldt.ts";
import * as R from "./registers.ts";
import { resetPvVcpu } from "./vcpu-init.ts";

/** Where things stand, in bytes. `long` is the size of an unsigned long. */
interface ContextLayout {
  readonly bytes: number;
  readonly long: 8 | 4;
  readonly flags: number;
  /** General registers in the order of their offsets from here on, and as `i32` index. */
  readonly registers: readonly (readonly [offset: number, at: number])[];
  readonly rip: number;
  readonly cs: number;
  readonly rflags: number;
  readonly rsp: number;
  readonly ss: number;
  /** ES DS FS GS, `long` bytes apart. */
  readonly es: number;
  readonly traps: number;
  readonly ldtBase: number;
  readonly gdtFrames: number;
  readonly kernelSs: number;
  readonly controls: number;
  readonly debug: number;
  readonly callbacks: number;
  readonly vmAssist: number;
  /** fs_base, gs_base_kernel, gs_base_user; 64-bit only. */
  readonly bases: number;
}

const USER_64 = 520;
const USER_32 = 516;
const general = (from: number, long: number, order: readonly number[]): (readonly [number, number])[] =>
  order.map((at, n) => [from + n * long, at] as const);

const LAYOUT_64: ContextLayout = {
  bytes: 5168,
  long: 8,
  flags: 512,
  registers: general(USER_64, 8, [
    ...[R.R11 + 8, R.R11 + 6, R.R11 + 4, R.R11 + 2, R.RBP, R.RBX, R.R11, R.R10],
    ...[R.R9, R.R8, R.RAX, R.RCX, R.RDX, R.RSI, R.RDI],
  ]),
  rip: USER_64 + 128,
  cs: USER_64 + 136,
  rflags: USER_64 + 144,
  rsp: USER_64 + 152,
  ss: USER_64 + 160,
  es: USER_64 + 168,
  traps: 720,
  ldtBase: 4816,
  gdtFrames: 4832,
  kernelSs: 4968,
  controls: 4984,
  debug: 5048,
  callbacks: 5112,
  vmAssist: 5136,
  bases: 5144,
};

const LAYOUT_32: ContextLayout = {
  bytes: 2800,
  long: 4,
  flags: 512,
  registers: general(USER_32, 4, [R.RBX, R.RCX, R.RDX, R.RSI, R.RDI, R.RBP, R.RAX]),
  rip: USER_32 + 32,
  cs: USER_32 + 36,
  rflags: USER_32 + 40,
  rsp: USER_32 + 44,
  ss: USER_32 + 48,
  es: USER_32 + 52,
  traps: 584,
  ldtBase: 2632,
  gdtFrames: 2640,
  kernelSs: 2708,
  controls: 2716,
  debug: 2748,
  callbacks: 2780,
  vmAssist: 2796,
  bases: 0,
};

const VECTORS = 256;
const GDT_FRAMES = 16;
const MAX_LDT_ENTRIES = 8192n;
const VGCF_I387_VALID = 1;
const VGCF_in_kernel = 1 << 2;
const VGCF_failsafe_disables_events = 1 << 3;
const VGCF_syscall_disables_events = 1 << 4;
const VGCF_online = 1 << 5;
/** Segment registers of the context, in its order. */
const DATA_SEGMENTS = [R.SEG_ES, R.SEG_DS, R.SEG_FS, R.SEG_GS] as const;

/** Bytes of the structure for the domain's ABI. */
export const contextBytes = (is32bit: boolean): number => (is32bit ? LAYOUT_32 : LAYOUT_64).bytes;

class Context {
  readonly view: DataView;
  readonly at: ContextLayout;

  constructor(view: DataView, is32bit: boolean) {
    this.view = view;
    this.at = is32bit ? LAYOUT_32 : LAYOUT_64;
  }

  /** An unsigned long at byte `offset`. */
  long(offset: number): bigint {
    return this.at.long === 8 ? this.view.getBigUint64(offset, true) : BigInt(this.view.getUint32(offset, true));
  }
  /** The n-th of an array of them. */
  element(offset: number, n: number): bigint {
    return this.long(offset + n * this.at.long);
  }
  get flags(): number {
    return this.view.getUint32(this.at.flags, true);
  }
  trap(n: number): { flags: number; cs: number; address: bigint } {
    const from = this.at.traps + n * 2 * this.at.long;
    const address = this.at.long === 8 ? this.long(from + 8) : this.long(from + 4);
    return { flags: this.view.getUint8(from + 1), cs: this.view.getUint16(from + 2, true), address };
  }
}

const loWord = (value: bigint): number => Number(BigInt.asIntN(32, value));
const hiWord = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const isCanonical = (value: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;

/** The addresses that must be canonical in a 64-bit context. */
function addressesOk(c: Context): boolean {
  const { at } = c;
  const addresses = [c.long(at.rip), c.long(at.rsp), c.element(at.kernelSs, 1)];
  for (let n = 0; n < 3; n++) addresses.push(c.element(at.callbacks, n), c.element(at.bases, n));
  const ldtBase = c.long(at.ldtBase);
  if (c.element(at.ldtBase, 1) !== 0n) addresses.push(ldtBase);
  for (let n = 0; n < VECTORS; n++) addresses.push(c.trap(n).address);
  return addresses.every(isCanonical) && isGuestHalf(hiWord(ldtBase));
}

/**
 * Makes `target`, which has never run, start from the context in `view`; its core needs not be active.
 * @returns 0 or -EINVAL; then it is as it was, as far as the guest can see
 */
export function initialisePvVcpu(target: Vcpu, view: DataView): number {
  const { domain } = target;
  const { is32bit } = domain.pv!;
  const c = new Context(view, is32bit);
  const { at } = c;
  if (!is32bit && !addressesOk(c)) return -EINVAL;
  const ldtEntries = c.element(at.ldtBase, 1);
  if ((c.long(at.ldtBase) & 0xfffn) !== 0n || ldtEntries > MAX_LDT_ENTRIES) return -EINVAL;
  const entries = c.element(at.gdtFrames, GDT_FRAMES);
  const pages = gdtPages(Number(entries));
  if (pages > GDT_FRAMES) return -EINVAL;
  const userTable = is32bit ? 0n : c.element(at.controls, 1) >> 12n;
  const inKernel = is32bit || (c.flags & VGCF_in_kernel) !== 0;
  if (!inKernel && c.element(at.controls, 1) === 0n) return -EINVAL;
  const before = target.core.shared.active;
  resetPvVcpu(target);
  giveOwnTop(target);
  setRegisters(target, c);
  setCallbacks(target, c);
  const rc = setTables(target, c, Number(entries), pages, userTable);
  if (rc === 0) {
    target.pv!.kernelMode = inKernel;
    loadGuestCr3(target);
    setLdt(target, loWord(c.long(at.ldtBase)), is32bit ? 0 : hiWord(c.long(at.ldtBase)), Number(ldtEntries));
    if (!inKernel) swapBases(target);
    updateMode(target.core);
  }
  before?.activate();
  domain.hypervisor.pageTables.takeApart(domain, true);
  if (rc !== 0) return rc;
  target.isInitialised = true;
  if (c.flags & VGCF_online) target.pauseFlags &= ~VPF_DOWN;
  else target.pauseFlags |= VPF_DOWN;
  return 0;
}

/** General, control and debug registers. The selectors are loaded when the vcpu is first entered. */
function setRegisters(target: Vcpu, c: Context): void {
  const { core, domain } = target;
  const pv = target.pv!;
  const { at, view } = c;
  const set = (index: number, value: bigint): void => {
    core.i32[index] = loWord(value);
    core.i32[index + 1] = at.long === 8 ? hiWord(value) : 0;
  };
  for (const [offset, index] of at.registers) set(index, c.long(offset));
  set(R.RIP, c.long(at.rip));
  set(R.RSP, c.long(at.rsp));
  core.i32[R.CS] = fixSelector(domain, view.getUint16(at.cs, true));
  core.i32[R.SS] = fixSelector(domain, view.getUint16(at.ss, true));
  DATA_SEGMENTS.forEach((seg, n) => {
    core.i32[R.selectorAt(seg)] = view.getUint16(at.es + n * at.long, true);
  });
  const flags = loWord(c.long(at.rflags));
  pv.iopl = flags & FLAG_IOPL;
  setFlags(core, (flags & ~FLAG_IOPL) | FLAG_IF);
  if (at.long === 8) {
    set(R.FSBASE, c.element(at.bases, 0));
    set(R.GSBASE, c.element(at.bases, 1));
    set(R.OTHER_GSBASE, c.element(at.bases, 2));
  }
  set(R.CR2, c.element(at.controls, 2));
  core.i32[R.CR0] = (core.i32[R.CR0]! & ~CR0_TS) | (loWord(c.element(at.controls, 0)) & CR0_TS);
  setGuestCr4(target, loWord(c.element(at.controls, 4)));
  // fpu_ctxt, the first 512 bytes.
  if (c.flags & VGCF_I387_VALID) {
    const image = new Uint8Array(view.buffer, view.byteOffset, LEGACY_BYTES);
    loadLegacyImage(core, image, { pointers64: at.long === 8, registers: at.long === 8 ? 16 : 8 });
  }
  for (let n = 0; n < 8; n++) if (n !== 4 && n !== 5) setDebugRegister(target, n, c.element(at.debug, n));
  pv.segmentsStale = true;
  pv.mustIret = true;
}

/** The inactive GS base is the kernel's if the vcpu starts in user mode. */
function swapBases(target: Vcpu): void {
  const { u64 } = target.core;
  const base = u64[R.GSBASE >>> 1]!;
  u64[R.GSBASE >>> 1] = u64[R.OTHER_GSBASE >>> 1]!;
  u64[R.OTHER_GSBASE >>> 1] = base;
}

function setCallbacks(target: Vcpu, c: Context): void {
  const { domain } = target;
  const pv = target.pv!;
  const { at } = c;
  pv.kernelSs = fixSelector(domain, Number(c.long(at.kernelSs) & 0xffffn));
  pv.kernelSpLo = loWord(c.element(at.kernelSs, 1));
  pv.kernelSpHi = at.long === 8 ? hiWord(c.element(at.kernelSs, 1)) : 0;
  for (let n = 0; n < VECTORS; n++) {
    const { flags, cs, address } = c.trap(n);
    const trap = pv.traps[n]!;
    trap.flags = flags;
    trap.cs = fixSelector(domain, cs);
    trap.eipLo = loWord(address);
    trap.eipHi = at.long === 8 ? hiWord(address) : 0;
  }
  // A null selector says that there is no handler: it stays null.
  if (at.long === 4) for (let n = 0; n < VECTORS; n++) if ((c.trap(n).cs & ~3) === 0) pv.traps[n]!.cs &= 3;
  const types = [CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall];
  for (let n = 0; n < (at.long === 8 ? 3 : 2); n++) {
    const type = types[n]!;
    if (at.long === 8) {
      pv.callbackLo[type] = loWord(c.element(at.callbacks, n));
      pv.callbackHi[type] = hiWord(c.element(at.callbacks, n));
    } else {
      pv.callbackCs[type] = fixSelector(domain, Number(c.element(at.callbacks, 2 * n) & 0xffffn));
      pv.callbackLo[type] = loWord(c.element(at.callbacks, 2 * n + 1));
    }
  }
  pv.callbackMasks =
    (c.flags & VGCF_failsafe_disables_events ? 1 << CALLBACKTYPE_failsafe : 0) |
    (c.flags & VGCF_syscall_disables_events ? 1 << CALLBACKTYPE_syscall : 0);
}

/** GDT and top-level tables, with their references. @returns 0 or -EINVAL with none of them held */
function setTables(target: Vcpu, c: Context, entries: number, pages: number, userTable: bigint): number {
  const { domain } = target;
  const { at } = c;
  const mfn = (value: bigint): number => (value < BigInt(domain.hypervisor.heap.frames) ? Number(value) : -1);
  const frames = Array.from({ length: pages }, (_, n) => mfn(c.element(at.gdtFrames, n)));
  if (setGdt(target, frames, entries) !== 0) return -EINVAL;
  const kernel = mfn(mfnOfCr3(c.element(at.controls, 3), domain.pv!.is32bit));
  if (kernel < 0 || installBase(target, kernel) !== 0) {
    destroyGdt(target);
    return -EINVAL;
  }
  if (userTable === 0n) return 0;
  const user = mfn(userTable);
  if (user >= 0 && installUserBase(target, user) === 0) return 0;
  dropBases(target);
  destroyGdt(target);
  return -EINVAL;
}
