/** From a region to the code of one WebAssembly function (type: interpreter/generate.ts TRANSLATED_TYPE). */

import * as A from "../arena.ts";
import { type Core, VEC_GP } from "../core.ts";
import { Assembler, I32, type Label, MEM, OP } from "../emit/assembler.ts";
import { push } from "../emit/emit-move.ts";
import { emitTable } from "../emit/table.ts";
import { notCanonical } from "../emit/words.ts";
import * as U from "../uops/uop.ts";
import { type Deadlines, placeLooks } from "./deadlines.ts";
import { REM, RIPL, T, TranslatorEmitter, VALID, Y } from "./emitter.ts";
import { flagsDead, NOTHING } from "./flags.ts";
import { type Edge, RETPOLINE_NOTE, type Region, type RegionBlock } from "./region.ts";
import { analyse, type Structure } from "./structure.ts";

export class RegionCompiler {
  private readonly core: Core;
  private readonly body: Assembler = new Assembler();
  private readonly out: Assembler = new Assembler();
  private readonly e: TranslatorEmitter;
  private region: Region = { blocks: [], pages: [] };
  private structure: Structure = { order: new Int32Array(0), children: [], isHeader: [], isMerge: [] };
  private deadlines: Deadlines = { need: new Int32Array(0), looks: new Set() };
  /** Where a branch to a block goes: its `loop`, or the `block` that ends where it begins. */
  private readonly loops: (Label | undefined)[] = [];
  private readonly merges: (Label | undefined)[] = [];
  /** Ends where RIP is set for leaving the region, to the offset on the stack. */
  private outside: Label | null = null;

  constructor(core: Core) {
    this.core = core;
    this.e = new TranslatorEmitter(this.body, core.u8, core.i32);
  }

  /**
   * @param callsOnMiss see U.BLOCK_MISSES
   * @returns the function's code, without its locals and final end, and its hints (Assembler.hints)
   */
  compile(region: Region, callsOnMiss: boolean): { code: Uint8Array; hints: number[] } {
    const { body, out, e } = this;
    this.region = region;
    this.structure = analyse(region);
    this.deadlines = placeLooks(region, this.structure);
    body.clear();
    out.clear();
    e.beginFunction(callsOnMiss);
    e.exit = body.block();
    this.outside = body.block(I32);
    this.tree(0);
    body.op(OP.unreachable);
    body.end();
    e.leaveFor();
    body.end();
    e.prologue(out, region.blocks[0]!.record, region.pages, this.deadlines.need[0]!);
    out.append(body);
    e.epilogue(out);
    return { code: out.bytes.slice(0, out.length), hints: [...out.hints] };
  }

  /** Emits block `b` and everything that it dominates. */
  private tree(b: number): void {
    const { body, structure } = this;
    const merging = structure.children[b]!.filter((child) => structure.isMerge[child]);
    // Flags are known along a single way into a block.
    if (structure.isHeader[b] || structure.isMerge[b]) this.e.known = NOTHING;
    if (structure.isHeader[b]) this.loops[b] = body.loop();
    // The last in reverse postorder is the outermost block: its code comes last.
    for (let i = merging.length - 1; i >= 0; i--) this.merges[merging[i]!] = body.block();
    this.code(b);
    for (const child of merging) {
      body.end();
      this.tree(child);
    }
    if (structure.isHeader[b]) body.end();
  }

  /** Pushes whether too little is left of the slice to go along an edge inside the region. @returns false: nothing is looked at there */
  private look(edge: Edge): boolean {
    const { body, e, deadlines } = this;
    if (!deadlines.looks.has(edge) && !e.calledOut) return false;
    body.get(REM);
    body.i32(deadlines.need[edge.to]!);
    body.op(OP.i32_le_s);
    body.unlikely();
    return true;
  }

  /** Goes along an edge: to a block of the region, or out. A page is entered only if it is in the fetch TLB. */
  private go(from: number, edge: Edge): void {
    const { body, e } = this;
    if (edge.offset !== (edge.offset | 0)) {
      this.leave(() => e.pageAddress(edge.offset));
      return;
    }
    body.i32(edge.offset);
    if (edge.to < 0) {
      body.br(this.outside!);
      return;
    }
    if (this.look(edge)) body.brIf(this.outside!);
    if (this.leavesPage(from, edge)) {
      body.get(VALID);
      body.op(OP.i32_eqz);
      body.unlikely();
      body.brIf(this.outside!);
    }
    body.op(OP.drop);
    this.jump(from, edge);
  }

