/**
 * Decimal adjustments for every AX, and CF and AF in all four states: the hash of all results and flags, undefined
 * ones included, is that of an AMD EPYC running the same in compatibility mode.
 */
import { expect, it } from "vitest";
import { Arena, SLOTS, STREAM } from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import { FLAG_AF, FLAG_CF, FLAGS_ARITHMETIC, getFlags, setArithmeticFlags } from "../../../cpu/flags.ts";
import { HELPERS } from "../../../cpu/uops/helpers.ts";
import * as B from "../../../cpu/uops/helpers-bcd.ts";

const core = new Core(new Arena(0x100000), 0, new CoreGroup());

function hashOf(helper: number, base: number): number {
  let hash = 0x811c9dc5;
  core.u8[STREAM + 7] = base;
  for (let state = 0; state < 4; state++)
    for (let ax = 0; ax < 0x10000; ax++) {
      core.u16[SLOTS >>> 1] = ax;
      const others = FLAGS_ARITHMETIC & ~(FLAG_CF | FLAG_AF);
      setArithmeticFlags(core, others | (state & 1 ? FLAG_CF : 0) | (state & 2 ? FLAG_AF : 0));
      HELPERS[helper]!(core, STREAM);
      hash = Math.imul(hash ^ core.u16[SLOTS >>> 1]!, 0x01000193);
      hash = Math.imul(hash ^ (getFlags(core) & FLAGS_ARITHMETIC), 0x01000193);
    }
  return hash >>> 0;
}

for (const [name, helper, base, hash] of [
  ["AAA", B.HELPER_AAA, 0, 0x8ea93ac5],
  ["AAS", B.HELPER_AAS, 0, 0x8a8f6dc5],
  ["DAA", B.HELPER_DAA, 0, 0xa0c64dc5],
  ["DAS", B.HELPER_DAS, 0, 0x0be9a1c5],
  ["AAM 10", B.HELPER_AAM, 10, 0xc557fdc5],
  ["AAM 16", B.HELPER_AAM, 16, 0x52589dc5],
  ["AAM 3", B.HELPER_AAM, 3, 0x78709dc5],
  ["AAM 255", B.HELPER_AAM, 255, 0x09329dc5],
  ["AAD 10", B.HELPER_AAD, 10, 0x25bfdfc5],
  ["AAD 16", B.HELPER_AAD, 16, 0x73fa7dc5],
  ["AAD 3", B.HELPER_AAD, 3, 0x369c7445],
  ["AAD 255", B.HELPER_AAD, 255, 0xa4035fc5],
  ["SALC", B.HELPER_SALC, 0, 0xee729dc5],
] as const)
  it(`${name} agrees with the processor on every input`, () => {
    expect(hashOf(helper, base)).toBe(hash);
  });
