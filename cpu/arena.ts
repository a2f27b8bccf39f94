/**
 * The arena: one WebAssembly.Memory per machine that holds the state of the active core, the soft TLBs, the micro-op
 * stream and the machine's RAM. This is the only file that assigns offsets. Every constant that names an address is a
 * byte address in the arena; the code of all engines and of the hypervisor reads and writes through the views of
 * `Arena`. 64-bit values are two little-endian 32-bit words to TypeScript and one i64 to WebAssembly.
 *
 * The state of the core that runs lies at CORE. Other cores wait in save slots (`Arena.saveSlot(index)`) and are
 * copied in by `Core.activate()`: fixed addresses are what makes the generated code short.
 */

/**
 * i64, of the machine: counted up in its upper bits (mmu/tlb.ts `newFetchEpoch`) whenever a translation leaves the fetch TLB or translated
 * code is dropped. What was found to be there under (epoch, TLB_BASE, TLB_CTX) still is as long as these are the same.
 */
export const FETCH_EPOCH = 0x800;
export const FETCH_EPOCH_SHIFT = 36;
/** i32, of the machine: calls of translated code until the one that is to be timed (host-profile.ts). Nothing else looks at it. */
export const SAMPLE = 0x808;
/** Of the arena, for generated code: i32 arena address and number of the machine's frames, arena address of the words of `writeTagged`. */
export const RAM_AT = 0x80c;
export const RAM_FRAMES = 0x810;
export const WRITE_TAGGED_AT = 0x814;
/**
 * f64, of the machine: 2 MiB regions between which a large page may be in the TLBs, for the lower and the upper half of the address
 * space (mmu/tlb.ts).
 */
export const LARGE_LOW_MIN = 0x818;
export const LARGE_LOW_MAX = 0x820;
export const LARGE_HIGH_MIN = 0x828;
export const LARGE_HIGH_MAX = 0x830;

// ---- CORE: the active core's state, one 4 KiB page -------------------------------------------------------------
export const CORE = 0x1000;
export const CORE_BYTES = 0x1000;

/** The slot file: 32 slots of 8 bytes; micro-op operand fields are byte offsets (0..255) into it. */
export const SLOTS: number = CORE;
export const S_RAX = 0x00;
export const S_RCX = 0x08;
export const S_RDX = 0x10;
export const S_RBX = 0x18;
export const S_RSP = 0x20;
export const S_RBP = 0x28;
export const S_RSI = 0x30;
export const S_RDI = 0x38;
export const S_R8 = 0x40;
/** Temporaries of one instruction. Never live across an instruction boundary. */
export const S_T0 = 0x80;
export const S_T1 = 0x88;
export const S_T2 = 0x90;
export const S_T3 = 0x98;
export const S_T4 = 0xa0;
export const S_T5 = 0xa8;
export const S_T6 = 0xb0;
/** By convention the linear or effective address that the lifter computes in 16- and 32-bit address modes. */
export const S_T7 = 0xb8;
/** Always zero. */
export const S_ZERO = 0xc0;
/** Segment bases, in the order of the segment register numbers ES CS SS DS FS GS. */
export const S_SEGBASE = 0xc8;
export const S_CSBASE = 0xd0;
export const S_FSBASE = 0xe8;
export const S_GSBASE = 0xf0;
/** RIP (the offset in CS, not linear) of the first instruction of the running block. */
export const S_RIPBASE = 0xf8;

/**
 * Lazy flags, five i64 words that every flag-setting micro-op stores:
 * ZF = (CC_Z == 0); SF = sign of CC_S; PF = even parity of the low byte of CC_S; CF = sign of CC_C; OF = sign of CC_O;
 * AF = bit 4 of CC_A.
 */
