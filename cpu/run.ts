/**
 * The engine: runs a core to a deadline through the generated interpreter (or the reference evaluator), and does at
 * cuts what is due there: injected events, NMIs, interrupts, single steps. TypeScript here, WebAssembly inside the blocks.
 */
import * as A from "./arena.ts";
import {
  type Core,
  EXIT_DEADLINE,
  EXIT_IDLE,
  EXIT_INTR_WINDOW,
  EXIT_NMI_WINDOW,
  EXIT_PV,
  FAULT_TRAP,
  INTERCEPT_INTR_WINDOW,
  INTERCEPT_NMI_WINDOW,
  raise,
  VEC_GP,
} from "./core.ts";
import { FLAG_RF, FLAG_TF } from "./flags.ts";
import type { HostProfile } from "./host-profile.ts";
import { RUN_HOT, RUN_MISS } from "./interpreter/generate.ts";
import { linkInterpreter, makeEnvironment } from "./interpreter/link.ts";
import { fetchSlow, rmwSlow } from "./mmu/access.ts";
import { describeWalks } from "./mmu/quick.ts";
import { setFrameAttribute } from "./mmu/tlb.ts";
import { isAmd } from "./system/cpu-model.ts";
import { DR6_BS, hitsCodeBreakpoint } from "./system/dr.ts";
import {
  deliverDebug,
  deliverInjected,
  deliverInterrupt,
  deliverNmi,
  deliverPendingFault,
  interruptsDeliverable,
  nmiDeliverable,
} from "./system/exceptions.ts";
import { SHADOW_MOV_SS, updateMode } from "./system/mode.ts";
import { Translator } from "./translator/translator.ts";
import { BlockCache, instructionsBefore } from "./uops/block.ts";
import "./uops/lift-all.ts";
import {
  H_EXIT,
  H_EXIT_AT,
  H_FAULT,
  H_OK,
  H_RESTART,
  MODE_64,
  MODE_CODE_MASK,
  MODE_STEP,
  U_CALL_R,
} from "./uops/uop.ts";

/** Cycles that one call into WebAssembly may run at most. */
const LONGEST_SLICE = 0x3fffffff;

/** INTERRUPTIBILITY bits (SDM table 25-3). */
const SHADOW = 3;
/** `single` has executed its instruction and nothing else is due. */
const DONE = -2;

/** Executes blocks; `run(block)` as interpreter/generate.ts documents. */
export interface BlockRunner {
  run(block: number): number;
  /** Takes the blocks that have become warm (RUN_HOT), if the runner counts. */
  readonly translator?: Translator;
}

/** The generated interpreter alone. */
export function makeInterpreter(_engine: Engine | null, core: Core): BlockRunner {
  return { run: linkInterpreter(core, makeEnvironment(core)) };
}

/** The generated interpreter, and translations of what is warm. */
export function makeTranslator(engine: Engine | null, core: Core): BlockRunner {
  const environment = makeEnvironment(core);
  return {
    run: linkInterpreter(core, environment),
    ...(engine !== null && { translator: new Translator(core, engine.blocks, environment) }),
  };
}

export class Engine {
  readonly blocks: BlockCache;
  private readonly runner: BlockRunner;
  private readonly profile: HostProfile | null;

  /**
   * @param first any core of the group that this engine will run (all share one arena)
   * @param makeRunner how blocks are executed; the generated interpreter if absent
   */
  constructor(first: Core, makeRunner?: (engine: Engine, core: Core) => BlockRunner) {
    this.profile = first.shared.profile;
    this.blocks = new BlockCache(first);
    this.blocks.onCodePage = (frame) => setFrameAttribute(first, frame, A.FRAME_CODE);
    first.shared.invalidateCode = (address, bytes) => this.blocks.invalidate(address, bytes);
    this.runner = (makeRunner ?? makeTranslator)(this, first);
  }

  /** What translates, if the runner does. */
  get translator(): Translator | undefined {
    return this.runner.translator;
  }

  /**
   * Runs `core` until its cycle counter reaches `deadline` (absolute cycles) at a cut, or something needs its
   * controller. @returns an EXIT_* code; details are in the arena.
   */
  run(core: Core, deadline: number): number {
    const { profile } = this;
    if (profile === null) return this.runTo(core, deadline);
    profile.hypervisor.end();
    profile.engine.begin();
    const code = this.runTo(core, deadline);
    profile.engine.end();
    profile.hypervisor.begin();
    return code;
  }

