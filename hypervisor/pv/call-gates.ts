/**
 * Far calls and jumps of 32-bit PV guests through call gates (pv/emul-gate-op.c). Long mode has no such gates, so that check-descriptor.ts
 * gives those of the guest DPL 0, with the guest's DPL in the RPL of the gate's selector: whoever uses one gets #GP with the gate in its
 * error code, and Xen goes through the gate for him.
 */
import { VEC_GP, VEC_NP, VEC_SS, VEC_TS } from "../../cpu/core.ts";
import { OP_FAR, OP_MEM, REG_NONE } from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import { getFlags } from "../../cpu/flags.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_PV_EMULATE } from "../hypercalls/costs.ts";
import { FETCH_FAULT, FETCHED, fetchInstruction, instruction } from "./decode.ts";
import { instructionDone } from "./emulated.ts";
import { addressOk, failed, readGuestBytes, readGuestWords, writeGuestWords } from "./guest-words.ts";
import { injectPageFault, injectTrap } from "./inject.ts";
import * as R from "./registers.ts";
import { iretToGuest } from "./return.ts";
import { descriptorAt, readSegment, type SegmentView } from "./segment-view.ts";

/** Bits of a descriptor's high word: S and type, of which a 32-bit call gate is 0c00; DPL; present. */
const TYPE = 0x1f00;
const CALL_GATE = 0xc00;
const DPL = 0x6000;
const PRESENT = 0x8000;
const KERNEL_RING = 1;
const PFEC_write_access = 2;

interface Gate {
  readonly dpl: number;
  readonly present: boolean;
  /** Dwords that a call to an inner ring copies. */
  readonly parameters: number;
  readonly selector: number;
  readonly offset: number;
}

/** A fault in place of the instruction: vector, error code; or one that waits already. */
interface Fault {
  readonly vector: number;
  readonly error: number;
}
const WAITS: Fault = { vector: -1, error: 0 };

/** The gate that `selector` names, null if it is none. */
function gateAt(vcpu: Vcpu, selector: number): Gate | null {
  const pv = vcpu.pv!;
  const entries = selector & 4 ? pv.ldtEntries : pv.gdtEntries;
  if (selector < 4 || selector >>> 3 >= entries) return null;
  const at = descriptorAt(vcpu, selector);
  if (at < 0) return null;
  const lo = vcpu.core.i32[at >>> 2]!;
  const hi = vcpu.core.i32[(at >>> 2) + 1]!;
  if ((hi & (TYPE | DPL)) !== CALL_GATE) return null;
  return {
    dpl: (lo >>> 16) & 3,
    present: (hi & PRESENT) !== 0,
    parameters: hi & 0x1f,
    selector: (lo >>> 16) & 0xfffc,
    offset: ((lo & 0xffff) | (hi & 0xffff0000)) >>> 0,
  };
}

const pointer = new Uint8Array(2);

/** The selector in the operand of `instruction`, -1 if it is no far call or jump, -2 if reading it faults, which waits then. */
function operandSelector(vcpu: Vcpu): number {
  const ins = instruction;
  if (ins.mn !== MN.MN_CALLF && ins.mn !== MN.MN_JMPF) return -1;
  if (ins.kind[0] === OP_FAR) return ins.imm2 & 0xffff;
  if (ins.kind[0] !== OP_MEM) return -1;
  const i = vcpu.core.i32;
  const register = (n: number): number => (n === REG_NONE ? 0 : i[R.RAX + n * 2]!);
  // The offset is in front of the selector.
  const mask = ins.addrSize === 2 ? 0xffff : 0xffffffff;
  const ea = ((register(ins.base) + (register(ins.index) << ins.scale) + ins.disp) & mask) >>> 0;
  const offset = (ea + ins.opSize) >>> 0;
  const segment = readSegment(vcpu, i[R.selectorAt(ins.seg)]! & 0xffff);
  if (segment === null || !segment.isSegment || !segment.present) return -1;
  if (segment.isCode && !segment.isWritable) return -1;
  if (segment.limit < 1 || offset > segment.limit - 1) return -1;
  if (!readGuestBytes(vcpu, (segment.base + offset) | 0, 0, pointer, 2)) {
    injectPageFault(vcpu, failed.lo, 0, 0);
    return -2;
  }
  return pointer[0]! | (pointer[1]! << 8);
}

/** check_stack_limit: `bytes` below `esp` are in the segment. */
function stackHolds(s: SegmentView, esp: number, bytes: number): boolean {
  const lowest = (esp - bytes) >>> 0;
  const highest = (esp - 1) >>> 0;
  const expandsDown = (s.attr & 4) !== 0;
  return lowest < highest && (expandsDown ? lowest > s.limit : highest <= s.limit);
}

const isStack = (s: SegmentView | null, ring: number): s is SegmentView =>
  s?.dpl === ring && s.isSegment && !s.isCode && s.isWritable;

const word: Int32Array = new Int32Array(1);

/** Pushes dwords, downwards from a linear address. */
class Stack {
  private readonly vcpu: Vcpu;
  private linear: number;

  constructor(vcpu: Vcpu, linear: number) {
    this.vcpu = vcpu;
    this.linear = linear;
  }

  /** @returns false on a page fault, which waits then */
  push(value: number): boolean {
    this.linear = (this.linear - 4) | 0;
    word[0] = value;
    if (writeGuestWords(this.vcpu, this.linear, 0, word, 1)) return true;
    injectPageFault(this.vcpu, failed.lo, 0, PFEC_write_access);
    return false;
  }
}

/** Where a call leads: the stack there. */
class Target {
  ss = 0;
  esp = 0;
}