export const CC_Z: number = CORE + 0x100;
export const CC_S: number = CORE + 0x108;
export const CC_C: number = CORE + 0x110;
export const CC_O: number = CORE + 0x118;
export const CC_A: number = CORE + 0x120;
/** i64: architectural RIP, valid at cuts and whenever TypeScript runs after leaving a block. */
export const RIP: number = CORE + 0x128;
/** i32: every RFLAGS bit that is not a lazy flag (TF IF DF IOPL NT RF VM AC VIF VIP ID), and bit 1. */
export const RFLAGS_SYS: number = CORE + 0x130;
/** i32: the mode part of a block's key, MODE_* bits of uops/uop.ts. Kept by system/mode.ts. */
export const MODE: number = CORE + 0x134;
/** f64: cycle at which the engine's slice ends. The current cycle is SLICE_END - REMAINING, always. */
export const SLICE_END: number = CORE + 0x138;
/** i32: cycles left in the slice; <= 0 leaves the engine at the next cut. */
export const REMAINING: number = CORE + 0x140;
/** i32: instructions retired since the engine last folded them into INSTRET. */
export const INSNS: number = CORE + 0x144;
/** f64: instructions retired by this core. */
export const INSTRET: number = CORE + 0x148;
/** i32: byte address of the data TLB of the current view (user, supervisor, supervisor with SMAP in force). */
export const TLB_BASE: number = CORE + 0x150;
/** i32: context number of the current address space, 1..4095, in the low 12 bits of every TLB tag. */
export const TLB_CTX: number = CORE + 0x154;
/** i64: linear page (address with low 12 bits clear) that code is being fetched from, or -1: forget it. */
export const FETCH_PAGE: number = CORE + 0x158;
/** i32: arena address of that page. */
export const FETCH_ARENA: number = CORE + 0x160;
/** i32: record (see uops/uop.ts) of the running block. */
export const BLOCK: number = CORE + 0x164;
/** i32: the micro-op that left the block. */
export const UOP: number = CORE + 0x168;
/** i32: current privilege level 0..3. */
export const CPL: number = CORE + 0x16c;

/** The fault that `raise` recorded: vector, error code, flags FAULT_* of core.ts. */
export const FAULT_VECTOR: number = CORE + 0x170;
export const FAULT_ERROR: number = CORE + 0x174;
export const FAULT_FLAGS: number = CORE + 0x178;
/** i32: the vector being delivered when a further fault happens, -1 none (double-fault rules). */
export const DELIVERING: number = CORE + 0x17c;

/** Details of an exit, all i32 unless said. See the EXIT_* codes of core.ts. */
export const EXIT_REASON: number = CORE + 0x180;
export const EXIT_LENGTH: number = CORE + 0x184;
/** i64 qualification: port and size, MSR, CR access ... as each EXIT_* code documents. */
export const EXIT_QUAL: number = CORE + 0x188;
/** i64 guest-physical address. */
export const EXIT_GPA: number = CORE + 0x190;
/** i64 guest-linear address. */
export const EXIT_GLA: number = CORE + 0x198;
export const EXIT_INTR_INFO: number = CORE + 0x1a0;
export const EXIT_INTR_ERROR: number = CORE + 0x1a4;

/** Events to inject before the next instruction (VM-entry interruption information format, SDM 25.8.3), 0 none. */
export const INJECT_INFO: number = CORE + 0x1a8;
export const INJECT_ERROR: number = CORE + 0x1ac;
export const INJECT_LENGTH: number = CORE + 0x1b0;

/** 64 bytes through which the slow memory path and the bus pass data. */
export const BUS_DATA: number = CORE + 0x1c0;

/** Segment registers ES CS SS DS FS GS: 16 bytes each: selector, attributes (see system/segments.ts), limit, unused. */
export const SEG: number = CORE + 0x200;
export const SEG_STRIDE = 16;
export const SEG_SELECTOR = 0;
export const SEG_ATTR = 4;
export const SEG_LIMIT = 8;
/** LDTR, TR, GDTR, IDTR: 32 bytes each: selector, attributes, limit, unused, base i64, unused. */
export const LDTR: number = CORE + 0x260;
export const TR: number = CORE + 0x280;
export const GDTR: number = CORE + 0x2a0;
export const IDTR: number = CORE + 0x2c0;
export const TABLE_BASE = 16;

