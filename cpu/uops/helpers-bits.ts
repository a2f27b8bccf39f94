/** The helper of CRC32. */
import { SLOTS } from "../arena.ts";
import { defineHelper } from "./helpers.ts";
import { FIELD_A, FIELD_C, FIELD_D, slotWord } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

/** The Castagnoli polynomial 11EDC6F41, bits reflected (SDM, CRC32). */
const POLYNOMIAL = 0x82f63b78;

const CRC_TABLE: Int32Array = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** U_HELPER: S[d] = CRC32C of S[d] and the c bytes of S[a], zero-extended. */
export const HELPER_CRC32: number = defineHelper("CRC32", (core, u) => {
  const d = slotWord(core, u, FIELD_D);
  const at = SLOTS + core.u8[u + FIELD_A]!;
  const size = core.u8[u + FIELD_C]!;
  let crc = core.i32[d]!;
  for (let n = 0; n < size; n++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ core.u8[at + n]!) & 255]!;
  core.i32[d] = crc;
  core.i32[d + 1] = 0;
  return H_OK;
});
