/** One line of progress on a terminal's stderr, for loads that take a while; nothing where stderr is no terminal. */

/** Loads shorter than this show nothing, milliseconds. */
const PATIENCE = 300;
const REDRAW_EVERY = 80;
const BAR_WIDTH = 24;

export class Progress {
  readonly #enabled: boolean;
  readonly #start = performance.now();
  #drawn = 0;

  constructor(enabled: boolean) {
    this.#enabled = enabled && process.stderr.isTTY === true;
  }

  /** @param fraction of the whole that is done, if that is known */
  update(step: string, fraction?: number): void {
    const now = performance.now();
    if (!this.#enabled || now - this.#start < PATIENCE || now - this.#drawn < REDRAW_EVERY) return;
    this.#drawn = now;
    if (fraction === undefined) {
      process.stderr.write(`\r\u001b[K${step}`);
      return;
    }
    const full = Math.round(Math.min(Math.max(fraction, 0), 1) * BAR_WIDTH);
    const bar = "#".repeat(full) + ".".repeat(BAR_WIDTH - full);
    process.stderr.write(`\r\u001b[K${step} [${bar}] ${Math.round(fraction * 100)}%`);
  }

  done(): void {
    if (this.#drawn > 0) process.stderr.write("\r\u001b[K");
    this.#drawn = 0;
  }
}