/** Control registers, i64 each. */
export const CR0: number = CORE + 0x300;
export const CR2: number = CORE + 0x308;
export const CR3: number = CORE + 0x310;
export const CR4: number = CORE + 0x318;
export const CR8: number = CORE + 0x320;
export const EFER: number = CORE + 0x328;
export const XCR0: number = CORE + 0x330;
/** DR0..DR7, i64 each. */
export const DR: number = CORE + 0x340;
/** MSRs with a fixed place, i64 each. Others live with their models (system/msr.ts). */
export const MSR_STAR: number = CORE + 0x380;
export const MSR_LSTAR: number = CORE + 0x388;
export const MSR_CSTAR: number = CORE + 0x390;
export const MSR_FMASK: number = CORE + 0x398;
export const MSR_KERNEL_GS_BASE: number = CORE + 0x3a0;
export const MSR_SYSENTER_CS: number = CORE + 0x3a8;
export const MSR_SYSENTER_ESP: number = CORE + 0x3b0;
export const MSR_SYSENTER_EIP: number = CORE + 0x3b8;
export const MSR_PAT: number = CORE + 0x3c0;
export const MSR_TSC_AUX: number = CORE + 0x3c8;
export const MSR_TSC_ADJUST: number = CORE + 0x3d0;
export const MSR_APIC_BASE: number = CORE + 0x3d8;
export const MSR_MISC_ENABLE: number = CORE + 0x3e0;
export const MSR_XSS: number = CORE + 0x3e8;
/** f64: added to the cycle counter to give the TSC. */
export const TSC_OFFSET: number = CORE + 0x3f0;

/** x87: eight physical registers R0..R7 of 16 bytes (80-bit value in the low 10); MMX aliases the low 8 bytes. */
export const FPR: number = CORE + 0x400;
export const FPU_CW: number = CORE + 0x480;
/** Status word, TOP included in bits 13..11. */
export const FPU_SW: number = CORE + 0x484;
/** Full tag word, two bits a physical register. */
export const FPU_TW: number = CORE + 0x488;
export const FPU_OP: number = CORE + 0x48c;
export const FPU_IP: number = CORE + 0x490;
export const FPU_DP: number = CORE + 0x498;
export const FPU_CS: number = CORE + 0x4a0;
export const FPU_DS: number = CORE + 0x4a4;
export const MXCSR: number = CORE + 0x4a8;
/** i32: bits of the XSTATE components in use besides their init state (XINUSE). */
export const XINUSE: number = CORE + 0x4ac;

/**
 * Vectors of 16 bytes by number: XMM0..15; 16..23 are temporaries of one instruction. The upper half of YMM register or 32-byte
 * temporary n is vector n + YMM_UPPER, so what works on 128 bits works on either half.
 */
export const XMM: number = CORE + 0x500;
export const XMM_STRIDE = 16;
export const XMM_T0 = 16;
export const YMM_UPPER = 24;
export const VECTORS = 48;
/** Bytes from the lower to the upper half of a YMM register. */
export const YMM_UPPER_BYTES: number = YMM_UPPER * XMM_STRIDE;

/** Interruptibility (SDM table 25-3): bit 0 STI, bit 1 MOV SS, bit 3 NMI. */
export const INTERRUPTIBILITY: number = CORE + 0x800;
/** Activity state (SDM 25.4.2): 0 active, 1 HLT, 2 shutdown, 3 wait for SIPI. */
export const ACTIVITY: number = CORE + 0x804;
/** i32: NMIs waiting (0 or 1). */
export const NMI_PENDING: number = CORE + 0x808;
/** i32: debug exceptions to deliver at the next boundary, in the layout of DR6. */
export const PENDING_DEBUG: number = CORE + 0x80c;
/** f64 cycle accounts of this core: user, kernel; account.ts moves cycles here when CPL changes. */
export const ACCOUNT_USER: number = CORE + 0x810;
export const ACCOUNT_KERNEL: number = CORE + 0x818;
/** f64: the cycle up to which this core's cycles are in an account. */
export const ACCOUNTED: number = CORE + 0x820;
/** 16 bytes: state of the generator behind RDRAND and RDSEED (uops/helpers-misc.ts). */
export const RANDOM_STATE: number = CORE + 0x828;
/** i32: an event waits, or may be asked about, that RFLAGS.IF or an NMI's end would let in. The engine keeps it (run.ts). */
export const EVENTS_WAIT: number = CORE + 0x838;

/**
 * Of a vcpu that is a 64-bit PV guest, for interpreter/pv-ends.ts; zero in other cores. PV_KERNEL is the state itself (1: the kernel
 * half runs, which it does at CPL 3). The rest its hypervisor puts here before it lets the guest run (hypervisor/pv/fast-path.ts).
 */
