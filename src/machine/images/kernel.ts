// From the bytes of a kernel file to what the domain builder loads.

import {
  type KernelImage,
  noteString,
  XEN_ELFNOTE_FEATURES,
  XEN_ELFNOTE_GUEST_OS,
  XEN_ELFNOTE_LOADER,
  XEN_ELFNOTE_XEN_VERSION,
} from "../../../hypervisor/builder/image.ts";
import { hasMagic } from "./bytes.ts";
import { bzImagePayload, isBzImage } from "./bzimage.ts";
import { ELF_MAGIC, type ElfKernel, parseElf } from "./elf.ts";
import { ImageError, type ProgressCallback } from "./error.ts";
import { GZIP_MAGIC, gunzip } from "./gzip.ts";
import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from "./lz4.ts";
import { decodeXz, XZ_MAGIC } from "./xz.ts";
import { decodeZstd, ZSTD_MAGIC } from "./zstd.ts";

export interface LoadKernelOptions {
  /** What the domain is to be: the kernel's ELF notes must offer it. */
  type: "pvh" | "pv";
  /** Called now and then while decompressing. */
  onProgress?: ProgressCallback;
}

interface Compression {
  name: string;
  magic: readonly number[];
  /** `size` is the uncompressed size that the container promises, or 0. */
  decode(b: Uint8Array, size: number, onProgress?: ProgressCallback): Uint8Array | Promise<Uint8Array>;
  /** In a bzImage the build appends the size after the compressed data; gzip has it in its own trailer. */
  sizeAppended: boolean;
}

const COMPRESSIONS: readonly Compression[] = [
  { name: "gzip", magic: GZIP_MAGIC, decode: (b, _size, p) => gunzip(b, p), sizeAppended: false },
  { name: "xz", magic: XZ_MAGIC, decode: (b, _size, p) => decodeXz(b, p), sizeAppended: true },
  { name: "lz4", magic: LZ4_LEGACY_MAGIC, decode: decodeLz4Legacy, sizeAppended: true },
  { name: "zstd", magic: ZSTD_MAGIC, decode: decodeZstd, sizeAppended: true },
];

/** What people hand over by mistake, or what is compressed in a way not supported. */
const REFUSED: readonly { at: number; magic: readonly number[]; why: string }[] = [
  { at: 0, magic: [0x42, 0x5a, 0x68], why: "compressed with bzip2, which is not supported" },
  { at: 0, magic: [0x5d, 0x00, 0x00], why: "compressed with lzma, which is not supported" },
  { at: 0, magic: [0x89, 0x4c, 0x5a, 0x4f], why: "compressed with lzo, which is not supported" },
  { at: 0, magic: [0x04, 0x22, 0x4d, 0x18], why: "an lz4 frame; kernels use the legacy frame (lz4 -l)" },
  { at: 0, magic: [0x30, 0x37, 0x30, 0x37, 0x30], why: "not a kernel but a cpio archive (the ramdisk?)" },
  { at: 56, magic: [0x41, 0x52, 0x4d, 0x64], why: "an ARM64 kernel; only x86 kernels run here" },
  { at: 0x24, magic: [0x18, 0x28, 0x6f, 0x01], why: "an ARM kernel (zImage); only x86 kernels run here" },
  { at: 0, magic: [0x21, 0x3c, 0x61, 0x72, 0x63, 0x68], why: "not a kernel but an archive (a package?)" },
  { at: 0, magic: [0x4d, 0x5a], why: "an EFI or Windows program without a Linux setup header, not a kernel" },
];

/** A kernel.gz may hold a bzImage, whose payload is compressed again. */
const LAYERS_MAX = 4;

/**
 * Recognises and unpacks a kernel: bzImage or ELF, either as it is or compressed with gzip, xz, lz4 (legacy frame) or zstd.
 * Rejects with ImageError, and with nothing else, whatever the bytes.
 */
