/**
 * The frequency of the modelled processors, and cycles to time. One cycle is one nanosecond: with the timing level
 * `fast` (a cycle an instruction) guests then see a plausible machine, and conversions are exact.
 */
export const CPU_FREQUENCY = 1_000_000_000;
export const CPU_KHZ: number = CPU_FREQUENCY / 1000;

export const cyclesToNs = (cycles: number): number => Math.floor(cycles * (1e9 / CPU_FREQUENCY));
/** The first cycle at which `ns` have passed. */
export const nsToCycles = (ns: number): number => Math.ceil(ns * (CPU_FREQUENCY / 1e9));