export const PV_KERNEL: number = CORE + 0x83c;
/** i32: what may be done in place: PV_MAY_* of interpreter/pv-ends.ts. */
export const PV_MAY: number = CORE + 0x840;
/** i32: 1 if the system-call callback masks events. */
export const PV_MASKS: number = CORE + 0x844;
/** i64: the system-call callback; linear address at which the frame of a system call begins. */
export const PV_CALLBACK: number = CORE + 0x848;
export const PV_FRAME: number = CORE + 0x850;
/** i32: arena addresses of the two bytes evtchn_upcall_pending and evtchn_upcall_mask, and of their frame's attributes. */
export const PV_INFO: number = CORE + 0x858;
export const PV_INFO_ATTR: number = CORE + 0x85c;
/** i32: RFLAGS.IOPL as the guest sees it, and which bits of it the guest may see (0: none). */
export const PV_IOPL: number = CORE + 0x860;
export const PV_IOPL_MASK: number = CORE + 0x864;
/** i64 CR3 and i32 context number of the kernel's and the user's address space; context 0: none known. */
export const PV_CR3_KERNEL: number = CORE + 0x868;
export const PV_CR3_USER: number = CORE + 0x870;
export const PV_CTX_KERNEL: number = CORE + 0x878;
export const PV_CTX_USER: number = CORE + 0x87c;
/** i32: arena addresses of the first page of the GDT (0: none), and of Xen's reserved one. */
export const PV_GDT: number = CORE + 0x880;
export const PV_GDT_RESERVED: number = CORE + 0x884;
/** i32: cycles that a system call, an iret to the kernel, and one to the user cost. */
export const PV_COST_CALL: number = CORE + 0x888;
export const PV_COST_IRET: number = CORE + 0x88c;
export const PV_COST_IRET_USER: number = CORE + 0x890;
/** i32: how many of each were done in place since the hypervisor counted them. */
export const PV_CALLS: number = CORE + 0x894;
export const PV_IRETS: number = CORE + 0x898;
export const PV_IRETS_USER: number = CORE + 0x89c;
/** i32: cycles of Xen that a kernel's IN costs, and how many were done in place (interpreter/pv-ports.ts). */
export const PV_COST_IN: number = CORE + 0x8a0;
export const PV_INS: number = CORE + 0x8a4;
/**
 * What walks in generated code (interpreter/walk.ts) have to know of the core: i32 WALK_* of mmu/quick.ts, 0: none; arena address of its caches of
 * second-level translations; i64 bits that no entry may have.
 */
export const WALK: number = CORE + 0x8a8;
export const WALK_NESTED_AT: number = CORE + 0x8ac;
export const WALK_RESERVED: number = CORE + 0x8b0;
/** What they leave for each other: log2 of the page's size, 1 if a write needs nothing more; entries: arena address and rights of its page. */
export const WALK_SHIFT: number = CORE + 0x8b8;
export const WALK_WRITABLE: number = CORE + 0x8bc;
export const WALK_ENTRIES: number = CORE + 0x8c0;
export const WALK_END: number = CORE + 0x8e0;
/** Room of the system files: MTRRs and other per-core words, assigned in system/msr.ts by name. */
export const SYSTEM_WORDS: number = CORE + 0x900;
export const SYSTEM_WORDS_BYTES = 0x500;
/** i32 counters by exception vector, 0..31. */
export const FAULT_COUNTS: number = CORE + 0xe00;
/** i32 counters: data TLB misses, fetch TLB misses, page walks, TLB flushes, blocks decoded, code writes. */
export const COUNT_DTLB_MISS: number = CORE + 0xe80;
export const COUNT_FETCH_MISS: number = CORE + 0xe84;
export const COUNT_WALK: number = CORE + 0xe88;
export const COUNT_FLUSH: number = CORE + 0xe8c;
export const COUNT_SMC: number = CORE + 0xe90;
export const COUNT_INTERRUPTS: number = CORE + 0xe94;
/** i64: where the slow path of a memory access finds its linear address. */
export const ACCESS_LIN: number = CORE + 0xf00;
/** i64, what a translation wants at hand but not in a register (translator/emitter.ts): linear address of its first page, context number. */
export const REGION_PAGE: number = CORE + 0xf08;
export const REGION_CTX: number = CORE + 0xf10;
/**
 * The lazy flags of translated code (emit/flags.ts): i32, then five i64. CC_K is zero, and the five words CC_Z .. CC_A hold, whenever
 * anything but translations and their dispatcher runs.
 */
