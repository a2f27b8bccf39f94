/**
 * The one way in which anything but generated code writes RAM: hypervisor, devices (DMA), grant copies, and the
 * walker's A and D bits. It honours the frame attributes: translated code in the lines written is dropped, and
 * dirty logging is told. Addresses are arena addresses inside RAM; little-endian.
 */
import { FRAME_CODE, FRAME_DIRTY_LOG } from "../arena.ts";
import type { Core, CoreGroup } from "../core.ts";

/** True if a line of 64 bytes that overlaps [at, at + size) holds translated code. `size` >= 1, inside one frame. */
export function hitsCode(core: Core, at: number, size: number): boolean {
  const arena = core.arena;
  const frame = (at - arena.ram) >>> 12;
  if (!(arena.u8[arena.frameAttr + frame]! & FRAME_CODE)) return false;
  const bitmap = arena.codeBitmap + frame * 8;
  const last = ((at + size - 1) >>> 6) & 63;
  for (let line = (at >>> 6) & 63; line <= last; line++)
    if (arena.u8[bitmap + (line >>> 3)]! & (1 << (line & 7))) return true;
  return false;
}

/** Tells the block cache and dirty logging that [at, at + size) of RAM is about to change. Any size. */
export function noteWrite(core: Core, at: number, size: number): void {
  const arena = core.arena;
  const end = at + size;
  for (let from = at; from < end; ) {
    const to = Math.min(end, from + 4096 - ((from - arena.ram) & 4095));
    const attr = arena.u8[arena.frameAttr + ((from - arena.ram) >>> 12)]!;
    if (attr !== 0) noteFrameWrite(core, attr, from, to - from);
    from = to;
  }
}

function noteFrameWrite(core: Core, attr: number, at: number, size: number): void {
  const group: CoreGroup = core.shared;
  if (attr & FRAME_DIRTY_LOG) group.noteDirty((at - core.arena.ram) >>> 12);
  if (attr & FRAME_CODE && hitsCode(core, at, size)) group.invalidateCode(at, size);
}

export function write8(core: Core, at: number, value: number): void {
  noteWrite(core, at, 1);
  core.u8[at] = value;
}

/** `at` a multiple of 2. */
export function write16(core: Core, at: number, value: number): void {
  noteWrite(core, at, 2);
  core.u16[at >>> 1] = value;
}

/** `at` a multiple of 4. */
export function write32(core: Core, at: number, value: number): void {
  noteWrite(core, at, 4);
  core.i32[at >>> 2] = value;
}

/** `at` a multiple of 4. */
export function write64(core: Core, at: number, lo: number, hi: number): void {
  noteWrite(core, at, 8);
  core.i32[at >>> 2] = lo;
  core.i32[(at >>> 2) + 1] = hi;
}

export function writeBytes(core: Core, at: number, bytes: Uint8Array): void {
  noteWrite(core, at, bytes.length);
  core.u8.set(bytes, at);
}

export function fillBytes(core: Core, at: number, size: number, value: number): void {
  noteWrite(core, at, size);
  core.u8.fill(value, at, at + size);
}

/** Copies inside RAM (grant copy, page copies). */
export function copyBytes(core: Core, to: number, from: number, size: number): void {
  noteWrite(core, to, size);
  core.u8.copyWithin(to, from, from + size);
}
