/**
 * The hypervisor's own accesses to machine memory. Addresses are byte addresses in the arena (Arena.ofPhysical), and need no
 * alignment inside a frame. Every write to a page that a guest can see goes through here, and from here through the
 * core's own rule for writers of RAM (cpu/mmu/memory.ts): decoded code in the bytes is dropped, dirty logging is told.
 */
import { type Arena, PAGE_SIZE } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import { fillBytes, noteWrite, writeBytes } from "../../cpu/mmu/memory.ts";

export class MachineMemory {
  readonly arena: Arena;
  private readonly core: Core;
  private readonly view: DataView;

  /** @param core in whose name Xen writes. */
  constructor(core: Core) {
    this.core = core;
    this.arena = core.arena;
    this.view = new DataView(core.arena.memory.buffer);
  }

  /** Arena address of the first byte of machine frame `mfn`, which must exist. */
  frame(mfn: number): number {
    return this.arena.ram + mfn * PAGE_SIZE;
  }

  read8(address: number): number {
    return this.arena.u8[address]!;
  }
  read16(address: number): number {
    return this.view.getUint16(address, true);
  }
  read32(address: number): number {
    return this.view.getUint32(address, true);
  }
  read64(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }
  write8(address: number, value: number): void {
    noteWrite(this.core, address, 1);
    this.arena.u8[address] = value;
  }
  write16(address: number, value: number): void {
    noteWrite(this.core, address, 2);
    this.view.setUint16(address, value, true);
  }
  write32(address: number, value: number): void {
    noteWrite(this.core, address, 4);
    this.view.setUint32(address, value, true);
  }
  write64(address: number, value: bigint): void {
    noteWrite(this.core, address, 8);
    this.view.setBigUint64(address, value, true);
  }
  /** Copies into RAM. */
  write(address: number, bytes: Uint8Array): void {
    writeBytes(this.core, address, bytes);
  }
  /** A copy of bytes of one frame. */
  read(address: number, length: number): Uint8Array {
    return this.arena.u8.slice(address, address + length);
  }
  zeroFrame(mfn: number): void {
    fillBytes(this.core, this.frame(mfn), PAGE_SIZE, 0);
  }
}
