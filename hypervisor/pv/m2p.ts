/**
 * The machine-to-phys table (machine_to_phys_mapping of public/arch-x86/xen-x86_64.h): for every machine frame the frame number that its
 * owner calls it by. It lies in machine frames of Xen's own, which PV guests see read-only, in a 64-bit and a 32-bit form.
 */
import { DOMID_XEN, VMASST_TYPE_m2p_strict } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import type { Heap } from "../memory/heap.ts";
import type { MachineMemory } from "../memory/machine-memory.ts";

/** INVALID_M2P_ENTRY: no guest frame. */
export const INVALID_M2P = -1;

/** Its bit in vm_assist, of which no higher one is known: above what shifts reach. */
const M2P_STRICT: number = 2 ** VMASST_TYPE_m2p_strict;

/** VM_ASSIST(d, m2p_strict): only the kernel's tables show the machine-to-phys table. */
export const isM2pStrict = (domain: Domain): boolean => domain.vmAssist >= M2P_STRICT;
const PAGE = 4096;

export class M2p {
  /** Machine frames of the table of 8-byte and of 4-byte entries. */
  readonly frames: readonly number[];
  readonly compatFrames: readonly number[];
  private readonly memory: MachineMemory;

  /** Throws RangeError if the machine has no room for the tables. */
  constructor(memory: MachineMemory, heap: Heap) {
    this.memory = memory;
    const take = (bytes: number): number[] =>
      Array.from({ length: Math.ceil((heap.frames * bytes) / PAGE) }, () => {
        const mfn = heap.alloc(DOMID_XEN);
        if (mfn < 0) throw new RangeError("no machine memory for the machine-to-phys table");
        memory.arena.u8.fill(0xff, memory.frame(mfn), memory.frame(mfn) + PAGE);
        return mfn;
      });
    this.frames = take(8);
    this.compatFrames = take(4);
  }

  private at(mfn: number): number {
    return this.memory.frame(this.frames[mfn >>> 9]!) + (mfn & 511) * 8;
  }

  /** Guest frame of `mfn`, INVALID_M2P if it has none (or one beyond 2^31, which no guest here can have). */
  get(mfn: number): number {
    return this.memory.arena.i32[this.at(mfn) >>> 2]!;
  }

  /** set_gpfn_from_mfn with whatever a guest says; 32-bit guests see the low word. */
  setWords(mfn: number, lo: number, hi: number): void {
    this.set(mfn, lo);
    this.memory.arena.i32[(this.at(mfn) >>> 2) + 1] = hi;
  }

  /** @param pfn INVALID_M2P, or below 2^31 */
  set(mfn: number, pfn: number): void {
    const { i32 } = this.memory.arena;
    const at = this.at(mfn) >>> 2;
    i32[at] = pfn;
    i32[at + 1] = pfn < 0 ? -1 : 0;
    i32[(this.memory.frame(this.compatFrames[mfn >>> 10]!) + (mfn & 1023) * 4) >>> 2] = pfn;
  }
}