  private runTo(core: Core, deadline: number): number {
    core.activate();
    describeWalks(core);
    this.runner.translator?.poll();
    const { i32, f64 } = core;
    for (;;) {
      if (i32[A.INJECT_INFO >>> 2] !== 0) {
        const exit = deliverInjected(core);
        if (exit !== 0) return exit;
      }
      // MOV SS holds back debug exceptions too, until after the next instruction (SDM vol. 3, 6.8.3).
      if (i32[A.PENDING_DEBUG >>> 2] !== 0 && (i32[A.INTERRUPTIBILITY >>> 2]! & SHADOW_MOV_SS) === 0) {
        const exit = deliverDebug(core);
        if (exit !== 0) return exit;
      }
      const exit = this.interrupt(core);
      if (exit >= 0) {
        if (exit > 0) return exit;
        // A source that goes on asking (a level that no handler takes back) must not keep the controller out.
        if (core.now() >= deadline) return EXIT_DEADLINE;
        continue;
      }
      if (i32[A.ACTIVITY >>> 2] !== 0) return EXIT_IDLE;
      i32[A.EVENTS_WAIT >>> 2] = eventsWait(core) ? 1 : 0;
      const now = core.now();
      if (now >= deadline) return EXIT_DEADLINE;
      const left = Math.min(deadline - now, LONGEST_SLICE);
      f64[A.SLICE_END >>> 3] = now + left;
      i32[A.REMAINING >>> 2] = left;
      const code = (i32[A.MODE >>> 2]! & MODE_STEP) !== 0 ? this.stepAtCut(core) : this.execute(core);
      f64[A.INSTRET >>> 3]! += i32[A.INSNS >>> 2]!;
      i32[A.INSNS >>> 2] = 0;
      if (code >= 0) return code;
    }
  }

  /** Takes an NMI or interrupt if one can be taken at this cut: 0 delivered, > 0 exit, -1 none. */
  private interrupt(core: Core): number {
    const { i32, controls } = core;
    if (nmiDeliverable(core)) {
      if (i32[A.NMI_PENDING >>> 2] !== 0) return deliverNmi(core);
      if (controls.intercepts & INTERCEPT_NMI_WINDOW) return EXIT_NMI_WINDOW;
    }
    if (!interruptsDeliverable(core)) return -1;
    const vector = core.interrupts === null ? -1 : core.interrupts.pending();
    if (vector >= 0) return deliverInterrupt(core, vector);
    return controls.intercepts & INTERCEPT_INTR_WINDOW ? EXIT_INTR_WINDOW : -1;
  }

  private runBlocks(block: number): number {
    this.blocks.settle();
    const { profile } = this;
    if (profile === null) return this.runner.run(block);
    profile.engine.end();
    const status = this.runner.run(block);
    profile.engine.begin();
    return status;
  }

  /** Runs blocks until the slice ends (-1) or an exit is due (EXIT_*). */
  private execute(core: Core): number {
    const { i32 } = core;
    let block = 0;
    for (;;) {
      const status = this.runBlocks(block);
      block = 0;
      switch (status) {
        case 0:
          return -1;
        case RUN_MISS: {
          block = this.find(core);
          if (block < 0) return this.fetchFault(core);
          break;
        }
        case RUN_HOT:
          block = core.i32[A.BLOCK >>> 2]!;
          this.runner.translator!.warm(block);
          break;
        case H_EXIT:
          return core.i32[A.EXIT_REASON >>> 2]!;
        case H_RESTART: {
          this.rollBack(core);
          core.repeating = false;
          const code = this.single(core);
          if (code !== DONE) return code;
          if (core.repeating && i32[A.PENDING_DEBUG >>> 2] !== 0) i32[A.RFLAGS_SYS >>> 2]! |= FLAG_RF;
          // What the instruction hit or began is due at once; and where a block has one instruction, its end is a cut.
          if (this.blocks.longest === 1) return -1;
          if ((i32[A.PENDING_DEBUG >>> 2]! | i32[A.INJECT_INFO >>> 2]! | (i32[A.MODE >>> 2]! & MODE_STEP)) !== 0)
            return -1;
          break;
        }
        default: {
          this.rollBack(core);
          if (this.stackFirst(core, status) === H_EXIT_AT) return core.i32[A.EXIT_REASON >>> 2]!;
          const exit = this.fault(core);
          if (exit >= 0 || this.isDue(core)) return exit;
        }
      }
    }
  }

  /** Something is to be done at this cut before a block is run. Whoever makes an event deliverable ends the slice. */
  private isDue({ i32 }: Core): boolean {
    return (
      i32[A.REMAINING >>> 2]! <= 0 ||
      (i32[A.MODE >>> 2]! & MODE_STEP) !== 0 ||
      (i32[A.PENDING_DEBUG >>> 2]! | i32[A.INJECT_INFO >>> 2]!) !== 0
    );
  }

