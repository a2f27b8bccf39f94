/**
 * The host's terminal as the guest's console. With a TTY the keys go through one by one (raw mode) and Ctrl-] leaves; a
 * pipe is read as it comes, and its end does not end the run.
 */

/** Ctrl-], as in `xl console`. */
const LEAVE_KEY = 0x1d;

export interface TerminalListener {
  input(bytes: Uint8Array): void;
  /** Ctrl-] was pressed. */
  leave(): void;
  /** No more input will come. */
  end(): void;
}

export class Terminal {
  readonly #listener: TerminalListener;
  readonly isTTY: boolean = process.stdin.isTTY === true;
  #open = false;
  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #restore: () => void;

  constructor(listener: TerminalListener) {
    this.#listener = listener;
    this.#onData = (chunk) => this.#take(chunk);
    this.#onEnd = () => this.#listener.end();
    this.#restore = () => {
      if (this.isTTY) process.stdin.setRawMode(false);
    };
  }

  open(): void {
    this.#open = true;
    if (this.isTTY) process.stdin.setRawMode(true);
    // Whatever ends the process, the shell gets its terminal back.
    process.once("exit", this.#restore);
    process.stdin.on("data", this.#onData);
    // A closed or unreadable stdin is a console without a keyboard.
    process.stdin.on("error", this.#onEnd);
    process.stdin.on("end", this.#onEnd);
    process.stdin.resume();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    process.stdin.off("data", this.#onData);
    process.stdin.off("end", this.#onEnd);
    process.stdin.pause();
    process.stdin.unref?.();
    this.#restore();
    process.off("exit", this.#restore);
  }

  #take(chunk: Buffer): void {
    const leave = this.isTTY ? chunk.indexOf(LEAVE_KEY) : -1;
    const bytes = leave < 0 ? chunk : chunk.subarray(0, leave);
    if (bytes.length > 0) this.#listener.input(Uint8Array.from(bytes));
    if (leave >= 0) this.#listener.leave();
  }
}
