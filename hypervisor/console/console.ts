/** A domain's console: what xenconsoled does with its ring. Bytes out go to listeners, bytes in wait until the guest has room. */
import type { BackendEnd } from "../daemons/backend-end.ts";
import type { ConsoleDaemon } from "../domain/services.ts";
import { COPY_BYTES_PER_CYCLE } from "../hypercalls/costs.ts";
import type { EventQueue } from "../time/event-queue.ts";
import { putInput, takeOutput } from "./ring.ts";

export class GuestConsole implements ConsoleDaemon {
  private readonly queue: EventQueue;
  private readonly listeners: ((bytes: Uint8Array, cycle: number) => void)[] = [];
  /** Typed and not yet in the ring, oldest first. */
  private readonly waiting: Uint8Array[] = [];
  /** Null once the ring is gone. */
  private end: BackendEnd | null;

  constructor(queue: EventQueue, end: BackendEnd) {
    this.queue = queue;
    this.end = end;
  }

  /** What is in the ring still comes out; nothing more goes in. */
  close(): void {
    this.serve();
    this.end = null;
  }

  onOutput(listener: (bytes: Uint8Array, cycle: number) => void): void {
    this.listeners.push(listener);
  }

  input(bytes: Uint8Array, atCycle: number = 0): void {
    const copy = bytes.slice();
    this.queue.schedule(Math.max(Math.ceil(atCycle), this.queue.now()), () => {
      if (copy.length > 0) this.waiting.push(copy);
      this.serve();
    });
  }

  /** Moves what can be moved, and signals the guest if anything was. */
  serve(): void {
    const { end } = this;
    if (end === null) return;
    const output = takeOutput(end);
    let moved = output.length;
    if (moved > 0) for (const listener of this.listeners) listener(output.slice(), this.queue.now());
    while (this.waiting.length > 0) {
      const bytes = this.waiting[0]!;
      const count = putInput(end, bytes);
      moved += count;
      if (count < bytes.length) {
        this.waiting[0] = bytes.subarray(count);
        break;
      }
      this.waiting.shift();
    }
    if (moved === 0) return;
    end.charge(Math.ceil(moved / COPY_BYTES_PER_CYCLE));
    end.notify();
  }
}