/** The frame of a call that stays in its ring. @returns null, with `target` filled */
function callSameRing(vcpu: Vcpu, selector: number, gateError: number, next: number, target: Target): Fault | null {
  const i = vcpu.core.i32;
  const ring = selector & 3;
  target.ss = i[R.SS]! & 0xffff;
  target.esp = i[R.RSP]!;
  const stack = readSegment(vcpu, target.ss);
  if (stack === null || stack.dpl !== ring) return { vector: VEC_GP, error: gateError };
  if (!stackHolds(stack, target.esp, 8)) return { vector: VEC_SS, error: 0 };
  const linear = (stack.base + target.esp) | 0;
  if (!addressOk(vcpu, (linear - 8) | 0, 0)) return { vector: VEC_GP, error: gateError };
  const frame = new Stack(vcpu, linear);
  target.esp = (target.esp - 8) | 0;
  return frame.push(i[R.CS]! & 0xffff) && frame.push(next) ? null : WAITS;
}

/** The frame of a call into the kernel, on the kernel's stack. @returns null, with `target` filled */
function callKernel(vcpu: Vcpu, gate: Gate, gateError: number, next: number, target: Target): Fault | null {
  const i = vcpu.core.i32;
  const pv = vcpu.pv!;
  const bytes = (4 + gate.parameters) * 4;
  target.ss = pv.kernelSs;
  target.esp = pv.kernelSpLo;
  const bad = { vector: VEC_TS, error: target.ss & 0xfffc };
  if ((target.ss & 3) !== KERNEL_RING) return bad;
  const inner = readSegment(vcpu, target.ss);
  if (!isStack(inner, KERNEL_RING)) return bad;
  if (!inner.present || !stackHolds(inner, target.esp, bytes)) return { vector: VEC_SS, error: target.ss & 0xfffc };
  const linear = (inner.base + target.esp) | 0;
  if (!addressOk(vcpu, (linear - bytes) | 0, 0)) return { vector: VEC_GP, error: gateError };
  const frame = new Stack(vcpu, linear);
  target.esp = (target.esp - bytes) | 0;
  if (!frame.push(i[R.SS]! & 0xffff) || !frame.push(i[R.RSP]!)) return WAITS;
  if (gate.parameters > 0) {
    const outer = readSegment(vcpu, i[R.SS]! & 0xffff);
    const top = (i[R.RSP]! + gate.parameters * 4) | 0;
    if (!isStack(outer, i[R.CS]! & 3) || !stackHolds(outer, top, gate.parameters * 4))
      return { vector: VEC_GP, error: gateError };
    const from = (outer.base + top) | 0;
    if (!addressOk(vcpu, (from - gate.parameters * 4) | 0, 0)) return { vector: VEC_GP, error: gateError };
    for (let n = 1; n <= gate.parameters; n++) {
      if (!readGuestWords(vcpu, (from - n * 4) | 0, 0, word, 1)) {
        injectPageFault(vcpu, failed.lo, 0, 0);
        return WAITS;
      }
      if (!frame.push(word[0]!)) return WAITS;
    }
  }
  return frame.push(i[R.CS]! & 0xffff) && frame.push(next) ? null : WAITS;
}

/** Goes through the gate that `error`, the #GP's error code, names. @returns the fault in its place, null if done */
function throughGate(vcpu: Vcpu, error: number): Fault | null {
  const refused = { vector: VEC_GP, error };
  const i = vcpu.core.i32;
  const cpl = i[R.CS]! & 3;
  const gate = gateAt(vcpu, error);
  if (gate === null || gate.dpl < cpl) return refused;
  if (!gate.present) return { vector: VEC_NP, error };
  const fetched = fetchInstruction(vcpu);
  if (fetched !== FETCHED) return fetched === FETCH_FAULT ? WAITS : refused;
  const operand = operandSelector(vcpu);
  if (operand === -2) return WAITS;
  if (operand < 0 || (operand & 0xfffc) !== error || gate.dpl < (operand & 3)) return refused;
  const isJump = instruction.mn === MN.MN_JMPF;
  const next = (i[R.RIP]! + instruction.length) | 0;

  const code = readSegment(vcpu, gate.selector);
  const toOuter = code === null || !code.isCode || (!isJump || code.isConforming ? code.dpl > cpl : code.dpl !== cpl);
  if (toOuter) return { vector: VEC_GP, error: gate.selector };
  if (!code.present) return { vector: VEC_NP, error: gate.selector };
  if (gate.offset > code.limit) return { vector: VEC_GP, error: 0 };
  // As Xen does: a conforming segment's DPL counts here as that of any other.
  const ring = isJump || code.dpl >= cpl ? cpl : code.dpl;
  const target = new Target();
  target.ss = i[R.SS]! & 0xffff;
  target.esp = i[R.RSP]!;
  if (!isJump) {
    if (ring < cpl && ring !== KERNEL_RING) return refused;
    const fault =
      ring < cpl
        ? callKernel(vcpu, gate, error, next, target)
        : callSameRing(vcpu, gate.selector | ring, error, next, target);
    if (fault !== null) return fault;
  }
  const flags = getFlags(vcpu.core);
  if (iretToGuest(vcpu, gate.selector | ring, target.ss, gate.offset | 0, 0, target.esp, 0, flags))
    instructionDone(vcpu, 0);
  return null;
}

/** pv_emulate_gate_op: #GP with an error code that is not of the IDT. Does what the guest wanted, or gives it the fault it is to have. */
export function emulateGate(vcpu: Vcpu, error: number): void {
  vcpu.charge("exit", COST_PV_EMULATE);
  const fault = throughGate(vcpu, error);
  if (fault !== null && fault !== WAITS) injectTrap(vcpu, fault.vector, fault.error);
}
