/** Deterministic random numbers for vectors. */

/** mulberry32: small, and good enough for operands. */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  u32(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** As u32, under the name that the generators of floating-point values know. */
  next(): number {
    return this.u32();
  }
  below(n: number): number {
    return this.u32() % n;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  bits(n: number): bigint {
    let value = 0n;
    for (let have = 0; have < n; have += 32) value = (value << 32n) | BigInt(this.u32());
    return BigInt.asUintN(n, value);
  }
}
