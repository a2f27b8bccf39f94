/** The hypervisor's log: what `xl dmesg` shows, as lines with the cycle at which they were printed. */
export interface LogLine {
  readonly cycle: number;
  readonly text: string;
}

/** Lines that are kept; older ones are dropped, as Xen's console ring does. Listeners see all. */
const KEPT = 4096;

export class Log {
  readonly lines: LogLine[] = [];
  private readonly listeners: ((text: string, cycle: number) => void)[] = [];
  private readonly time: () => number;

  constructor(time: () => number) {
    this.time = time;
  }

  onLine(listener: (text: string, cycle: number) => void): void {
    this.listeners.push(listener);
  }

  /** One line, without its line end. */
  print(text: string): void {
    const cycle = this.time();
    this.lines.push({ cycle, text });
    if (this.lines.length > KEPT) this.lines.shift();
    for (const listener of this.listeners) listener(text, cycle);
  }

  /** A message of Xen's own. */
  xen(text: string): void {
    this.print(`(XEN) ${text}`);
  }
}
