/**
 * Port I/O of PV guests (guest_io_read, guest_io_write of pv/emul-priv-op.c). A guest may try if its own I/O privilege level or bitmap
 * lets it; there is no device behind any port of a domain without hardware: reads give ones, but for the two latches that Xen keeps.
 */

import { VEC_GP, VEC_SS } from "../../cpu/core.ts";
import { type Instruction, REG_NONE } from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import { FLAG_DF } from "../../cpu/flags.ts";
import { is64 } from "../../cpu/system/bits.ts";
import { VMASST_TYPE_architectural_iopl } from "../abi/xen.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_IO } from "../hypercalls/costs.ts";
import { ioBreakpoints, latchDebugStatus } from "./debug-registers.ts";
import { AGAIN, DONE, FAULTED, UNHANDLED } from "./emulated.ts";
import { inKernel, toggleGuestTables } from "./guest-mode.ts";
import { addressOk, failed, guestByte, readGuestBytes, writeGuestBytes } from "./guest-words.ts";
import { injectPageFault, injectTrap, TBF_EXCEPTION } from "./inject.ts";
import * as R from "./registers.ts";

const RTC_INDEX = 0x70;
const PCI_CONFIG_ADDRESS = 0xcf8;
const VEC_DB = 1;
/** Elements of a REP INS or OUTS for one emulation. */
const MOST_ELEMENTS = 64;

/** iopl_ok: the guest's I/O privilege level allows its current mode I/O, CLI and STI. */
export const ioplOk = (vcpu: Vcpu): boolean => ioplAllows(vcpu, inKernel(vcpu));

/** The same of its kernel's mode, or its user's. */
export function ioplAllows(vcpu: Vcpu, kernel: boolean): boolean {
  const architectural = (vcpu.domain.vmAssist & (1 << VMASST_TYPE_architectural_iopl)) !== 0;
  const cpl = kernel ? (architectural ? 0 : 1) : 3;
  return cpl << 12 <= vcpu.pv!.iopl;
}

/** guest_io_okay: IOPL, or the guest's own bitmap, which lies in its kernel's memory. */
function allowed(vcpu: Vcpu, port: number, size: number): boolean {
  const pv = vcpu.pv!;
  if (ioplOk(vcpu)) return true;
  if (port + size > pv.ioBitmapPorts) return false;
  const user = !pv.kernelMode;
  if (user) toggleGuestTables(vcpu);
  const bits = bitmapByte(vcpu, port >>> 3) | (bitmapByte(vcpu, (port >>> 3) + 1) << 8);
  if (user) toggleGuestTables(vcpu);
  return ((bits >>> (port & 7)) & ((1 << size) - 1)) === 0;
}

/** A byte that can't be read allows nothing. */
function bitmapByte(vcpu: Vcpu, offset: number): number {
  const pv = vcpu.pv!;
  const lo = (pv.ioBitmapLo + offset) | 0;
  const at = guestByte(vcpu, lo, lo >>> 0 < offset ? (pv.ioBitmapHi + 1) | 0 : pv.ioBitmapHi, false);
  return at < 0 ? 0xff : vcpu.core.u8[at]!;
}

/** What IN of `size` bytes gives. */
function read(vcpu: Vcpu, port: number, size: number): number {
  const domain = vcpu.domain.pv!;
  if (port === PCI_CONFIG_ADDRESS && size === 4) return domain.pciConfigAddress;
  let value = 0;
  for (let n = 0; n < size; n++) value |= (port + n === RTC_INDEX ? domain.rtcIndex : 0xff) << (8 * n);
  return value;
}

function write(vcpu: Vcpu, port: number, size: number, value: number): void {
  const domain = vcpu.domain.pv!;
  if (port === PCI_CONFIG_ADDRESS && size === 4) {
    domain.pciConfigAddress = value;
    return;
  }
  for (let n = 0; n < size; n++) if (port + n === RTC_INDEX) domain.rtcIndex = (value >>> (8 * n)) & 0x7f;
}

function breakpoint(vcpu: Vcpu, hits: number): void {
  if (hits === 0) return;
  latchDebugStatus(vcpu, hits);
  if ((vcpu.pv!.bounceFlags & TBF_EXCEPTION) === 0) injectTrap(vcpu, VEC_DB);
}