export const CC_K: number = CORE + 0xf18;
export const CC_1: number = CORE + 0xf20;
export const CC_2: number = CORE + 0xf28;
export const CC_OWN_C: number = CORE + 0xf30;
export const CC_OWN_O: number = CORE + 0xf38;
export const CC_OWN_Z: number = CORE + 0xf40;
/** Two i64: what an x87 store leaves (emit/x87-moves.ts), bits 79..64 in the second. */
export const X87_RESULT: number = CORE + 0xf48;

// ---- save slots of the other cores ------------------------------------------------------------------------------
export const MAX_CORES = 256;
const SAVE: number = 0x10000;

// ---- soft TLBs --------------------------------------------------------------------------------------------------
/**
 * Data TLB entry, 32 bytes: read tag i64, write tag i64, addend i32 (arena = low word of linear + addend), attributes
 * i32 (free for mmu/). A tag is linear bits 63..12 with the context number in bits 11..0; zero matches nothing.
 */
export const TLB_ENTRIES = 4096;
export const TLB_ENTRY_SHIFT = 5;
export const TLB_READ = 0;
export const TLB_WRITE = 8;
export const TLB_ADDEND = 16;
export const TLB_ATTR = 20;
export const TLB_VIEWS = 3;
export const VIEW_USER = 0;
export const VIEW_SUPERVISOR = 1;
export const VIEW_SUPERVISOR_SMAP = 2;
export const TLB_VIEW_BYTES: number = TLB_ENTRIES << TLB_ENTRY_SHIFT;
export const DTLB: number = SAVE + MAX_CORES * CORE_BYTES;
/**
 * Fetch TLB entry, 16 bytes: tag i64, arena address of the page i32, unused. One table for all views: user and
 * supervisor fetches differ in the tag by bit 0 of nothing but the context, so a fetch context is (context, CPL==3):
 * tag = page | context, looked up in the half of the table that CPL==3 selects.
 */
export const FETCH_ENTRIES = 4096;
export const FETCH_ENTRY_SHIFT = 4;
export const FETCH_TLB: number = DTLB + TLB_VIEWS * TLB_VIEW_BYTES;
export const FETCH_HALF_BYTES: number = FETCH_ENTRIES << FETCH_ENTRY_SHIFT;

/** A byte a context number: 1 if a core may use its translations again (mmu/contexts.ts). */
export const CONTEXT_LIVE: number = FETCH_TLB + 2 * FETCH_HALF_BYTES;
const CONTEXTS = 4096;

/**
 * Caches of second-level translations (mmu/nested.ts), four tables of i32s a core: guest frame number + 1 (0: empty), arena address of
 * the page with its rights in the low bits, and the same of parts of 2 MiB: guest frame / 512 + 1, arena address of the first page.
 */
export const NESTED_ENTRIES = 4096;
export const NESTED_TAG = 0;
export const NESTED_ENTRY: number = NESTED_ENTRIES * 4;
export const NESTED_LARGE_TAG: number = NESTED_ENTRIES * 8;
export const NESTED_LARGE_ENTRY: number = NESTED_ENTRIES * 12;
const NESTED_BYTES: number = NESTED_ENTRIES * 16;
const NESTED_CACHES: number = CONTEXT_LIVE + CONTEXTS;

// ---- blocks -----------------------------------------------------------------------------------------------------
/** Direct-mapped block table, 16 bytes an entry: arena address of the first byte, MODE, block record, unused. */
export const BLOCK_TABLE: number = NESTED_CACHES + MAX_CORES * NESTED_BYTES;
export const BLOCK_TABLE_ENTRIES = 0x10000;
export const BLOCK_TABLE_SHIFT = 4;
/**
 * Jump cache of the dispatcher of translated code, direct-mapped by RIP, 32 bytes an entry: RIP i64, stamp i64 (see
 * interpreter/generate.ts), MODE i32, table index of the translation i32, its block record i32, unused.
 */
export const JUMPS: number = BLOCK_TABLE + (BLOCK_TABLE_ENTRIES << BLOCK_TABLE_SHIFT);
export const JUMP_ENTRIES = 4096;
export const JUMP_SHIFT = 5;
/** The micro-op stream: block records, bump-allocated, all dropped together when it is full. */
export const STREAM: number = JUMPS + (JUMP_ENTRIES << JUMP_SHIFT);
export const STREAM_BYTES = 0x1fff000;
/** Micro-ops of a single instruction that belongs to no block (the hypervisor's emulation). */
export const LOOSE_STREAM: number = STREAM + STREAM_BYTES;
const LOOSE_BYTES = 0x1000;

