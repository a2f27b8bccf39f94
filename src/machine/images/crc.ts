// The two checks of the .xz container, slicing by eight and by four. Both are reflected and inverted (ISO 3309, ECMA-182).

const CRC32_POLYNOMIAL = 0xedb88320;
const CRC64_POLYNOMIAL_HI = 0xc96c5795;
const CRC64_POLYNOMIAL_LO = 0xd7870f42;

/** Eight tables of 256: table k advances a byte by k further zero bytes. */
const CRC32_TABLE: Int32Array = buildCrc32();
const [CRC64_HI, CRC64_LO]: [Int32Array, Int32Array] = buildCrc64();

function buildCrc32(): Int32Array {
  const table = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let r = i;
    for (let bit = 0; bit < 8; bit++) r = r & 1 ? (r >>> 1) ^ CRC32_POLYNOMIAL : r >>> 1;
    table[i] = r;
  }
  for (let i = 256; i < table.length; i++) {
    const before = table[i - 256]!;
    table[i] = (before >>> 8) ^ table[before & 0xff]!;
  }
  return table;
}

function buildCrc64(): [Int32Array, Int32Array] {
  const hi = new Int32Array(4 * 256);
  const lo = new Int32Array(4 * 256);
  for (let i = 0; i < 256; i++) {
    let h = 0;
    let l = i;
    for (let bit = 0; bit < 8; bit++) {
      const carry = l & 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (carry) {
        h ^= CRC64_POLYNOMIAL_HI;
        l ^= CRC64_POLYNOMIAL_LO;
      }
    }
    hi[i] = h;
    lo[i] = l;
  }
  for (let i = 256; i < hi.length; i++) {
    const h = hi[i - 256]!;
    const l = lo[i - 256]!;
    lo[i] = ((l >>> 8) | (h << 24)) ^ lo[l & 0xff]!;
    hi[i] = (h >>> 8) ^ hi[l & 0xff]!;
  }
  return [hi, lo];
}

/** CRC-32 of bytes [from, to), as an unsigned number. */
export function crc32(b: Uint8Array, from = 0, to: number = b.length): number {
  const t = CRC32_TABLE;
  let c = -1;
  let i = from;
  for (; i + 8 <= to; i += 8) {
    c ^= b[i]! | (b[i + 1]! << 8) | (b[i + 2]! << 16) | (b[i + 3]! << 24);
    c =
      t[1792 + (c & 0xff)]! ^
      t[1536 + ((c >>> 8) & 0xff)]! ^
      t[1280 + ((c >>> 16) & 0xff)]! ^
      t[1024 + (c >>> 24)]! ^
      t[768 + b[i + 4]!]! ^
      t[512 + b[i + 5]!]! ^
      t[256 + b[i + 6]!]! ^
      t[b[i + 7]!]!;
  }
  for (; i < to; i++) c = (c >>> 8) ^ t[(c ^ b[i]!) & 0xff]!;
  return ~c >>> 0;
}

/** CRC-64 (ECMA-182) of bytes [from, to), as unsigned [high, low] words. */
export function crc64(b: Uint8Array, from = 0, to: number = b.length): [number, number] {
  let h = -1;
  let l = -1;
  let i = from;
  for (; i + 4 <= to; i += 4) {
    const x = l ^ (b[i]! | (b[i + 1]! << 8) | (b[i + 2]! << 16) | (b[i + 3]! << 24));
    const a3 = 768 + (x & 0xff);
    const a2 = 512 + ((x >>> 8) & 0xff);
    const a1 = 256 + ((x >>> 16) & 0xff);
    const a0 = x >>> 24;
    l = h ^ CRC64_LO[a3]! ^ CRC64_LO[a2]! ^ CRC64_LO[a1]! ^ CRC64_LO[a0]!;
    h = CRC64_HI[a3]! ^ CRC64_HI[a2]! ^ CRC64_HI[a1]! ^ CRC64_HI[a0]!;
  }
  for (; i < to; i++) {
    const index = (l ^ b[i]!) & 0xff;
    l = ((l >>> 8) | (h << 24)) ^ CRC64_LO[index]!;
    h = (h >>> 8) ^ CRC64_HI[index]!;
  }
  return [~h >>> 0, ~l >>> 0];
}
