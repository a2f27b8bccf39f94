/** From a region to the code of one WebAssembly function (type: interpreter/generate.ts TRANSLATED_TYPE). */
import * as A from "../arena.ts";
import { type Core, VEC_GP } from "../core.ts";
import { Assembler, type Label, OP } from "../emit/assembler.ts";
import { push } from "../emit/emit-move.ts";
import { emitTable } from "../emit/table.ts";
import { TRANSLATED_GOES_ON } from "../interpreter/generate.ts";
import * as U from "../uops/uop.ts";
import { COND, INS, REM, RIPL, ST, T, TranslatorEmitter, Y } from "./emitter.ts";
import type { Edge, Region } from "./region.ts";
import { analyse, type Structure } from "./structure.ts";

export class RegionCompiler {
  private readonly core: Core;
  private readonly body: Assembler = new Assembler();
  private readonly out: Assembler = new Assembler();
  private readonly e: TranslatorEmitter;
  private region: Region = { blocks: [] };
  private structure: Structure = { order: new Int32Array(0), children: [], isHeader: [], isMerge: [] };
  /** Where a branch to a block goes: its `loop`, or the `block` that ends where it begins. */
  private readonly loops: (Label | undefined)[] = [];
  private readonly merges: (Label | undefined)[] = [];

  constructor(core: Core) {
    this.core = core;
    this.e = new TranslatorEmitter(this.body, core.u8, core.i32);
  }

  /** @returns the function's code, without its locals and final end. */
  compile(region: Region): Uint8Array {
    const { body, out, e } = this;
    this.region = region;
    this.structure = analyse(region);
    body.clear();
    out.clear();
    e.beginFunction();
    e.exit = body.block();
    this.tree(0);
    body.end();
    e.prologue(out);
    out.append(body);
    e.epilogue(out);
    return out.bytes.slice(0, out.length);
  }

  /** Emits block `b` and everything that it dominates. */
  private tree(b: number): void {
    const { body, structure } = this;
    const merging = structure.children[b]!.filter((child) => structure.isMerge[child]);
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

  /** Goes along an edge: to a block of the region, or out. */
  private follow(from: number, edge: Edge): void {
    const { body } = this;
    if (edge.to < 0) {
      this.e.pageAddress(edge.offset);
      body.set(RIPL);
      this.leave();
      return;
    }
    // Every edge is a cut: the deadline is tested.
    body.get(REM);
    body.i32(0);
    body.op(OP.i32_le_s);
    body.if();
    this.e.pageAddress(edge.offset);
    body.set(RIPL);
    body.i32(0);
    body.set(ST);
    body.br(this.e.exit!);
    body.end();
    this.jump(from, edge);
  }

  /** Goes along an edge inside the region, without a cut. */
  private jump(from: number, edge: Edge): void {
    const { body, structure } = this;
    if (structure.order[edge.to]! <= structure.order[from]!) body.br(this.loops[edge.to]!);
    else if (structure.isMerge[edge.to]) body.br(this.merges[edge.to]!);
    else this.tree(edge.to);
  }

  /** The dispatch node: RIPL, which has passed the test of the deadline, is compared with the targets. */
  private dispatch(index: number): void {
    const { body, e } = this;
    for (const target of this.region.blocks[index]!.targets) {
      if (target.to < 0) continue;
      body.get(RIPL);
      e.pageAddress(target.offset);
      body.op(OP.i64_eq);
      body.if();
      this.jump(index, target);
      body.end();
    }
    this.leave();
  }

  /** Leaves for RIPL: the slice has ended, or the dispatcher goes on. */
  private leave(): void {
    const { body } = this;
    body.i32(0);
    body.i32(TRANSLATED_GOES_ON);
    body.get(REM);
    body.i32(0);
    body.op(OP.i32_le_s, OP.select);
    body.set(ST);
    body.br(this.e.exit!);
  }

  private account(instructions: number): void {
    const { body } = this;
    body.get(INS);
    body.i32(instructions);
    body.op(OP.i32_add);
    body.set(INS);
    body.get(REM);
    body.i32(instructions);
    body.op(OP.i32_sub);
    body.set(REM);
  }

  private code(index: number): void {
    const { body, e, core } = this;
    const b = this.region.blocks[index]!;
    if (b.record < 0) {
      this.dispatch(index);
      return;
    }
    const table = emitTable();
    e.beginBlock(b.record, b.offset);
    for (let u = b.record + U.BLOCK_HEADER_BYTES; u < b.terminal; u += U.UOP_BYTES) {
      e.beginUop(u);
      table[core.u16[u >>> 1]!]!(e);
    }
    e.beginUop(b.terminal);
    const kind = core.u16[b.terminal >>> 1]!;
    const next = b.offset + b.bytes;
    if (kind === U.U_END || kind === U.U_JMP) {
      this.account(b.instructions);
      this.follow(index, (b.straight ?? b.taken)!);
    } else if (kind >= U.U_JCC && kind < U.U_JCC + 16) {
      e.condition(kind - U.U_JCC);
      this.conditional(index);
    } else if (kind === U.U_JNZ_R || kind === U.U_JZ_R) {
      e.get("a", 3);
      body.op(OP.i64_eqz);
      if (kind === U.U_JNZ_R) body.op(OP.i32_eqz);
      this.conditional(index);
    } else if (kind === U.U_CALL) {
      e.pageAddress(next);
      body.set(Y);
      push(e);
      this.account(b.instructions);
      this.follow(index, b.taken!);
    } else if (kind === U.U_JMP_R) {
      e.get("a", 3);
      body.set(Y);
      this.checkCanonical();
      this.computed(index, Y);
    } else if (kind === U.U_CALL_R) {
      e.get("a", 3);
      body.tee(T);
      body.set(Y);
      this.checkCanonical();
      e.pageAddress(next);
      body.set(Y);
      push(e);
      this.computed(index, T);
    } else {
      // RET
      e.getFixed(A.S_RSP, 3);
      body.set(e.l.lin);
      e.loadAt(3);
      body.set(Y);
      this.checkCanonical();
      e.openFixed();
      body.get(e.l.lin);
      body.i64(8 + core.i32[(b.terminal + 12) >>> 2]!);
      body.op(OP.i64_add);
      e.closeFixed(A.S_RSP, 3);
      this.computed(index, Y);
    }
  }

  /** With the condition on the stack: both edges. */
  private conditional(index: number): void {
    const { body } = this;
    const b = this.region.blocks[index]!;
    body.set(COND);
    this.account(b.instructions);
    body.get(COND);
    body.if();
    this.follow(index, b.taken!);
    body.else();
    this.follow(index, b.straight!);
    body.end();
  }

  /** Ends a block whose target is in a local. */
  private computed(index: number, target: number): void {
    const { body } = this;
    const b = this.region.blocks[index]!;
    this.account(b.instructions);
    body.get(target);
    body.set(RIPL);
    if (b.dispatch === null || b.dispatch.to < 0) {
      this.leave();
      return;
    }
    body.get(REM);
    body.i32(0);
    body.op(OP.i32_le_s);
    body.if();
    body.i32(0);
    body.set(ST);
    body.br(this.e.exit!);
    body.end();
    this.jump(index, b.dispatch);
  }

  /** As the interpreter's: #GP(0) if local Y is not canonical. */
  private checkCanonical(): void {
    const { body, e } = this;
    body.get(Y);
    body.i64(16);
    body.op(OP.i64_shl);
    body.i64(16);
    body.op(OP.i64_shr_s);
    body.get(Y);
    body.op(OP.i64_ne);
    body.if();
    e.fault(VEC_GP);
    body.end();
  }
}