/** Frame attributes, a byte a machine frame; the code bitmap and the places of write tags follow. Their size depends on the RAM. */
export const FRAMES: number = LOOSE_STREAM + LOOSE_BYTES;
/** Pages of 64 KiB that every arena has: what generated code addresses by constants. V8 checks nothing there, and folds such loads. */
export const FIXED_PAGES: number = FRAMES >>> 16;

export const PAGE_SIZE = 4096;
/** Frame attribute bits, one byte a machine frame: any of them keeps the page out of a tag. */
export const FRAME_CODE = 1;
export const FRAME_MMIO = 2;
export const FRAME_WATCH = 4;
export const FRAME_DIRTY_LOG = 8;

/** The most RAM that one machine can have: a WebAssembly memory ends at 4 GiB. */
export const MAX_RAM_BYTES = 0xe8000000;

/** No large page is in the TLBs. */
export function forgetLargePages(f64: Float64Array): void {
  f64[LARGE_LOW_MIN >>> 3] = f64[LARGE_HIGH_MIN >>> 3] = Infinity;
  f64[LARGE_LOW_MAX >>> 3] = f64[LARGE_HIGH_MAX >>> 3] = -1;
}

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  /** Machine frames of RAM. */
  readonly frames: number;
  /** Byte address of the attribute byte of frame 0. */
  readonly frameAttr: number;
  /** Byte address of the code bitmap: 64 bits (8 bytes) a frame, one a 64-byte line. */
  readonly codeBitmap: number;
  /**
   * By machine frame, two each: the entries of the data TLB whose write tags it may stand in, as indices of 32-bit words; 0: none, 1 (the
   * first): more than two. So a change of its attributes knows where to look (mmu/tlb.ts).
   */
  readonly writeTagged: Int32Array;
  /** Byte address of machine frame 0; machine frames 0..frames-1 lie one after another. */
  readonly ram: number;

  /** @param ramBytes RAM of the machine in bytes, a multiple of 4096, at most MAX_RAM_BYTES. Throws RangeError. */
  constructor(ramBytes: number) {
    if (ramBytes % PAGE_SIZE !== 0 || ramBytes <= 0 || ramBytes > MAX_RAM_BYTES)
      throw new RangeError(
        `machine memory of ${ramBytes} bytes is not between 4 KiB and ${MAX_RAM_BYTES / 2 ** 20} MiB`,
      );
    this.frames = ramBytes / PAGE_SIZE;
    this.frameAttr = FRAMES;
    this.codeBitmap = (this.frameAttr + this.frames + 7) & ~7;
    const writeTagged = this.codeBitmap + this.frames * 8;
    this.ram = (writeTagged + this.frames * 8 + 0xffff) & ~0xffff;
    const pages = Math.ceil((this.ram + ramBytes) / 0x10000);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const b = this.memory.buffer;
    this.u8 = new Uint8Array(b);
    this.u16 = new Uint16Array(b);
    this.i32 = new Int32Array(b);
    this.u32 = new Uint32Array(b);
    this.f32 = new Float32Array(b);
    this.f64 = new Float64Array(b);
    this.u64 = new BigUint64Array(b);
    this.writeTagged = new Int32Array(b, writeTagged, 2 * this.frames);
    this.i32[RAM_AT >>> 2] = this.ram;
    this.i32[RAM_FRAMES >>> 2] = this.frames;
    this.i32[WRITE_TAGGED_AT >>> 2] = writeTagged;
    forgetLargePages(this.f64);
  }

  /** Where the caches of second-level translations of core `index` lie. */
  nestedCaches(index: number): number {
    return NESTED_CACHES + index * NESTED_BYTES;
  }

  /** Where core `index` (0..MAX_CORES-1) waits while another is active. */
  saveSlot(index: number): number {
    return SAVE + index * CORE_BYTES;
  }

  /** Arena address of machine-physical address `pa` (bytes, a number below 2^53), or -1 if it is not RAM. */
  ofPhysical(pa: number): number {
    return pa < this.frames * PAGE_SIZE ? this.ram + pa : -1;
  }

  /** Machine frame number of an arena address inside RAM. */
  frameOf(address: number): number {
    return (address - this.ram) >>> 12;
  }
}
