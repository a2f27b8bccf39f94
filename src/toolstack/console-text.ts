/** Text of a guest's console for the eyes of a program: lines without terminal control sequences. */

const ESC = "\u001b";
/** CSI and two-character escape sequences of ECMA-48, OSC strings, and carriage returns. */
const CONTROL: RegExp = new RegExp(
  `${ESC}\\[[0-?]*[ -/]*[@-~]|${ESC}\\][^\\u0007${ESC}]*(?:\\u0007|${ESC}\\\\)|${ESC}[@-_]|\\r`,
  "g",
);

export function stripControl(text: string): string {
  return text.includes(ESC) || text.includes("\r") ? text.replace(CONTROL, "") : text;
}

/** Longest line that is kept together. A guest that never ends a line must not fill the host's memory. */
export const MAX_LINE = 4096;

/** Cuts a console's bytes into lines. */
export class LineSplitter {
  readonly #decoder = new TextDecoder("utf-8");
  #pending = "";

  /** The line that has not ended yet, as the guest wrote it. */
  get partial(): string {
    return this.#pending;
  }

  /** The lines that `bytes` complete, without line ends. */
  push(bytes: Uint8Array): string[] {
    const parts = (this.#pending + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#pending = parts.pop()!;
    while (this.#pending.length > MAX_LINE) {
      parts.push(this.#pending.slice(0, MAX_LINE));
      this.#pending = this.#pending.slice(MAX_LINE);
    }
    return parts.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  }
}

/** Watches a console for a line that matches; an unfinished line (a prompt) counts too. */
export class LineMatcher {
  readonly #splitter = new LineSplitter();
  readonly #pattern: RegExp;

  constructor(pattern: RegExp) {
    this.#pattern = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
  }

  /** Whether a line matches now, with these further bytes. */
  push(bytes: Uint8Array): boolean {
    const lines = this.#splitter.push(bytes);
    const { partial } = this.#splitter;
    if (partial !== "") lines.push(partial);
    return lines.some((line) => this.#pattern.test(stripControl(line)));
  }
}