  private leavesPage(from: number, edge: Edge): boolean {
    const { blocks } = this.region;
    const to = blocks[edge.to]!;
    return blocks[from]!.page !== to.page || to.crossing;
  }

  /** Goes along an edge inside the region, without a cut. */
  private jump(from: number, edge: Edge): void {
    const { body, structure, e } = this;
    const place = e.place();
    if (structure.order[edge.to]! <= structure.order[from]!) body.br(this.loops[edge.to]!);
    else if (structure.isMerge[edge.to]) body.br(this.merges[edge.to]!);
    else this.tree(edge.to);
    e.goBack(place);
  }

  /** Behind the accounting: goes to RIPL, which is compared with the places where the block may lead inside the region. */
  private computed(index: number): void {
    const { body } = this;
    const b = this.region.blocks[index]!;
    const targets = b.targets.filter((target) => target.to >= 0);
    if (targets.length > 0) {
      body.get(REM);
      body.i32(Math.max(...targets.map((target) => this.deadlines.need[target.to]!)));
      body.op(OP.i32_gt_s);
      body.likely();
      body.if();
      if (targets.length <= 3) this.compareTargets(index, targets);
      else this.hashTargets(index, targets);
      body.end();
    }
    this.leave(() => body.get(RIPL));
  }

  private compareTargets(index: number, targets: readonly Edge[]): void {
    const { body, e } = this;
    for (const target of targets) {
      body.get(RIPL);
      e.pageAddress(target.offset);
      body.op(OP.i64_eq);
      if (this.leavesPage(index, target)) {
        body.get(VALID);
        body.op(OP.i32_and);
      }
      body.if();
      this.jump(index, target);
      body.end();
    }
  }

  /** As compareTargets, where that would be many: a hash of the distance from the page selects the one to compare with. */
  private hashTargets(index: number, targets: readonly Edge[]): void {
    const { body, e } = this;
    const hash = perfectHash(targets.map((target) => target.offset));
    const miss = body.block();
    const cases: (Label | undefined)[] = [];
    const labels = targets.map(() => body.block()).reverse();
    targets.forEach((target, n) => {
      cases[hash.of(target.offset)] = labels[n]!;
    });
    const table = Array.from({ length: hash.size }, (_, n) => cases[n] ?? miss);
    e.pageDistance(RIPL);
    body.i32(hash.factor);
    body.op(OP.i32_mul);
    body.i32(hash.shift);
    body.op(OP.i32_shr_u);
    body.brTable(table, miss);
    targets.forEach((target) => {
      body.end();
      body.get(RIPL);
      e.pageAddress(target.offset);
      body.op(OP.i64_ne);
      if (this.leavesPage(index, target)) {
        body.get(VALID);
        body.op(OP.i32_eqz, OP.i32_or);
      }
      body.brIf(miss);
      this.jump(index, target);
    });
    body.end();
  }

  /** Leaves for the RIP that `push` pushes. */
  private leave(push: () => void): void {
    const { body } = this;
    body.i32(0);
    push();
    body.mem(MEM.i64_store, A.RIP);
    body.br(this.e.exit!);
  }

  /** Cycles are instructions here: REM counts both. */
  private account(instructions: number): void {
    const { body } = this;
    body.get(REM);
    body.i32(instructions);
    body.op(OP.i32_sub);
    body.set(REM);
  }

  private code(index: number): void {
    const { body, e } = this;
    const b = this.region.blocks[index]!;
    const faults = body.block(I32);
    e.beginBlock(b.offset, faults);
    this.straight(b);
    this.terminal(index);
    // (A structured `if` whose arms both branch seems to go on.)
    body.op(OP.unreachable);
    body.end();
    if (e.mayLeave) e.leaveBlock(b.record, b.offset);
    else body.op(OP.unreachable);
  }

  private straight(b: RegionBlock): void {
    const { e, core } = this;
    const table = emitTable();
    for (let u = b.record + U.BLOCK_HEADER_BYTES; u < b.terminal; u += U.UOP_BYTES) {
      e.beginUop(u, flagsDead(core.u16, u, b.terminal));
      table[core.u16[u >>> 1]!]!(e);
    }
  }

