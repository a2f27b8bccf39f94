// Small synthetic kernels, the same bytes every time, so that the compressed fixtures match.

export interface SampleNote {
  name?: string;
  type: number;
  descriptor: Uint8Array;
}

export interface SampleSegment {
  paddr: number | bigint;
  data: Uint8Array;
  memorySize?: number;
}

export interface SampleOptions {
  bits?: 32 | 64;
  machine?: number;
  segments?: SampleSegment[];
  notes?: SampleNote[];
  /** Where the notes are: a PT_NOTE segment (default) or only a SHT_NOTE section. */
  notesIn?: "segment" | "section";
  /** Content of a section __xen_guest, in place of notes. */
  guestInfo?: string;
  symbols?: { symtab: Uint8Array; strtab: Uint8Array };
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function pad4(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array((bytes.length + 3) & ~3);
  out.set(bytes);
  return out;
}

export function encodeNotes(notes: readonly SampleNote[]): Uint8Array {
  return concat(
    ...notes.flatMap(({ name = "Xen", type, descriptor }) => [
      u32(name.length + 1),
      u32(descriptor.length),
      u32(type),
      pad4(ascii(`${name}\0`)),
      pad4(descriptor),
    ]),
  );
}

/** Code-like bytes: calls with displacements that the x86 filter converts, text, and a little noise. */
export function sampleCode(length: number): Uint8Array {
  const out = new Uint8Array(length);
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return seed >>> 16;
  };
  const text = ascii("xenoscope sample kernel ");
  for (let at = 0; at < length; ) {
    const kind = random() % 4;
    const piece =
      kind === 0
        ? concat(Uint8Array.of(0xe8), u32((0x400 - at) >>> 0))
        : kind === 1
          ? text
          : kind === 2
            ? Uint8Array.of(random() & 0xff, 0x90, 0x90)
            : Uint8Array.of(0xe9, 0xe8, 0xff, 0x00, random() & 0xff, 0xff);
    out.set(piece.subarray(0, length - at), at);
    at += piece.length;
  }
  return out;
}

/** An ELF with sections: 0 undefined, then notes (if in a section), symbols, strings. */
export function sampleElf(options: SampleOptions = {}): Uint8Array {
  const bits = options.bits ?? 64;
  const wide = bits === 64;
  const word = (value: number | bigint) => (wide ? u64(BigInt(value)) : u32(Number(value)));
  const segments = options.segments ?? [{ paddr: 0x100000, data: sampleCode(3000), memorySize: 5000 }];
  const notes = encodeNotes(options.notes ?? [{ type: 18, descriptor: u32(0x100040) }]);
  const inSegment = options.notesIn !== "section" && options.guestInfo === undefined;
  const ehdrSize = wide ? 64 : 52;
  const phdrSize = wide ? 56 : 32;
  const shdrSize = wide ? 64 : 40;
  const phnum = segments.length + (inSegment ? 1 : 0);
  const blobs: { offset: number; data: Uint8Array }[] = [];
  let next = ehdrSize + phnum * phdrSize;
  const place = (data: Uint8Array): number => {
    next = (next + 7) & ~7;
    blobs.push({ offset: next, data });
    next += data.length;
    return blobs.at(-1)!.offset;
  };
  const phdr = (type: number, offset: number, paddr: number | bigint, fileSize: number, memorySize: number) =>
    wide
      ? concat(u32(type), u32(7), ...[offset, 0, paddr, fileSize, memorySize, 4].map(word))
      : concat(...[type, offset, 0, Number(paddr), fileSize, memorySize, 7, 4].map(u32));
  const shdr = (type: number, offset: number, size: number, link: number, name = 0) =>
    concat(u32(name), u32(type), word(0), word(0), word(offset), word(size), u32(link), u32(0), word(8), word(0));

  const phdrs = segments.map((s) => phdr(1, place(s.data), s.paddr, s.data.length, s.memorySize ?? s.data.length));
  const notesAt = place(notes);
  if (inSegment) phdrs.push(phdr(4, notesAt, 0, notes.length, notes.length));
  const shdrs = [shdr(0, 0, 0, 0)];
  let names = 0;
  if (options.guestInfo !== undefined) {
    const info = ascii(`${options.guestInfo}\0`);
    const strings = ascii("\0__xen_guest\0");
    shdrs.push(shdr(1, place(info), info.length, 0, 1), shdr(3, place(strings), strings.length, 0));
    names = shdrs.length - 1;
  } else if (!inSegment) shdrs.push(shdr(7, notesAt, notes.length, 0));
  if (options.symbols) {
    const { symtab, strtab } = options.symbols;
    const link = shdrs.length + 1;
    shdrs.push(shdr(2, place(symtab), symtab.length, link), shdr(3, place(strtab), strtab.length, 0));
  }
  const shoff = place(concat(...shdrs));
  const ident = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const u16 = (value: number) => Uint8Array.of(value & 0xff, value >> 8);
  const ehdr = concat(
    ident,
    u16(2),
    u16(options.machine ?? (wide ? 62 : 3)),
    u32(1),
    word(0x100000),
    word(ehdrSize),
    word(shoff),
    u32(0),
    ...[ehdrSize, phdrSize, phnum, shdrSize, shdrs.length, names].map(u16),
  );
  const out = new Uint8Array(next);
  out.set(ehdr);
  for (const [i, header] of phdrs.entries()) out.set(header, ehdrSize + i * phdrSize);
  for (const { offset, data } of blobs) out.set(data, offset);
  return out;
}

/** A bzImage around a payload: one setup sector, boot protocol 2.15. */
export function sampleBzImage(payload: Uint8Array): Uint8Array {
  const setup = 1024;
  const system = Math.ceil((payload.length + 64) / 16) * 16;
  const out = new Uint8Array(setup + system);
  const view = new DataView(out.buffer);
  out[0x1f1] = 1;
  view.setUint32(0x1f4, system / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  out.set(ascii("HdrS"), 0x202);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x248, 64, true);
  view.setUint32(0x24c, payload.length, true);
  out.set(payload, setup + 64);
  return out;
}
