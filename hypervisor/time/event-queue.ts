/**
 * The machine's only queue of things that happen at a cycle, ordered by (cycle, sequence number): a binary heap over typed
 * arrays. Implements the core's Clock.
 */
import type { Clock } from "../../cpu/core.ts";

const NO_FIRE = (): void => {};
/** What is to happen later than this never does: clocks are exact below, and 52 days long. */
const END_OF_TIME: number = 2 ** 52;
/** A handle is generation * SLOT_LIMIT + slot + 1, so an old handle never names a new event, and 0 names none. */
const SLOT_LIMIT = 0x100000;

export class EventQueue implements Clock {
  private size = 0;
  private sequence = 0;
  /** Heap of slots. */
  private heap: Int32Array = new Int32Array(64);
  /** By slot: when, in which order, where in the heap (-1 free), how often it was used. */
  private cycles: Float64Array = new Float64Array(64);
  private order: Float64Array = new Float64Array(64);
  private position: Int32Array = new Int32Array(64).fill(-1);
  private generation: Float64Array = new Float64Array(64);
  private readonly fires: (() => void)[] = [];
  private readonly freeSlots: number[] = [];
  private readonly time: () => number;
  private readonly onEarlier: () => void;

  /**
   * @param time the current cycle
   * @param onEarlier called when the first event has become earlier: who runs until the first event must look again
   */
  constructor(time: () => number, onEarlier: () => void = NO_FIRE) {
    this.time = time;
    this.onEarlier = onEarlier;
  }

  now(): number {
    return this.time();
  }

  /** Cycle of the first event, Infinity if there is none. */
  get next(): number {
    return this.size === 0 ? Infinity : this.cycles[this.heap[0]!]!;
  }

  get length(): number {
    return this.size;
  }

  schedule(cycle: number, fire: () => void): number {
    const slot = this.freeSlots.pop() ?? this.fires.length;
    if (slot >= this.cycles.length) this.grow();
    this.cycles[slot] = cycle < END_OF_TIME ? cycle : Infinity;
    this.order[slot] = this.sequence++;
    this.fires[slot] = fire;
    const at = this.size++;
    this.heap[at] = slot;
    this.position[slot] = at;
    this.up(at);
    if (this.heap[0] === slot) this.onEarlier();
    return this.generation[slot]! * SLOT_LIMIT + slot + 1;
  }

  /** Takes an event back; a handle that has fired or was cancelled, and 0, are ignored. */
  cancel(handle: number): void {
    if (handle === 0) return;
    const slot = (handle - 1) % SLOT_LIMIT;
    if (this.position[slot] === -1 || this.generation[slot] !== Math.floor((handle - 1) / SLOT_LIMIT)) return;
    this.take(slot);
  }

  /** Fires, in order, everything due at or before `cycle`, also what that schedules. @returns how many fired. */
  run(cycle: number): number {
    let fired = 0;
    while (this.size > 0 && this.cycles[this.heap[0]!]! <= cycle) {
      const slot = this.heap[0]!;
      const fire = this.fires[slot]!;
      this.take(slot);
      fire();
      fired++;
    }
    return fired;
  }

  private take(slot: number): void {
    const at = this.position[slot]!;
    const last = this.heap[--this.size]!;
    if (last !== slot) {
      this.heap[at] = last;
      this.position[last] = at;
      this.up(at);
      this.down(this.position[last]!);
    }
    this.position[slot] = -1;
    this.generation[slot]!++;
    this.fires[slot] = NO_FIRE;
    this.freeSlots.push(slot);
  }

  private before(a: number, b: number): boolean {
    const d = this.cycles[a]! - this.cycles[b]!;
    return d < 0 || (d === 0 && this.order[a]! < this.order[b]!);
  }

  private up(from: number): void {
    let at = from;
    const slot = this.heap[at]!;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const other = this.heap[parent]!;
      if (!this.before(slot, other)) break;
      this.heap[at] = other;
      this.position[other] = at;
      at = parent;
    }
    this.heap[at] = slot;
    this.position[slot] = at;
  }

  private down(from: number): void {
    let at = from;
    const slot = this.heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.before(this.heap[child + 1]!, this.heap[child]!)) child++;
      const other = this.heap[child]!;
      if (!this.before(other, slot)) break;
      this.heap[at] = other;
      this.position[other] = at;
      at = child;
    }
    this.heap[at] = slot;
    this.position[slot] = at;
  }

  private grow(): void {
    const size = this.cycles.length * 2;
    if (size > SLOT_LIMIT) throw new RangeError("too many events in the machine's queue");
    const heap = new Int32Array(size);
    heap.set(this.heap);
    this.heap = heap;
    const position = new Int32Array(size).fill(-1);
    position.set(this.position);
    this.position = position;
    for (const name of ["cycles", "order", "generation"] as const) {
      const wider = new Float64Array(size);
      wider.set(this[name]);
      this[name] = wider;
    }
  }
}
