/**
 * Writable page tables (pv/ro-page-fault.c): a guest's kernel may write to its L1 tables as if they were ordinary memory. They are mapped
 * read-only, so that the store faults; Xen decodes the instruction, checks the entry that would come of it as mmu_update does, and
 * does the store. An instruction that it does not know, or an entry that may not be, is the guest's page fault.
 */
import { S_SEGBASE, SLOTS } from "../../cpu/arena.ts";
import * as I from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import {
  FLAG_CF,
  FLAG_DF,
  FLAG_RF,
  FLAG_VM,
  FLAG_ZF,
  FLAGS_ARITHMETIC,
  getFlags,
  setArithmeticFlags,
} from "../../cpu/flags.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_PV_EMULATE } from "../hypercalls/costs.ts";
import { PGT_l1_page_table } from "../memory/page-types.ts";
import { FETCH_FAULT, FETCHED, fetchInstruction, instruction } from "./decode.ts";
import { instructionDone } from "./emulated.ts";
import { failed, readGuestBytes } from "./guest-words.ts";
import { injectPageFault } from "./inject.ts";
import { chargeTables } from "./mmu-update.ts";
import { setReadOnlyFault } from "./page-fault.ts";
import { PTE_P, PTE_RW } from "./pte.ts";
import { executeInRegister, hasRegisterForm, restoreRegisters, saveRegisters } from "./register-form.ts";
import { RAX, RDI, RIP, RSI, RSP } from "./registers.ts";
import { guestL1Entry } from "./update-va-mapping.ts";

const U32 = 2 ** 32;
const REG_AX = 0;
const REG_DX = 2;
const REG_BX = 3;
const REG_CX = 1;

/** A 64-bit value as two words. */
class Words {
  lo = 0;
  hi = 0;
}
const address = new Words();
/** The entry (all eight bytes), and the operand in it, before and after. */
const entry = new Words();
const before = new Words();
const after = new Words();
const source = new Words();
const loaded = new Int32Array(2);
const loadedBytes = new Uint8Array(loaded.buffer);
/** The instruction faults where it reads: that fault is the guest's, in the place of this one. */
let isFaulted = false;

/** A kernel's write fault at hi:lo on a page that is there and read-only. @returns true if the guest needs no fault (any more) */
function readOnlyFault(vcpu: Vcpu, lo: number, hi: number): boolean {
  const { domain } = vcpu;
  const { pageTypes: types, arena } = domain.hypervisor;
  const at = guestL1Entry(vcpu, lo, hi);
  if (at < 0) return false;
  const mapping = arena.i32[at]!;
  const mfn = mapping >>> 12;
  if ((mapping & (PTE_P | PTE_RW)) !== PTE_P) return false;
  if (types.ownerOf(mfn) !== domain.domid || !types.is(mfn, PGT_l1_page_table)) return false;
  vcpu.charge("exit", COST_PV_EMULATE);
  const fetched = fetchInstruction(vcpu);
  if (fetched !== FETCHED) return fetched === FETCH_FAULT;
  const bytes = destination(vcpu);
  if (bytes === 0) return false;
  // Only naturally aligned stores in the page of the fault.
  if (((address.lo ^ lo) & ~0xfff) !== 0 || address.hi !== hi || (address.lo & (bytes - 1)) !== 0) return false;
  isFaulted = false;
  const done = emulate(vcpu, mfn, bytes);
  chargeTables(vcpu, 1);
  if (done && !isFaulted) instructionDone(vcpu, instruction.length);
  return done;
}

// --- operands ----------------------------------------------------------------------------------

/** Low word of general register `n`. */
const registerAt = (n: number): number => RAX + n * 2;

function readRegister(vcpu: Vcpu, n: number, bytes: number, into: Words): void {
  const { i32 } = vcpu.core;
  if (n >= I.REG_AH) {
    into.lo = (i32[registerAt(n - I.REG_AH)]! >>> 8) & 0xff;
    into.hi = 0;
    return;
  }
  into.lo = i32[registerAt(n)]!;
  into.hi = i32[registerAt(n) + 1]!;
  trim(into, bytes);
}

