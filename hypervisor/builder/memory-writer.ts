/** Where the builder puts the domain's initial memory. Both calls stay within the regions that the plan lists. */
export interface GuestMemoryWriter {
  write(gpa: number, bytes: Uint8Array): void;
  zero(gpa: number, length: number): void;
}

/** A little-endian struct of fixed size, filled field by field. */
export class Struct {
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  u8(at: number, value: number): this {
    this.view.setUint8(at, value);
    return this;
  }

  u16(at: number, value: number): this {
    this.view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }

  /** A non-negative integer below 2^53. */
  u64(at: number, value: number): this {
    this.view.setUint32(at, value % 0x1_0000_0000, true);
    this.view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
    return this;
  }

  /** ASCII, not terminated. */
  text(at: number, value: string): this {
    for (let i = 0; i < value.length; i++) this.view.setUint8(at + i, value.charCodeAt(i));
    return this;
  }
}
