/**
 * Writable page tables (pv/ro-page-fault.c): a guest's kernel may write to its L1 tables as if they were ordinary memory. They are mapped
 * read-only, so that the store faults; Xen decodes the instruction, checks the entry that would come of it as mmu_update does, and
 * does the store. An instruction that it does not know, or an entry that may not be, is the guest's page fault.
 */
import { S_SEGBASE, SLOTS } from "../../cpu/arena.ts";
import * as I from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import {
  FLAG_AF,
  FLAG_CF,
  FLAG_DF,
  FLAG_OF,
  FLAG_PF,
  FLAG_SF,
  FLAG_ZF,
  FLAGS_ARITHMETIC,
  getFlags,
  setArithmeticFlags,
} from "../../cpu/flags.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_PV_EMULATE } from "../hypercalls/costs.ts";
import { PGT_l1_page_table } from "../memory/page-types.ts";
import { FETCH_FAULT, FETCHED, fetchInstruction, instruction } from "./decode.ts";
import { instructionDone } from "./emulate.ts";
import { readGuestWords } from "./guest-words.ts";
import { chargeTables } from "./mmu-update.ts";
import { setReadOnlyFault } from "./page-fault.ts";
import { PTE_P, PTE_RW } from "./pte.ts";
import { RAX, RDI, RIP, RSI } from "./registers.ts";
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
  const done = emulate(vcpu, mfn, bytes);
  chargeTables(vcpu, 1);
  if (done) instructionDone(vcpu, instruction.length);
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
    case MN.MN_CMPXCHG:
      return compareExchange(vcpu, at, bytes);
    case MN.MN_CMPXCHG8B:
      return compareExchange8(vcpu, at);
    case MN.MN_BTS:
    case MN.MN_BTR:
    case MN.MN_BTC:
      return bitOperation(vcpu, at, bytes);
    case MN.MN_STOS:
    case MN.MN_MOVS:
      return stringStore(vcpu, at, bytes);
    case MN.MN_AND:
    case MN.MN_OR:
    case MN.MN_XOR:
      if (!readSource(vcpu, bytes)) return false;
      logic();
      if (!store(vcpu, at, bytes)) return false;
      setArithmeticFlags(core, resultFlags(after, bytes));
      return true;
    default:
      return arithmetic(vcpu, at, bytes);
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

function compareExchange(vcpu: Vcpu, at: number, bytes: number): boolean {
  if (!readSource(vcpu, bytes)) return false;
  const wanted = new Words();
  readRegister(vcpu, REG_AX, bytes, wanted);
  const isEqual = wanted.lo === before.lo && wanted.hi === before.hi;
  if (isEqual) {
    set(after, source.lo, source.hi);
    if (!store(vcpu, at, bytes)) return false;
  } else writeRegister(vcpu, REG_AX, bytes, before);
  setArithmeticFlags(vcpu.core, sumFlags(toBig(wanted), toBig(before), bytes, true, 0n));
  return true;
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
    // Read as whole words around it; what faults there is the guest's to see as it stands.
    if (bytes < 4 || !readGuestWords(vcpu, address.lo, address.hi, loaded, bytes >>> 2)) return false;
    set(after, loaded[0]!, bytes === 8 ? loaded[1]! : 0);
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

function logic(): void {
  const { mn } = instruction;
  if (mn === MN.MN_AND) set(after, before.lo & source.lo, before.hi & source.hi);
  else if (mn === MN.MN_OR) set(after, before.lo | source.lo, before.hi | source.hi);
  else set(after, before.lo ^ source.lo, before.hi ^ source.hi);
}

// --- what is rare: with BigInt -----------------------------------------------------------------

const toBig = (v: Words): bigint => (BigInt(v.hi >>> 0) << 32n) | BigInt(v.lo >>> 0);

function fromBig(v: Words, value: bigint, bytes: number): void {
  set(v, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  trim(v, bytes);
}

/** ADD, ADC, SUB, SBB, XADD, INC, DEC, NEG, NOT of memory. */
function arithmetic(vcpu: Vcpu, at: number, bytes: number): boolean {
  const { core } = vcpu;
  const { mn, reg } = instruction;
  const flags = getFlags(core);
  const carry = BigInt(flags & FLAG_CF);
  const old = toBig(before);
  const unary = mn === MN.MN_INC || mn === MN.MN_DEC || mn === MN.MN_NEG || mn === MN.MN_NOT;
  if (!unary && !readSource(vcpu, bytes)) return false;
  const operand = mn === MN.MN_INC || mn === MN.MN_DEC ? 1n : toBig(source);
  let result: bigint;
  let newFlags: number;
  switch (mn) {
    case MN.MN_ADD:
    case MN.MN_XADD:
      result = old + operand;
      newFlags = sumFlags(old, operand, bytes, false, 0n);
      break;
    case MN.MN_ADC:
      result = old + operand + carry;
      newFlags = sumFlags(old, operand, bytes, false, carry);
      break;
    case MN.MN_SUB:
      result = old - operand;
      newFlags = sumFlags(old, operand, bytes, true, 0n);
      break;
    case MN.MN_SBB:
      result = old - operand - carry;
      newFlags = sumFlags(old, operand, bytes, true, carry);
      break;
    case MN.MN_INC:
      result = old + 1n;
      newFlags = (sumFlags(old, 1n, bytes, false, 0n) & ~FLAG_CF) | (flags & FLAG_CF);
      break;
    case MN.MN_DEC:
      result = old - 1n;
      newFlags = (sumFlags(old, 1n, bytes, true, 0n) & ~FLAG_CF) | (flags & FLAG_CF);
      break;
    case MN.MN_NEG:
      result = -old;
      newFlags = sumFlags(0n, old, bytes, true, 0n);
      break;
    case MN.MN_NOT:
      result = ~old;
      newFlags = flags;
      break;
    default:
      return false;
  }
  fromBig(after, result, bytes);
  if (!store(vcpu, at, bytes)) return false;
  if (mn === MN.MN_XADD) writeRegister(vcpu, reg[1]!, bytes, before);
  setArithmeticFlags(core, newFlags & FLAGS_ARITHMETIC);
  return true;
}

/** SF, ZF and PF of a result. */
function resultFlags(v: Words, bytes: number): number {
  const top = bytes === 8 ? v.hi >>> 31 : (v.lo >>> (8 * bytes - 1)) & 1;
  let p = v.lo & 0xff;
  p ^= p >>> 4;
  return (
    (top !== 0 ? FLAG_SF : 0) | ((v.lo | v.hi) === 0 ? FLAG_ZF : 0) | (((0x9669 >>> (p & 15)) & 1) !== 0 ? FLAG_PF : 0)
  );
}

/** All flags of a + b + carry, or of a - b - carry. */
function sumFlags(a: bigint, b: bigint, bytes: number, subtract: boolean, carry: bigint): number {
  const bits = 8 * bytes;
  const full = subtract ? a - b - carry : a + b + carry;
  const result = BigInt.asUintN(bits, full);
  const words = new Words();
  fromBig(words, result, bytes);
  const top = 1n << BigInt(bits - 1);
  const overflow = subtract ? (a ^ b) & (a ^ result) & top : ~(a ^ b) & (a ^ result) & top;
  return (
    resultFlags(words, bytes) |
    (result !== full ? FLAG_CF : 0) |
    (overflow !== 0n ? FLAG_OF : 0) |
    (((a ^ b ^ result) & 0x10n) !== 0n ? FLAG_AF : 0)
  );
}

setReadOnlyFault(readOnlyFault);