export async function loadKernel(bytes: Uint8Array, opts: LoadKernelOptions): Promise<KernelImage> {
  if (bytes.length === 0) throw new ImageError("the kernel file is empty");
  const layers: string[] = [];
  let b = bytes;
  for (let layer = 0; layer < LAYERS_MAX; layer++) {
    if (hasMagic(b, 0, ELF_MAGIC)) {
      const elf = parseElf(b);
      layers.push(`ELF${elf.bits}`);
      checkNotes(elf, opts.type);
      return {
        description: layers.join(", "),
        machine: elf.machine,
        segments: elf.segments,
        base: elf.base,
        start: elf.start,
        end: elf.end,
        entry: elf.entry,
        phys32Entry: elf.phys32Entry,
        notes: elf.notes,
      };
    }
    if (isBzImage(b)) {
      const payload = bzImagePayload(b);
      layers.push("bzImage");
      const compression = COMPRESSIONS.find((c) => hasMagic(payload.bytes, 0, c.magic));
      if (compression) {
        const appended = compression.sizeAppended ? 4 : 0;
        const packed = payload.bytes.subarray(0, payload.bytes.length - appended);
        layers.push(compression.name);
        b = await compression.decode(packed, payload.uncompressedSize, opts.onProgress);
        if (b.length !== payload.uncompressedSize) {
          throw new ImageError(`bzImage: corrupted (${b.length} bytes unpacked, ${payload.uncompressedSize} promised)`);
        }
        continue;
      }
      if (!hasMagic(payload.bytes, 0, ELF_MAGIC))
        throw new ImageError(`bzImage: the payload is ${describe(payload.bytes)}`);
      b = payload.bytes;
      continue;
    }
    const compression = COMPRESSIONS.find((c) => hasMagic(b, 0, c.magic));
    if (!compression) throw new ImageError(`the kernel file is ${describe(b)}`);
    layers.push(compression.name);
    b = await compression.decode(b, 0, opts.onProgress);
  }
  throw new ImageError("the kernel file is compressed too many times over");
}

function describe(b: Uint8Array): string {
  const known = REFUSED.find((r) => hasMagic(b, r.at, r.magic));
  return known ? known.why : "not a kernel (neither ELF nor bzImage, nor compressed in a known way)";
}

/** elf_xen_feature_names of libelf: what a kernel may ask of Xen. */
const FEATURES: ReadonlySet<string> = new Set([
  "writable_page_tables",
  "writable_descriptor_tables",
  "auto_translated_physmap",
  "supervisor_mode_kernel",
  "pae_pgdir_above_4gb",
  "hvm_callback_vector",
  "dom0",
]);

/** elf_xen_parse_features: the kernel can't do without a feature that has an exclamation mark. */
function checkFeatures(elf: ElfKernel): void {
  const note = elf.notes.get(XEN_ELFNOTE_FEATURES);
  const features = note === undefined ? [] : noteString(note).split("|");
  const unknown = features.find((feature) => feature.startsWith("!") && !FEATURES.has(feature.slice(1)));
  if (unknown !== undefined)
    throw new ImageError(`the kernel needs a feature that Xen does not know: "${unknown.slice(1)}"`);
}

function checkNotes(elf: ElfKernel, type: "pvh" | "pv"): void {
  checkFeatures(elf);
  if (type === "pvh") {
    if (elf.phys32Entry !== undefined) return;
    const why = elf.notes.size > 0 ? "it has Xen notes, but no PHYS32_ENTRY" : "it has no Xen notes";
    throw new ImageError(`the kernel cannot start as PVH: ${why} (Linux needs CONFIG_PVH=y)`);
  }
  // elf_xen_note_check.
  const starts = (note: number, text: string): boolean => {
    const found = elf.notes.get(note);
    return found !== undefined && noteString(found).startsWith(text);
  };
  if (!starts(XEN_ELFNOTE_XEN_VERSION, "xen-3.0"))
    throw new ImageError(
      "the kernel cannot start as PV: no Xen notes of version xen-3.0 (Linux needs CONFIG_XEN_PV=y)",
    );
  if (!starts(XEN_ELFNOTE_LOADER, "generic") && !starts(XEN_ELFNOTE_GUEST_OS, "linux"))
    throw new ImageError("the kernel cannot start as PV: its notes ask for a loader that is not the generic one");
}

/**
 * A ramdisk as Xen's domain builder hands it over (xc_dom_build_module): one gzip member is unpacked, anything else goes to
 * the guest as it is, also what looks like gzip but does not unpack.
 */
export async function loadRamdisk(bytes: Uint8Array, onProgress?: ProgressCallback): Promise<Uint8Array> {
  if (bytes.length === 0) throw new ImageError("the ramdisk file is empty");
  if (!hasMagic(bytes, 0, GZIP_MAGIC)) return bytes;
  try {
    return await gunzip(bytes, onProgress);
  } catch (error) {
    if (error instanceof ImageError) return bytes;
    throw error;
  }
}