  /**
   * One instruction alone at a cut: under TF, in an interrupt shadow, or with breakpoints set. The shadow ends with it, the
   * single-step trap and what breakpoints found come after it (SDM vol. 3, 17.3).
   */
  private stepAtCut(core: Core): number {
    const { i32 } = core;
    // A breakpoint behind MOV SS is lost on Intel's processors; AMD's take it.
    const lost = (i32[A.INTERRUPTIBILITY >>> 2]! & SHADOW_MOV_SS) !== 0 && !isAmd(core);
    if (!lost && hitsCodeBreakpoint(core)) {
      const exit = deliverDebug(core);
      return exit === 0 ? -1 : exit;
    }
    const shadow = i32[A.INTERRUPTIBILITY >>> 2]! & SHADOW;
    const trap = (i32[A.RFLAGS_SYS >>> 2]! & FLAG_TF) !== 0;
    // Cleared first: an instruction that begins a shadow of its own sets it again, and so does IRET with RF.
    i32[A.INTERRUPTIBILITY >>> 2]! &= ~shadow;
    i32[A.RFLAGS_SYS >>> 2]! &= ~FLAG_RF;
    core.stepDiscarded = false;
    core.repeating = false;
    const code = this.single(core);
    // Between the elements of a repeated instruction RF is set, so that its breakpoint hits once.
    if (core.repeating && code === DONE) i32[A.RFLAGS_SYS >>> 2]! |= FLAG_RF;
    if (shadow !== 0 && (i32[A.INTERRUPTIBILITY >>> 2]! & SHADOW) === 0) updateMode(core);
    if (code !== DONE) return code;
    // MOV SS loses its own single step, as if there were none.
    const held = (i32[A.INTERRUPTIBILITY >>> 2]! & SHADOW_MOV_SS) !== 0;
    if (trap && !core.stepDiscarded && !held) i32[A.PENDING_DEBUG >>> 2]! |= DR6_BS;
    return -1;
  }

  /** Executes exactly one instruction in MODE_STEP without testing anything after it: DONE, else as `execute`. */
  private single(core: Core): number {
    const { i32, f64 } = core;
    const left = i32[A.REMAINING >>> 2]!;
    f64[A.SLICE_END >>> 3]! -= left;
    i32[A.REMAINING >>> 2] = 0;
    const stepping = i32[A.MODE >>> 2]! & MODE_STEP;
    i32[A.MODE >>> 2]! |= MODE_STEP;
    let code = DONE;
    let block = 0;
    for (;;) {
      const status = this.runBlocks(block);
      if (status === RUN_MISS) {
        block = this.find(core);
        if (block >= 0) continue;
        code = this.fetchFault(core);
      } else if (status === H_EXIT) code = i32[A.EXIT_REASON >>> 2]!;
      else if (status === H_EXIT_AT) {
        this.rollBack(core);
        code = i32[A.EXIT_REASON >>> 2]!;
      } else if (status !== H_OK) {
        this.rollBack(core);
        code = this.stackFirst(core, status) === H_EXIT_AT ? core.i32[A.EXIT_REASON >>> 2]! : this.fault(core);
      }
      break;
    }
    if (stepping === 0) updateMode(core);
    f64[A.SLICE_END >>> 3]! += left;
    i32[A.REMAINING >>> 2]! += left;
    return code;
  }

  /** The block at RIP; fills the fetch TLB. -1 after a fault was recorded. */
  private find(core: Core): number {
    const { i32 } = core;
    const lo = i32[A.RIP >>> 2]!;
    const hi = i32[(A.RIP + 4) >>> 2]!;
    const base = (A.SLOTS + A.S_CSBASE) >>> 2;
    const linear = (lo + i32[base]!) | 0;
    const carry = linear >>> 0 < lo >>> 0 ? 1 : 0;
    // Linear addresses outside 64-bit mode have 32 bits.
    const is64 = (i32[A.MODE >>> 2]! & MODE_CODE_MASK) === MODE_64;
    const linearHi = is64 ? (hi + i32[base + 1]! + carry) | 0 : 0;
    if (i32[A.FETCH_PAGE >>> 2] !== (linear & ~0xfff) || i32[(A.FETCH_PAGE + 4) >>> 2] !== linearHi) {
      this.fetchStatus = fetchSlow(core, linear, linearHi);
      if (this.fetchStatus !== H_OK) return -1;
    }
    const page = i32[A.FETCH_ARENA >>> 2]!;
    const from = (page | (linear & 0xfff)) >>> 0;
    return this.blocks.get(from, () => {
      // The page after: look it up, then come back to the page of the first byte.
      const next = ((linear & ~0xfff) + 0x1000) | 0;
      const nextHi = next === 0 ? (linearHi + 1) | 0 : linearHi;
      this.fetchStatus = fetchSlow(core, next, is64 ? nextHi : 0);
      if (this.fetchStatus !== H_OK) {
        i32[A.FETCH_PAGE >>> 2] = -1;
        i32[(A.FETCH_PAGE + 4) >>> 2] = -1;
        return -1;
      }
      const second = i32[A.FETCH_ARENA >>> 2]! >>> 0;
      i32[A.FETCH_PAGE >>> 2] = linear & ~0xfff;
      i32[(A.FETCH_PAGE + 4) >>> 2] = linearHi;
      i32[A.FETCH_ARENA >>> 2] = page;
      return second;
    });
  }
  /** What the last failing fetch was: H_FAULT or H_EXIT_AT. */
  private fetchStatus = H_OK;