function writeRegister(vcpu: Vcpu, n: number, bytes: number, from: Words): void {
  const { i32, u8, u16 } = vcpu.core;
  if (n >= I.REG_AH) u8[registerAt(n - I.REG_AH) * 4 + 1] = from.lo;
  else if (bytes === 1) u8[registerAt(n) * 4] = from.lo;
  else if (bytes === 2) u16[registerAt(n) * 2] = from.lo;
  else {
    i32[registerAt(n)] = from.lo;
    i32[registerAt(n) + 1] = bytes === 8 ? from.hi : 0;
  }
}

/** Keeps the low `bytes` of a value. */
function trim(v: Words, bytes: number): void {
  if (bytes === 8) return;
  v.hi = 0;
  if (bytes < 4) v.lo &= (1 << (8 * bytes)) - 1;
}

function set(v: Words, lo: number, hi: number): void {
  v.lo = lo;
  v.hi = hi;
}

function addTo(v: Words, lo: number, hi: number): void {
  const sum = (v.lo >>> 0) + (lo >>> 0);
  v.lo = sum | 0;
  v.hi = (v.hi + hi + (sum >= U32 ? 1 : 0)) | 0;
}

/** Adds the base of a segment; an address of a 32-bit guest has 32 bits. */
function linear(vcpu: Vcpu, segment: number): void {
  const { i32 } = vcpu.core;
  if (instruction.addrSize === 4) address.hi = 0;
  else if (instruction.addrSize === 2) set(address, address.lo & 0xffff, 0);
  const is64 = instruction.mode === 64;
  if (!is64 || segment === I.SEG_FS || segment === I.SEG_GS) {
    const base = (SLOTS + S_SEGBASE + segment * 8) >>> 2;
    addTo(address, i32[base]!, is64 ? i32[base + 1]! : 0);
  }
  if (!is64) address.hi = 0;
}

/** Puts the linear address of the memory that `instruction` writes into `address`. @returns its bytes: 1, 2, 4 or 8; 0 not known */
function destination(vcpu: Vcpu): number {
  const { i32 } = vcpu.core;
  const ins = instruction;
  if (ins.mn === MN.MN_PUSH || ins.mn === MN.MN_PUSHF) return pushDestination(vcpu);
  switch (ins.kind[0]) {
    case I.OP_MOFFS:
      set(address, ins.disp, ins.dispHi);
      linear(vcpu, ins.seg);
      break;
    case I.OP_STR_DST:
      // One element at a time: the instruction is executed again for the next.
      set(address, i32[RDI]!, i32[RDI + 1]!);
      linear(vcpu, I.SEG_ES);
      break;
    case I.OP_MEM: {
      set(address, ins.disp, ins.disp >> 31);
      if (ins.base === I.REG_RIP) {
        readRip(vcpu);
        addTo(address, ins.length, 0);
      } else if (ins.base !== I.REG_NONE) addTo(address, i32[registerAt(ins.base)]!, i32[registerAt(ins.base) + 1]!);
      if (ins.index !== I.REG_NONE) {
        const n = registerAt(ins.index);
        const lo = i32[n]!;
        addTo(address, lo << ins.scale, (i32[n + 1]! << ins.scale) | (ins.scale === 0 ? 0 : lo >>> (32 - ins.scale)));
      }
      addBitOffset(vcpu);
      linear(vcpu, ins.seg);
      break;
    }
    default:
      return 0;
  }
  const bytes = ins.mn === MN.MN_CMPXCHG8B ? 8 : ins.size[0]!;
  return bytes === 1 || bytes === 2 || bytes === 4 || bytes === 8 ? bytes : 0;
}

