// The Linux x86 boot image (Documentation/x86/boot.rst): setup header at 0x1f1, then the compressed vmlinux as payload.

import { hasMagic, inRange, readU16, readU32 } from "./bytes.ts";
import { DECOMPRESS_MAX, ImageError } from "./error.ts";

const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const BOOT_FLAG = 0x1fe;
const HEADER = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;

const HDRS: readonly number[] = [0x48, 0x64, 0x72, 0x53];
const SECTOR = 512;
/** The first protocol with payload_offset and payload_length. */
const VERSION_PAYLOAD = 0x0208;

export function isBzImage(b: Uint8Array): boolean {
  return hasMagic(b, HEADER, HDRS);
}

export interface BzImagePayload {
  /** The compressed kernel with the four size bytes that follow it. */
  bytes: Uint8Array;
  /** Size of the uncompressed vmlinux: those four bytes. gzip's own trailer holds the same. */
  uncompressedSize: number;
}

/** Checks the setup header and finds the payload. */
export function bzImagePayload(b: Uint8Array): BzImagePayload {
  if (b.length < HEADER_END) throw new ImageError("bzImage: truncated in the setup header");
  if (readU16(b, BOOT_FLAG) !== 0xaa55) throw new ImageError("bzImage: corrupted setup header (no boot flag 0xaa55)");
  const version = readU16(b, VERSION);
  if (version < VERSION_PAYLOAD) {
    const dotted = `${version >> 8}.${String(version & 0xff).padStart(2, "0")}`;
    throw new ImageError(`bzImage: boot protocol ${dotted} is too old, 2.08 (Linux 2.6.26) or newer is needed`);
  }
  // 0 means 4, for kernels before there was the field.
  const setup = ((b[SETUP_SECTS] || 4) + 1) * SECTOR;
  const system = readU32(b, SYSSIZE) * 16;
  const offset = readU32(b, PAYLOAD_OFFSET);
  const length = readU32(b, PAYLOAD_LENGTH);
  if (setup + system > b.length + 15) {
    throw new ImageError(`bzImage: truncated (${b.length} bytes, the header says ${setup + system})`);
  }
  if (length < 8 || !inRange(offset, length, system) || !inRange(setup + offset, length, b.length)) {
    throw new ImageError("bzImage: corrupted setup header (the payload lies outside the image)");
  }
  const bytes = b.subarray(setup + offset, setup + offset + length);
  const uncompressedSize = readU32(bytes, length - 4);
  if (uncompressedSize > DECOMPRESS_MAX) {
    throw new ImageError(`bzImage: corrupted (uncompressed size ${uncompressedSize} is more than the limit of 1 GiB)`);
  }
  return { bytes, uncompressedSize };
}