  /** Ends `execute` after `find` failed. */
  private fetchFault(core: Core): number {
    return this.fetchStatus === H_EXIT_AT ? core.i32[A.EXIT_REASON >>> 2]! : this.fault(core);
  }

  /** Delivers the recorded fault, RIP being at the instruction that has it (a trap's RIP goes past it). */
  private fault(core: Core): number {
    const flags = core.i32[A.FAULT_FLAGS >>> 2]!;
    // It costs a cycle also where no instruction ends: a handler that faults at once must not make time stand still.
    core.charge(1);
    if (flags & FAULT_TRAP) {
      core.i32[A.INSNS >>> 2]! += 1;
      addRip(core, (flags >>> 4) & 15);
    }
    const exit = deliverPendingFault(core);
    if (exit === EXIT_PV && core.pvFault !== null) return this.pvFault(core);
    return exit === 0 ? -1 : exit;
  }

  private pvFault(core: Core): number {
    const { profile } = this;
    if (profile === null) return core.pvFault!(core);
    profile.engine.end();
    profile.hypervisor.begin();
    const exit = core.pvFault!(core);
    profile.hypervisor.end();
    profile.engine.begin();
    return exit;
  }

  /**
   * An indirect call pushes before it jumps: where its target is not canonical, a fault of the stack goes before that #GP. The
   * engines check the target first, because nothing may change before a fault. @returns the status after that.
   */
  private stackFirst(core: Core, status: number): number {
    const { i32, u16 } = core;
    const uop = i32[A.UOP >>> 2]!;
    if (status !== H_FAULT || i32[A.FAULT_VECTOR >>> 2] !== VEC_GP || u16[uop >>> 1] !== U_CALL_R) return status;
    const rsp = (A.SLOTS + A.S_RSP) >>> 2;
    const lo = (i32[rsp]! - 8) | 0;
    const hi = (i32[rsp + 1]! - (i32[rsp]! >>> 0 < 8 ? 1 : 0)) | 0;
    const probe = rmwSlow(core, lo, hi, 8, uop);
    // The probe found nothing, or code on the stack: it may have recorded something else.
    if (probe !== H_FAULT && probe !== H_EXIT_AT) raise(core, VEC_GP);
    return probe === H_EXIT_AT ? probe : status;
  }

  /** Sets RIP to the instruction of UOP and counts those before it in its block. */
  private rollBack(core: Core): void {
    const { i32, u8 } = core;
    const off = u8[i32[A.UOP >>> 2]! + 6]!;
    const base = (A.SLOTS + A.S_RIPBASE) >>> 2;
    i32[A.RIP >>> 2] = i32[base]!;
    i32[(A.RIP + 4) >>> 2] = i32[base + 1]!;
    addRip(core, off);
    const before = instructionsBefore(core, i32[A.BLOCK >>> 2]!, off);
    i32[A.INSNS >>> 2]! += before;
    i32[A.REMAINING >>> 2]! -= before;
  }
}

/**
 * Something would be delivered, or is to be reported, as soon as RFLAGS or the end of an NMI allow it. It holds until the slice
 * ends: who makes an event pend ends the slice.
 */
function eventsWait(core: Core): boolean {
  return (
    (core.controls.intercepts & (INTERCEPT_INTR_WINDOW | INTERCEPT_NMI_WINDOW)) !== 0 ||
    core.i32[A.NMI_PENDING >>> 2] !== 0 ||
    (core.interrupts !== null && core.interrupts.pending() >= 0)
  );
}

/** RIP += `bytes`; in 16-bit code it may leave the 64 KiB, as the processor's does before it finds the limit of CS. */
function addRip(core: Core, bytes: number): void {
  const { i32 } = core;
  const at = A.RIP >>> 2;
  const lo = (i32[at]! + bytes) | 0;
  const code = i32[A.MODE >>> 2]! & MODE_CODE_MASK;
  if (code === MODE_64 && lo >>> 0 < bytes) i32[at + 1]! += 1;
  i32[at] = lo;
}