/** Of a register or an immediate: the flat stack. */
function pushDestination(vcpu: Vcpu): number {
  const { i32 } = vcpu.core;
  const ins = instruction;
  if (ins.mn === MN.MN_PUSH && ins.kind[0] !== I.OP_GPR && ins.kind[0] !== I.OP_IMM) return 0;
  const bytes = ins.mode === 64 && ins.opSize !== 2 ? 8 : ins.opSize;
  set(address, i32[RSP]!, i32[RSP + 1]!);
  addTo(address, -bytes, -1);
  if (ins.mode !== 64) {
    address.hi = 0;
    addTo(address, i32[(SLOTS + S_SEGBASE + I.SEG_SS * 8) >>> 2]!, 0);
    address.hi = 0;
  }
  return bytes;
}

function readRip(vcpu: Vcpu): void {
  const { i32 } = vcpu.core;
  addTo(address, i32[RIP]!, i32[RIP + 1]!);
}

const isBitOperation = (mn: number): boolean => mn === MN.MN_BTS || mn === MN.MN_BTR || mn === MN.MN_BTC;

/** A bit number in a register reaches beyond the operand: whole operands away. */
function addBitOffset(vcpu: Vcpu): void {
  const ins = instruction;
  if (!isBitOperation(ins.mn) || ins.kind[1] !== I.OP_GPR) return;
  const n = registerAt(ins.reg[1]!);
  const { i32 } = vcpu.core;
  const bits = ins.size[0]! * 8;
  let lo = i32[n]!;
  let hi = i32[n + 1]!;
  if (ins.size[0] === 2) lo = (lo << 16) >> 16;
  if (ins.size[0]! < 8) hi = lo >> 31;
  const shift = bits === 16 ? 4 : bits === 32 ? 5 : 6;
  lo = (lo >>> shift) | (hi << (32 - shift));
  hi >>= shift;
  const up = ins.size[0] === 2 ? 1 : ins.size[0] === 4 ? 2 : 3;
  addTo(address, lo << up, (hi << up) | (lo >>> (32 - up)));
}

/** Second operand: register or immediate. @returns false for another kind */
function readSource(vcpu: Vcpu, bytes: number): boolean {
  const ins = instruction;
  if (ins.kind[1] === I.OP_IMM) set(source, ins.immLo, ins.immHi);
  else if (ins.kind[1] === I.OP_GPR) readRegister(vcpu, ins.reg[1]!, bytes, source);
  else return false;
  trim(source, bytes);
  return true;
}

// --- operations --------------------------------------------------------------------------------

/** Executes `instruction`, whose destination is `bytes` at `address` in L1 table `mfn`. */
function emulate(vcpu: Vcpu, mfn: number, bytes: number): boolean {
  const ins = instruction;
  const { core } = vcpu;
  const at = vcpu.domain.hypervisor.pageTables.table(mfn) + ((address.lo & 0xff8) >>> 2);
  set(entry, core.i32[at]!, core.i32[at + 1]!);
  extract(bytes);
  switch (ins.mn) {
    case MN.MN_MOV:
    case MN.MN_MOVNTI:
      if (!readSource(vcpu, bytes)) return false;
      set(after, source.lo, source.hi);
      return store(vcpu, at, bytes);
    case MN.MN_XCHG:
      if (!readSource(vcpu, bytes)) return false;
      set(after, source.lo, source.hi);
      if (!store(vcpu, at, bytes)) return false;
      writeRegister(vcpu, ins.reg[1]!, bytes, before);
      return true;
    case MN.MN_CMPXCHG8B:
      return compareExchange8(vcpu, at);
    case MN.MN_BTS:
    case MN.MN_BTR:
    case MN.MN_BTC:
      return bitOperation(vcpu, at, bytes);
    case MN.MN_STOS:
    case MN.MN_MOVS:
      return stringStore(vcpu, at, bytes);
    case MN.MN_MOVBE:
      return moveSwapped(vcpu, at, bytes);
    case MN.MN_PUSH:
    case MN.MN_PUSHF:
      return push(vcpu, at, bytes);
    case MN.MN_POP:
      return pop(vcpu, at, bytes);
    default:
      return inRegister(vcpu, at, bytes);
  }
}

