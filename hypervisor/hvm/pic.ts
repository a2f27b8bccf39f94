/** The PC's two 8259A interrupt controllers, slave on line 2 of the master (8259A data sheet; vpic.c of Xen). */

/** Ports of the master's command and data registers, of the slave's, and of both edge/level registers. */
export const PIC_PORTS: readonly number[] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1];
const SLAVE_LINE = 2;
/** Lines that can't be level-triggered: 0, 1, 2; 8, 13 (the ISA bus has them edge-triggered). */
const ELCR_MASK = [0xf8, 0xde] as const;
/** A controller that is asked while nothing waits answers with its line 7. */
const SPURIOUS = 7;

/** One 8259A. */
class Controller {
  irr = 0;
  isr = 0;
  imr = 0;
  lines = 0;
  elcr = 0;
  private base = 0;
  private readIsr = false;
  private poll = false;
  private autoEoi = false;
  private rotateOnAutoEoi = false;
  private specialMask = false;
  private fullyNested = false;
  /** Line of the highest priority. */
  private first = 0;
  /** Initialisation word that the data register expects next, 0 none; and whether ICW4 comes. */
  private initStep = 0;
  private icw4 = false;
  private readonly isMaster: boolean;

  constructor(isMaster: boolean) {
    this.isMaster = isMaster;
  }

  /** 0 the highest; 8 none. */
  private priorityOf(mask: number): number {
    if (mask === 0) return 8;
    let priority = 0;
    while (((mask >>> ((priority + this.first) & 7)) & 1) === 0) priority++;
    return priority;
  }

  /** The line that asks for service, -1 none. */
  request(): number {
    const asking = this.priorityOf(this.irr & ~this.imr);
    if (asking === 8) return -1;
    let served = this.isr;
    if (this.specialMask) served &= ~this.imr;
    // The slave's line stays open for the slave's higher interrupts.
    if (this.fullyNested && this.isMaster) served &= ~(1 << SLAVE_LINE);
    return asking < this.priorityOf(served) ? (asking + this.first) & 7 : -1;
  }

  setLine(line: number, level: boolean): void {
    const bit = 1 << line;
    if ((this.elcr & bit) !== 0 ? level : level && (this.lines & bit) === 0) this.irr |= bit;
    else if (!level) this.irr &= ~bit;
    this.lines = level ? this.lines | bit : this.lines & ~bit;
  }

  /** The vector of `line`; -1 stands for the spurious interrupt. */
  vector(line: number): number {
    return this.base + (line < 0 ? SPURIOUS : line);
  }

  acknowledge(line: number): void {
    if (line < 0) return;
    const bit = 1 << line;
    if ((this.elcr & bit) === 0) this.irr &= ~bit;
    if (!this.autoEoi) this.isr |= bit;
    else if (this.rotateOnAutoEoi) this.first = (line + 1) & 7;
  }

  writeCommand(value: number): void {
    if (value & 0x10) this.beginInit(value);
    else if (value & 8) this.writeOcw3(value);
    else this.writeOcw2(value);
  }

  private beginInit(icw1: number): void {
    this.imr = 0;
    this.isr = 0;
    // Edges are forgotten, levels are not.
    this.irr = this.lines & this.elcr;
    this.readIsr = false;
    this.autoEoi = false;
    this.rotateOnAutoEoi = false;
    this.specialMask = false;
    this.fullyNested = false;
    this.first = 0;
    this.icw4 = (icw1 & 1) !== 0;
    this.initStep = 2;
  }

  private writeOcw3(value: number): void {
    if (value & 4) this.poll = true;
    if (value & 2) this.readIsr = (value & 1) !== 0;
    if (value & 0x40) this.specialMask = (value & 0x20) !== 0;
  }

  private writeOcw2(value: number): void {
    const rotate = (value & 0x80) !== 0;
    const specific = (value & 0x40) !== 0;
    if (value & 0x20) {
      const priority = this.priorityOf(this.isr);
      if (!specific && priority === 8) return;
      const line = specific ? value & 7 : (priority + this.first) & 7;
      this.isr &= ~(1 << line);
      if (rotate) this.first = (line + 1) & 7;
    } else if (specific) {
      if (rotate) this.first = ((value & 7) + 1) & 7;
    } else this.rotateOnAutoEoi = rotate;
  }

  writeData(value: number): void {
    switch (this.initStep) {
      case 2:
        this.base = value & 0xf8;
        this.initStep = 3;
        break;
      case 3:
        this.initStep = this.icw4 ? 4 : 0;
        break;
      case 4:
        this.fullyNested = (value & 0x10) !== 0;
        this.autoEoi = (value & 2) !== 0;
        this.initStep = 0;
        break;
      default:
        this.imr = value;
    }
  }

  readCommand(): number {
    if (!this.poll) return this.readIsr ? this.isr : this.irr;
    this.poll = false;
    const line = this.request();
    this.acknowledge(line);
    return line < 0 ? 0 : 0x80 | line;
  }
}

export class Pic {
  private readonly master: Controller = new Controller(true);
  private readonly slave: Controller = new Controller(false);
  private readonly onOutput: () => void;

  /** @param onOutput the pair begins to ask for service */
  constructor(onOutput: () => void) {
    this.onOutput = onOutput;
  }

  /** Whether the pair asks for service (INTR). */
  get output(): boolean {
    return this.master.request() >= 0;
  }

  /** The vector that an acknowledgement would give now. */
  get vector(): number {
    const line = this.master.request();
    return line === SLAVE_LINE ? this.slave.vector(this.slave.request()) : this.master.vector(line);
  }

  /** INTA: the interrupt that `vector` named is in service. */
  acknowledge(): void {
    const line = this.master.request();
    if (line === SLAVE_LINE) this.slave.acknowledge(this.slave.request());
    this.master.acknowledge(line);
    this.cascade();
  }

  /** Line 0..15 rises or falls. */
  setLine(line: number, level: boolean): void {
    (line < 8 ? this.master : this.slave).setLine(line & 7, level);
    this.update();
  }

  private cascade(): void {
    this.master.setLine(SLAVE_LINE, false);
    this.master.setLine(SLAVE_LINE, this.slave.request() >= 0);
  }

  private update(): void {
    this.cascade();
    if (this.output) this.onOutput();
  }

  private chipAt(port: number): Controller {
    return port === 0xa0 || port === 0xa1 || port === 0x4d1 ? this.slave : this.master;
  }

  /** One byte from one of PIC_PORTS. */
  read(port: number): number {
    const chip = this.chipAt(port);
    if (port >= 0x4d0) return chip.elcr;
    if (port & 1) return chip.imr;
    const value = chip.readCommand();
    this.update();
    return value;
  }

  write(port: number, value: number): void {
    const chip = this.chipAt(port);
    if (port >= 0x4d0) chip.elcr = value & ELCR_MASK[port & 1]!;
    else if (port & 1) chip.writeData(value);
    else chip.writeCommand(value);
    this.update();
  }
}