  private terminal(index: number): void {
    const { body, e, core } = this;
    const b = this.region.blocks[index]!;
    e.beginUop(b.terminal, false);
    const kind = core.u16[b.terminal >>> 1]!;
    const next = b.offset + b.bytes;
    if (kind === U.U_END || kind === U.U_JMP) {
      this.account(b.instructions);
      this.go(index, (b.straight ?? b.taken)!);
    } else if (kind >= U.U_JCC && kind < U.U_JCC + 16) {
      const cc = kind - U.U_JCC;
      e.makeKnown(cc);
      this.conditional(index, () => e.condition(cc));
    } else if (kind === U.U_JNZ_R || kind === U.U_JZ_R)
      this.conditional(index, () => {
        e.get("a", 3);
        body.op(OP.i64_eqz);
        if (kind === U.U_JNZ_R) body.op(OP.i32_eqz);
      });
    else if (kind === U.U_CALL) {
      e.pageAddress(next);
      body.set(Y);
      push(e);
      this.account(b.instructions);
      this.go(index, b.taken!);
    } else if (kind === U.U_JMP_R) {
      e.get("a", 3);
      body.set(Y);
      this.checkCanonical();
      body.get(Y);
      body.set(RIPL);
      this.account(b.instructions);
      this.computed(index);
    } else if (kind === U.U_CALL_R) {
      e.get("a", 3);
      body.tee(T);
      body.set(Y);
      this.checkCanonical();
      e.pageAddress(next);
      body.set(Y);
      push(e);
      body.get(T);
      body.set(RIPL);
      this.account(b.instructions);
      this.computed(index);
    } else {
      e.getFixed(A.S_RSP, 3);
      body.set(e.l.lin);
      e.loadAt(3);
      body.set(Y);
      this.returns(index);
    }
  }

  /** RET, with its target in Y and RSP in `lin`: first to where it is expected to go, which is canonical. */
  private returns(index: number): void {
    const { body, e, core } = this;
    const b = this.region.blocks[index]!;
    const bytes = 8 + core.i32[(b.terminal + 12) >>> 2]!;
    const finish = (): void => {
      e.openFixed();
      body.get(e.l.lin);
      body.i64(bytes);
      body.op(OP.i64_add);
      e.closeFixed(A.S_RSP, 3);
      this.account(b.instructions);
    };
    const targets = b.targets.filter((target) => target.to >= 0);
    if (targets.length > 1) {
      this.checkCanonical();
      body.get(Y);
      body.set(RIPL);
      finish();
      this.computed(index);
      return;
    }
    const expected = targets[0];
    if (expected !== undefined) {
      const other = body.block();
      body.get(Y);
      e.pageAddress(expected.offset);
      body.op(OP.i64_ne);
      if (this.leavesPage(index, expected)) {
        body.get(VALID);
        body.op(OP.i32_eqz, OP.i32_or);
      }
      body.unlikely();
      body.brIf(other);
      finish();
      if (this.look(expected)) {
        body.if();
        this.leave(() => body.get(Y));
        body.end();
      }
      this.jump(index, expected);
      body.end();
    }
    this.checkCanonical();
    finish();
    if (b.retpoline !== null) this.noteRetpoline(b.retpoline);
    this.leave(() => body.get(Y));
  }

  /** Notes where a retpoline goes, for the region that is made of this one. */
  private noteRetpoline(call: RegionBlock): void {
    const { body, e } = this;
    body.i32(0);
    e.pageDistance(Y);
    body.i32(call.offset);
    body.op(OP.i32_sub);
    body.mem(MEM.i32_store, call.terminal + RETPOLINE_NOTE);
  }

  /** Both edges of the condition that `push` pushes. */
  private conditional(index: number, push: () => void): void {
    const { body } = this;
    const b = this.region.blocks[index]!;
    this.account(b.instructions);
    push();
    body.if();
    this.go(index, b.taken!);
    body.else();
    this.go(index, b.straight!);
    body.end();
  }

  /** As the interpreter's: #GP(0) if local Y is not canonical. */
  private checkCanonical(): void {
    const { body, e } = this;
    notCanonical(body, Y);
    body.unlikely();
    body.if();
    e.fault(VEC_GP);
    body.end();
  }
}

/** (i32 * factor) >>> shift, below `size`, different for each of the keys. */
export interface PerfectHash {
  readonly factor: number;
  readonly shift: number;
  readonly size: number;
  of(key: number): number;
}

/** A perfect hash of distinct int32s, found by trying odd factors in a fixed order and then larger tables. */
export function perfectHash(keys: readonly number[]): PerfectHash {
  for (let bits = Math.max(2, Math.ceil(Math.log2(keys.length)) + 1); ; bits++) {
    const shift = 32 - bits;
    for (
      let tries = 0, factor = 0x9e3779b1 | 0;
      tries < 64;
      tries++, factor = (Math.imul(factor, 0x2c9277b5) + 2) | 1
    ) {
      const of = (key: number): number => Math.imul(key, factor) >>> shift;
      if (new Set(keys.map(of)).size === keys.length) return { factor, shift, size: 1 << bits, of };
    }
  }
}