/** The operand `before` out of `entry`. */
function extract(bytes: number): void {
  const offset = address.lo & 7;
  if (bytes === 8) set(before, entry.lo, entry.hi);
  else {
    set(before, (((offset & 4) === 0 ? entry.lo : entry.hi) >>> ((offset & 3) * 8)) | 0, 0);
    trim(before, bytes);
  }
}

/** Writes `after` as the operand, if the entry that comes of it may be. */
function store(vcpu: Vcpu, at: number, bytes: number): boolean {
  const { domain } = vcpu;
  const tables = domain.hypervisor.pageTables;
  const offset = address.lo & 7;
  let { lo, hi } = entry;
  if (bytes === 8) ({ lo, hi } = after);
  else {
    const shift = (offset & 3) * 8;
    const mask = bytes === 4 ? -1 : ((1 << (8 * bytes)) - 1) << shift;
    if ((offset & 4) === 0) lo = (lo & ~mask) | ((after.lo << shift) & mask);
    else hi = (hi & ~mask) | ((after.lo << shift) & mask);
  }
  if (tables.modL1(at, lo, hi, false, domain, domain.domid) === 0) return true;
  // A PAE guest that writes the upper half first: the lower one, which makes it right, is about to follow.
  const isUpperHalf = domain.pv!.is32bit && bytes === 4 && offset === 4 && instruction.lock === 0;
  return isUpperHalf && (lo & PTE_P) !== 0 && tables.modL1(at, lo & ~PTE_P, hi, false, domain, domain.domid) === 0;
}

function compareExchange8(vcpu: Vcpu, at: number): boolean {
  const { core } = vcpu;
  const { i32 } = core;
  // CMPXCHG16B is too wide for an entry.
  if (instruction.size[0] !== 8) return false;
  const isEqual = i32[registerAt(REG_AX)] === before.lo && i32[registerAt(REG_DX)] === before.hi;
  if (isEqual) {
    set(after, i32[registerAt(REG_BX)]!, i32[registerAt(REG_CX)]!);
    if (!store(vcpu, at, 8)) return false;
  } else {
    for (const [reg, value] of [
      [REG_AX, before.lo],
      [REG_DX, before.hi],
    ] as const) {
      i32[registerAt(reg)] = value;
      i32[registerAt(reg) + 1] = 0;
    }
  }
  setArithmeticFlags(core, (getFlags(core) & FLAGS_ARITHMETIC & ~FLAG_ZF) | (isEqual ? FLAG_ZF : 0));
  return true;
}

function bitOperation(vcpu: Vcpu, at: number, bytes: number): boolean {
  const ins = instruction;
  const { core } = vcpu;
  const number = ins.kind[1] === I.OP_GPR ? core.i32[registerAt(ins.reg[1]!)]! : ins.immLo;
  const bit = number & (bytes * 8 - 1);
  const mask = 1 << (bit & 31);
  const isSet = ((bit < 32 ? before.lo : before.hi) & mask) !== 0;
  const change = (word: number): number =>
    ins.mn === MN.MN_BTS ? word | mask : ins.mn === MN.MN_BTR ? word & ~mask : word ^ mask;
  if (bit < 32) set(after, change(before.lo), before.hi);
  else set(after, before.lo, change(before.hi));
  if (!store(vcpu, at, bytes)) return false;
  setArithmeticFlags(core, (getFlags(core) & FLAGS_ARITHMETIC & ~FLAG_CF) | (isSet ? FLAG_CF : 0));
  return true;
}

