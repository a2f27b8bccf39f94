/** The little statistics that noisy measurements need. */

/** Middle of the values; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Several values of one thing. */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/** Geometric mean, each value capped at `cap`, so that one benchmark where we shine does not hide where we don't. */
export function cappedGeometricMean(values: readonly number[], cap: number): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(Math.min(value, cap)), 0) / values.length);
}

/** The values one after the other, beginning at `start`: in each round another subject goes first. */
export function rotated<T>(values: readonly T[], start: number): T[] {
  return values.map((_, i) => values[(i + start) % values.length]!);
}
