// Random operands with a taste for edges.

/** Deterministic random numbers (xorshift32). */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed | 0 || 1;
  }
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }
  below(n: number): number {
    return this.next() % n;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  bits(n: number): bigint {
    let value = 0n;
    for (let have = 0; have < n; have += 32) value = (value << 32n) | BigInt(this.next());
    return BigInt.asUintN(n, value);
  }
}

/** A significand field of `n` bits: random, sparse at either end, or a run of ones. */
function fraction(r: Random, n: number): bigint {
  const all = (1n << BigInt(n)) - 1n;
  switch (r.below(6)) {
    case 0:
      return 0n;
    case 1:
      return all;
    case 2:
      return 1n << BigInt(r.below(n));
    case 3:
      return all ^ ((1n << BigInt(r.below(n))) - 1n);
    case 4:
      return r.bits(n) & (all ^ ((1n << BigInt(r.below(n))) - 1n));
    default:
      return r.bits(n);
  }
}

function exponent(r: Random, bits: number): number {
  const max = 2 ** bits - 1;
  const bias = max >> 1;
  switch (r.below(8)) {
    case 0:
      return 0;
    case 1:
      return max;
    case 2:
      return r.below(4);
    case 3:
      return max - r.below(4);
    case 4:
      return r.below(max + 1);
    case 5:
      return bias - 1 + r.below(3);
    default:
      return Math.min(max, Math.max(0, bias - 70 + r.below(140)));
  }
}

export function randomF32(r: Random): number {
  return ((r.below(2) << 31) | (exponent(r, 8) << 23) | Number(fraction(r, 23))) >>> 0;
}

export function randomF64(r: Random): bigint {
  return (BigInt((r.below(2) << 11) | exponent(r, 11)) << 52n) | fraction(r, 52);
}

/** Also unnormals and their like, now and then. */
export function randomF80(r: Random): bigint {
  const e = exponent(r, 15);
  let integer = e === 0 ? 0n : 1n;
  if (r.below(16) === 0) integer ^= 1n;
  return (BigInt((r.below(2) << 15) | e) << 64n) | (integer << 63n) | fraction(r, 63);
}