/** One element of STOS or MOVS. With REP the instruction is executed again, as long as RCX says. */
function stringStore(vcpu: Vcpu, at: number, bytes: number): boolean {
  const ins = instruction;
  const { core } = vcpu;
  const { i32 } = core;
  const isMove = ins.mn === MN.MN_MOVS;
  if (isMove) {
    const target = new Words();
    set(target, address.lo, address.hi);
    set(address, i32[RSI]!, i32[RSI + 1]!);
    linear(vcpu, ins.seg);
    if (!loadWords(vcpu, address.lo, address.hi, bytes)) return true;
    set(address, target.lo, target.hi);
  } else readRegister(vcpu, REG_AX, bytes, after);
  if (!store(vcpu, at, bytes)) return false;
  const step = (getFlags(core) & FLAG_DF) !== 0 ? -bytes : bytes;
  advanceRegister(vcpu, I.REG_DI, step);
  if (isMove) advanceRegister(vcpu, I.REG_SI, step);
  if (ins.rep === 0) return true;
  advanceRegister(vcpu, REG_CX, -1);
  const cx = registerAt(REG_CX);
  // RIP stays for as long as there is something left.
  if (i32[cx] !== 0 || (ins.addrSize === 8 && i32[cx + 1] !== 0)) ins.length = 0;
  return true;
}

function advanceRegister(vcpu: Vcpu, n: number, step: number): void {
  const value = new Words();
  readRegister(vcpu, n, instruction.addrSize, value);
  addTo(value, step, step >> 31);
  writeRegister(vcpu, n, instruction.addrSize, value);
}

// --- what is rare ------------------------------------------------------------------------------

/** ADD, SHL, SETcc and the like: whatever has the same form with a register. */
function inRegister(vcpu: Vcpu, at: number, bytes: number): boolean {
  if (!hasRegisterForm(instruction)) return false;
  saveRegisters(vcpu.core);
  executeInRegister(vcpu.core, instruction, before, after);
  trim(after, bytes);
  if (store(vcpu, at, bytes)) return true;
  restoreRegisters(vcpu.core);
  return false;
}

function moveSwapped(vcpu: Vcpu, at: number, bytes: number): boolean {
  if (!readSource(vcpu, bytes)) return false;
  const { lo, hi } = source;
  if (bytes === 8) set(after, swap(hi), swap(lo));
  else set(after, bytes === 4 ? swap(lo) : swap(lo) >>> 16, 0);
  return store(vcpu, at, bytes);
}

const swap = (n: number): number => (n << 24) | ((n & 0xff00) << 8) | ((n >>> 8) & 0xff00) | (n >>> 24);

/** PUSH: the stack is the page table. */
function push(vcpu: Vcpu, at: number, bytes: number): boolean {
  const ins = instruction;
  const { core } = vcpu;
  if (ins.mn === MN.MN_PUSHF) set(after, getFlags(core) & ~(FLAG_VM | FLAG_RF), 0);
  else if (ins.kind[0] === I.OP_IMM) set(after, ins.immLo, ins.immHi);
  else readRegister(vcpu, ins.reg[0]!, bytes, after);
  trim(after, bytes);
  if (!store(vcpu, at, bytes)) return false;
  moveStack(vcpu, -bytes);
  return true;
}

/** POP into the page table, from a stack that is elsewhere. */
function pop(vcpu: Vcpu, at: number, bytes: number): boolean {
  const { i32 } = vcpu.core;
  if (!loadWords(vcpu, i32[RSP]!, instruction.mode === 64 ? i32[RSP + 1]! : 0, bytes)) return true;
  if (!store(vcpu, at, bytes)) return false;
  moveStack(vcpu, bytes);
  return true;
}

function moveStack(vcpu: Vcpu, step: number): void {
  const value = new Words();
  readRegister(vcpu, I.REG_SP, 8, value);
  addTo(value, step, step >> 31);
  writeRegister(vcpu, I.REG_SP, instruction.mode === 64 ? 8 : 4, value);
}

/** Loads an operand from elsewhere into `after`. @returns false on a fault there, which is the guest's */
function loadWords(vcpu: Vcpu, lo: number, hi: number, bytes: number): boolean {
  loaded.fill(0);
  if (!readGuestBytes(vcpu, lo, hi, loadedBytes, bytes)) {
    injectPageFault(vcpu, failed.lo, failed.hi, 0);
    isFaulted = true;
    return false;
  }
  set(after, loaded[0]!, loaded[1]!);
  return true;
}

setReadOnlyFault(readOnlyFault);
