// A small encoder of ACPI Machine Language (ACPI specification 5.0, chapter 20). Every function returns the bytes of one term.

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const EXT_OP_PREFIX = 0x5b;
const DEVICE_OP = 0x82;
const ROOT_CHARACTER = 0x5c;

function ascii(text: string): number[] {
  return Array.from(text, (c) => c.charCodeAt(0));
}

/** A name of up to four characters, padded with underscores; a leading backslash makes it absolute. */
function nameString(name: string): number[] {
  const absolute = name.startsWith("\\");
  const segment = (absolute ? name.slice(1) : name).padEnd(4, "_");
  return absolute ? [ROOT_CHARACTER, ...ascii(segment)] : ascii(segment);
}

/** PkgLength counts its own bytes too: one byte up to 63, else a nibble and one to three bytes (20.2.4). */
function withPackageLength(content: readonly number[]): number[] {
  if (content.length + 1 < 0x40) return [content.length + 1, ...content];
  for (let extra = 1; extra <= 3; extra++) {
    const total = content.length + 1 + extra;
    if (total >= 2 ** (4 + 8 * extra)) continue;
    const head = [(extra << 6) | (total & 0x0f)];
    for (let i = 0; i < extra; i++) head.push((total >> (4 + 8 * i)) & 0xff);
    return [...head, ...content];
  }
  throw new RangeError("AML package of 256 MiB or more");
}

/** An unsigned integer below 2^32, in its shortest form. */
export function amlInteger(value: number): number[] {
  if (value === 0) return [ZERO_OP];
  if (value === 1) return [ONE_OP];
  const width = value < 0x100 ? 1 : value < 0x1_0000 ? 2 : 4;
  const prefix = width === 1 ? BYTE_PREFIX : width === 2 ? WORD_PREFIX : DWORD_PREFIX;
  const bytes = [prefix];
  for (let i = 0; i < width; i++) bytes.push((value >>> (8 * i)) & 0xff);
  return bytes;
}

export function amlString(text: string): number[] {
  return [STRING_PREFIX, ...ascii(text), 0];
}

export function amlBuffer(bytes: Uint8Array): number[] {
  return [BUFFER_OP, ...withPackageLength([...amlInteger(bytes.length), ...bytes])];
}

export function amlName(name: string, value: readonly number[]): number[] {
  return [NAME_OP, ...nameString(name), ...value];
}

export function amlScope(name: string, ...terms: readonly (readonly number[])[]): number[] {
  return [SCOPE_OP, ...withPackageLength([...nameString(name), ...terms.flat()])];
}

export function amlDevice(name: string, ...terms: readonly (readonly number[])[]): number[] {
  return [EXT_OP_PREFIX, DEVICE_OP, ...withPackageLength([...nameString(name), ...terms.flat()])];
}