export function portIn(vcpu: Vcpu, port: number, size: number): number {
  if (!allowed(vcpu, port, size)) return UNHANDLED;
  vcpu.charge("io", COST_IO);
  const i = vcpu.core.i32;
  const value = read(vcpu, port, size);
  if (size === 4) {
    i[R.RAX] = value;
    i[R.RAX + 1] = 0;
  } else {
    const mask = size === 1 ? 0xff : 0xffff;
    i[R.RAX] = (i[R.RAX]! & ~mask) | (value & mask);
  }
  breakpoint(vcpu, ioBreakpoints(vcpu, port, size));
  return DONE;
}

export function portOut(vcpu: Vcpu, port: number, size: number): number {
  if (!allowed(vcpu, port, size)) return UNHANDLED;
  vcpu.charge("io", COST_IO);
  const value = vcpu.core.i32[R.RAX]!;
  write(vcpu, port, size, size === 4 ? value : value & (size === 1 ? 0xff : 0xffff));
  breakpoint(vcpu, ioBreakpoints(vcpu, port, size));
  return DONE;
}

const element = new Uint8Array(4);

/** INS, OUTS, with REP in pieces. */
export function stringPort(vcpu: Vcpu, ins: Instruction): number {
  const isIn = ins.mn === MN.MN_INS;
  const size = ins.size[isIn ? 0 : 1]!;
  const i = vcpu.core.i32;
  const port = i[R.RDX]! & 0xffff;
  if (!allowed(vcpu, port, size)) return UNHANDLED;
  const pointer = isIn ? R.RDI : R.RSI;
  const step = (i[R.RFLAGS]! & FLAG_DF) !== 0 ? -size : size;
  const repeated = ins.rep !== 0;
  for (let n = 0; n < MOST_ELEMENTS; n++) {
    if (repeated && register(vcpu, R.RCX, ins.addrSize) === 0n) return DONE;
    const moved = moveElement(vcpu, ins, isIn, port, size, pointer);
    if (moved !== DONE) return moved;
    vcpu.charge("io", COST_IO);
    add(vcpu, pointer, ins.addrSize, BigInt(step));
    if (repeated) add(vcpu, R.RCX, ins.addrSize, -1n);
    const hits = ioBreakpoints(vcpu, port, size);
    breakpoint(vcpu, hits);
    if (!repeated) return DONE;
    if (hits !== 0) break;
  }
  return register(vcpu, R.RCX, ins.addrSize) === 0n ? DONE : AGAIN;
}

const maskOf = (bytes: number): bigint => (1n << BigInt(8 * bytes)) - 1n;

/** A register as the address size has it. */
const register = (vcpu: Vcpu, at: number, bytes: number): bigint => vcpu.core.u64[at >>> 1]! & maskOf(bytes);

function add(vcpu: Vcpu, at: number, bytes: number, delta: bigint): void {
  const { u64 } = vcpu.core;
  const mask = maskOf(bytes);
  const sum = (u64[at >>> 1]! + delta) & mask;
  u64[at >>> 1] = bytes === 2 ? (u64[at >>> 1]! & ~mask) | sum : sum;
}

/** One element between the port and memory. @returns DONE or FAULTED */
function moveElement(vcpu: Vcpu, ins: Instruction, isIn: boolean, port: number, size: number, pointer: number): number {
  const { core } = vcpu;
  const seg = isIn ? R.SEG_ES : ins.seg === REG_NONE ? R.SEG_DS : ins.seg;
  const flat = is64(core) && seg < R.SEG_FS;
  const base = flat ? 0n : core.u64[R.baseAt(seg) >>> 1]!;
  const linear = BigInt.asUintN(is64(core) ? 64 : 32, base + register(vcpu, pointer, ins.addrSize));
  const lo = Number(BigInt.asIntN(32, linear));
  const hi = Number(BigInt.asIntN(32, linear >> 32n));
  if (!addressOk(vcpu, lo, hi)) {
    injectTrap(vcpu, seg === R.SEG_SS ? VEC_SS : VEC_GP, 0);
    return FAULTED;
  }
  if (isIn) {
    const value = read(vcpu, port, size);
    for (let n = 0; n < size; n++) element[n] = value >>> (8 * n);
    if (writeGuestBytes(vcpu, lo, hi, element, size)) return DONE;
    injectPageFault(vcpu, failed.lo, failed.hi, 2);
    return FAULTED;
  }
  if (!readGuestBytes(vcpu, lo, hi, element, size)) {
    injectPageFault(vcpu, failed.lo, failed.hi, 0);
    return FAULTED;
  }
  let value = 0;
  for (let n = 0; n < size; n++) value |= element[n]! << (8 * n);
  write(vcpu, port, size, value);
  return DONE;
}
