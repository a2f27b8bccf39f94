/** A small generator of random numbers (xorshift32), so that a failing test fails again. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0 || 1;
  }

  /** 32 bits, unsigned. */
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }
  /** 0 .. n - 1. */
  below(n: number): number {
    return (this.next() >>> 3) % n;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  bits(n: number): bigint {
    return BigInt.asUintN(n, (BigInt(this.next()) << 32n) | BigInt(this.next()));
  }
}
