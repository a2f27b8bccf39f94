// The judge of the decoder: iced-x86. `disagreement` compares one decoded instruction with iced's view of the same bytes.

import {
  CpuidFeature,
  Decoder,
  DecoderOptions,
  Instruction as Iced,
  InstructionInfoFactory,
  MemorySizeExt,
  Mnemonic,
  OpAccess,
  OpKind,
  Register,
  RegisterExt,
} from "iced-x86";
import { decode } from "../../../cpu/decode/decoder.ts";
import { mnemonicName } from "../../../cpu/decode/disasm.ts";
import * as I from "../../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../../cpu/decode/mnemonics.ts";
import { FEATURE_NAMES, ROW_FEATURE, ROW_FLAGS, ROW_TEXT } from "../../../cpu/decode/table.ts";

export type Mode = 16 | 32 | 64;

/** CPUID features, in iced's names, whose instructions are in the opcode tables. */
const FEATURES: ReadonlySet<string> = new Set(
  `INTEL8086 INTEL8086_ONLY INTEL186 INTEL286 INTEL386 INTEL486 INTEL386_ONLY FPU FPU287 FPU387 FPU287XL_ONLY
  FPU_OLD SMM X64 MMX SSE SSE2 SSE3 SSSE3 SSE4_1 SSE4_2 POPCNT LZCNT BMI1 MOVBE CMPXCHG16B CX8 CMOV FXSR XSAVE
  XSAVEOPT XSAVEC XSAVES FSGSBASE RDTSCP INVPCID SMAP RDRAND RDSEED SYSCALL SEP CLFSH CLFLUSHOPT CLWB MONITOR VMX
  SVM AES PCLMULQDQ ADX SHA PKU RDPID CLZERO SMX PREFETCHW PREFETCHWT1 MULTIBYTENOP PAUSE MSR TSC RDPMC CPUID
  SKINIT SKINIT_or_SVM UD AVX AVX2 FMA F16C BMI2`.split(/\s+/),
);

/** iced's feature names where they are not those of FEATURE_NAMES; INTEL8086 and the like are BASE. */
const FEATURE_OF: Readonly<Record<string, string>> = {
  SSE4_1: "SSE41",
  SSE4_2: "SSE42",
  CMPXCHG16B: "CX16",
  SKINIT: "SVM",
  SKINIT_or_SVM: "SVM",
  PREFETCHWT1: "PREFETCHW",
  FPU287: "FPU",
  FPU387: "FPU",
  FPU287XL_ONLY: "FPU",
};

/** What decodes as a plain NOP here, because it is one where its feature is absent. */
const HINTS: ReadonlySet<string> = new Set(
  `Cldemote Prefetch Prefetchw Prefetchit0 Prefetchit1 Reservednop Nop Endbr32 Endbr64 Rdsspd Rdsspq`.split(" "),
);

/** iced's names for what the tables call otherwise; both are correct. */
const RENAMED: Readonly<Record<string, string>> = {
  sal: "shl", // C0 /6 executes as SHL
  fstpnce: "fstp", // D9 D8+i executes as FSTP
  wbnoinvd: "wbinvd", // F3 is ignored where WBNOINVD is absent
  getsecq: "getsec",
  feni: "fneni",
  fdisi: "fndisi",
  pcmpestrm64: "pcmpestrm", // REX.W: the lengths are RAX and RDX, as `opSize` says
  pcmpestri64: "pcmpestri",
  vpcmpestrm64: "vpcmpestrm",
  vpcmpestri64: "vpcmpestri",
};

/** Their general register counts in a fixed width, in which the tables give it; iced names it by operand size. */
const FIXED_WIDTH =
  /^(Arpl|Lar|Lsl|Verr|Verw|Lldt|Ltr|Lmsw|V?Movmskp[sd]|V?Pmovmskb|V?Pinsr[bw]|V?Pextr[bw]|V?Extractps)$/i;

/** One decoder over a whole buffer of byte strings, so that no string costs an allocation in iced. */
export class Judge {
  readonly bytes: Uint8Array;
  readonly mode: Mode;
  private readonly decoder: Decoder;
  private readonly iced: Iced = new Iced();
  private readonly info: InstructionInfoFactory = new InstructionInfoFactory();
  private readonly ours: I.Instruction = new I.Instruction();
  /** Strings that both take for an instruction. */
  valid = 0;
  /** Mnemonics seen among them. */
  readonly seen: Set<number> = new Set();

  constructor(bytes: Uint8Array, mode: Mode) {
    this.bytes = bytes;
    this.mode = mode;
    this.decoder = new Decoder(mode, bytes, DecoderOptions.None);
  }

  /** What differs for the instruction at `at`, or "" if nothing does. */
  disagreement(at: number): string {
    const { iced, ours } = this;
    this.decoder.position = at;
    this.decoder.ip = 0n;
    this.decoder.decodeOut(iced);
    const result = decode(ours, this.bytes, at, this.bytes.length, this.mode);
    const what = this.compare(result);
    if (what === "") return "";
    const hex = Buffer.from(this.bytes.subarray(at, at + 15)).toString("hex");
    return `${this.mode}-bit ${hex}: ${what} (row "${ROW_TEXT[ours.row]}", iced ${iced.toString()})`;
  }

  private compare(result: number): string {
    const { iced, ours } = this;
    const name = Mnemonic[iced.mnemonic]!;
    // AMD's processors ignore VEX.W in VPERMQ and VPERMPD: the lifter decides.
    if (iced.isInvalid && result === I.DECODE_OK && /^VPERM(Q|PD)$/.test(MNEMONIC_NAMES[ours.mn]!)) return "";
    if (iced.isInvalid) return result === I.DECODE_UD || result === I.DECODE_GP ? "" : "iced says invalid";
    const absent = Array.from(iced.cpuidFeatures(), (f) => CpuidFeature[f]!).filter((f) => !FEATURES.has(f));
    if (absent.length > 0 && result === I.DECODE_UD) return "";
    if (result !== I.DECODE_OK) return `iced takes it, result ${result}, features ${absent}`;
    if (ours.length !== iced.length) return `length ${ours.length}, iced ${iced.length}`;
    // F3 with REX.B: XCHG r8, rAX, as processors (and Xen's emulator) have it; iced takes F3 90 for PAUSE always.
    if (name === "Pause" && (ours.rex & 1) !== 0) return MNEMONIC_NAMES[ours.mn] === "XCHG" ? "" : "PAUSE";
    this.valid++;
    this.seen.add(ours.mn);
    if (HINTS.has(name) && MNEMONIC_NAMES[ours.mn] === "NOP") return "";
    const theirName = RENAMED[name.toLowerCase()] ?? name.toLowerCase();
    if (mnemonicName(ours).replace(/ far$/, "") !== theirName) return `mnemonic ${mnemonicName(ours)}`;
    if ((ours.lock !== 0) !== iced.hasLockPrefix) return "LOCK";
    if ((ROW_FLAGS[ours.row]! & I.ROW_STRING) !== 0) {
      if ((ours.rep === 0xf3) !== iced.hasRepPrefix || (ours.rep === 0xf2) !== iced.hasRepnePrefix) return "REP";
    }
    return this.feature() || this.operands(name) || this.access(name);
  }

  private feature(): string {
    const mine = FEATURE_NAMES[ROW_FEATURE[this.ours.row]!]!;
    const theirs = Array.from(this.iced.cpuidFeatures(), (f) => FEATURE_OF[CpuidFeature[f]!] ?? CpuidFeature[f]!);
    if (theirs.includes(mine)) return "";
    // PADDQ mm came with SSE2 (AMD APM volume 5); iced follows the SDM's table, which says MMX.
    if (this.iced.mnemonic === Mnemonic.Paddq && mine === "SSE2") return "";
    return mine === "BASE" && theirs.every((f) => !FEATURE_NAMES.includes(f)) ? "" : `feature ${mine}, iced ${theirs}`;
  }

  private operands(name: string): string {
    const { iced, ours } = this;
    let count = 0;
    while (count < I.MAX_OPERANDS && ours.kind[count] !== I.OP_NONE) count++;
    if (/^(V?Maskmov(q|dqu)$|Xlat)/i.test(name)) return ""; // iced counts the implied memory operand
    if (/^(Pblendvb|Blendvp|Sha256rnds2)/.test(name)) count--; // iced leaves XMM0 out
    // iced lists ST(0) or leaves it out by instruction; the other register is ModRM.rm in every form.
    const st = ours.kind.subarray(0, count).lastIndexOf(I.OP_ST);
    if (st >= 0) return ours.reg.subarray(0, count).includes(ours.modrm & 7) ? "" : "ST(i)";
    if (/^(Aam|Aad)$/.test(name)) return ours.immLo === iced.immediate8 ? "" : "immediate";
    if (iced.opCount !== count) return `${count} operands, iced ${iced.opCount}`;
    for (let i = 0; i < count; i++) {
      const what = this.operand(i);
      if (what !== "") return `operand ${i}: ${what}`;
    }
    return "";
  }

  private operand(i: number): string {
    const { iced, ours } = this;
    const kind = iced.opKind(i);
    switch (ours.kind[i]) {
      case I.OP_GPR:
      case I.OP_XMM:
      case I.OP_MMX:
      case I.OP_ST:
      case I.OP_SREG:
      case I.OP_CR:
      case I.OP_DR:
        return kind === OpKind.Register ? this.register(i) : `register, iced kind ${OpKind[kind]}`;
      case I.OP_MEM:
        return kind === OpKind.Memory ? this.memory(i) : `memory, iced kind ${OpKind[kind]}`;
      case I.OP_MOFFS: {
        if (kind !== OpKind.Memory) return `moffs, iced kind ${OpKind[kind]}`;
        const offset = (BigInt(ours.dispHi) << 32n) | BigInt(ours.disp >>> 0);
        if (BigInt.asUintN(64, offset) !== BigInt.asUintN(64, iced.memoryDisplacement)) return "moffs offset";
        return this.memorySize(i);
      }
      case I.OP_IMM:
      case I.OP_IMM2: {
        if (kind === OpKind.Immediate8_2nd) return ours.imm2 === iced.immediate8_2nd ? "" : "second immediate";
        const bits = BigInt(ours.size[i]! * 8);
        const value = BigInt.asUintN(Number(bits), (BigInt(ours.immHi) << 32n) | BigInt(ours.immLo >>> 0));
        if (value !== BigInt.asUintN(Number(bits), iced.immediate(i))) return `immediate ${value}`;
        const extended = BigInt(ours.immLo >> 31) !== BigInt(ours.immHi);
        return extended && ours.size[i] !== 8 ? "immediate not extended" : "";
      }
      case I.OP_REL: {
        const bits = ours.opSize * 8;
        const displacement = (BigInt(ours.immHi) << 32n) | BigInt(ours.immLo >>> 0);
        const target = BigInt.asUintN(bits, BigInt(ours.length) + displacement);
        return target === iced.nearBranchTarget ? "" : `target ${target}`;
      }
      case I.OP_FAR: {
        if (ours.imm2 !== iced.farBranchSelector) return "selector";
        const offset = kind === OpKind.FarBranch16 ? iced.farBranch16 : iced.farBranch32;
        return (ours.size[i] === 4 ? ours.immLo & 0xffff : ours.immLo >>> 0) === offset ? "" : "far offset";
      }
      case I.OP_STR_SRC: {
        const kinds = { 2: OpKind.MemorySegSI, 4: OpKind.MemorySegESI, 8: OpKind.MemorySegRSI };
        if (kind !== kinds[ours.addrSize as 2]) return "string source";
        return this.segment() || this.memorySize(i);
      }
      case I.OP_STR_DST: {
        const kinds = { 2: OpKind.MemoryESDI, 4: OpKind.MemoryESEDI, 8: OpKind.MemoryESRDI };
        return kind === kinds[ours.addrSize as 2] ? this.memorySize(i) : "string destination";
      }
      default:
        return "kind";
    }
  }

  private register(i: number): string {
    const theirs = this.iced.opRegister(i);
    const number = RegisterExt.number(theirs);
    const reg = this.ours.reg[i]!;
    if (this.ours.kind[i] !== I.OP_GPR) return reg === number ? "" : `register ${reg}`;
    const named = FIXED_WIDTH.test(Mnemonic[this.iced.mnemonic]!) || this.ours.kind[0] === I.OP_SREG;
    const fixed = this.ours.size[i]! < RegisterExt.size(theirs) && named;
    if (this.ours.size[i] !== RegisterExt.size(theirs) && !fixed) return `register of ${this.ours.size[i]} bytes`;
    const high = theirs >= Register.AH && theirs <= Register.BH;
    return reg === (high ? I.REG_AH + theirs - Register.AH : this.lowNumber(theirs)) ? "" : `register ${reg}`;
  }

  /** iced numbers the byte registers AL..R15L with AH..BH in between. */
  private lowNumber(register: Register): number {
    return RegisterExt.number(RegisterExt.fullRegister(register));
  }

  private segment(): string {
    // In 64-bit mode iced reports ES, CS, SS and DS prefixes, which the processor ignores.
    if (this.mode === 64 && this.iced.segmentPrefix !== Register.None && this.ours.segOverride === 0) {
      const ignored = RegisterExt.number(this.iced.segmentPrefix);
      return ignored <= I.SEG_DS ? "" : `no override, iced ${ignored}`;
    }
    return this.ours.seg === RegisterExt.number(this.iced.memorySegment) ? "" : `segment ${this.ours.seg}`;
  }

  private memorySize(i: number): string {
    const bytes = MemorySizeExt.size(this.iced.memorySize);
    // iced gives no size to what has none, and 0 or a nominal one to state areas; 1-byte hints are addresses.
    if (bytes === 0 || this.ours.size[i] === 0) return "";
    return this.ours.size[i] === bytes ? "" : `memory of ${this.ours.size[i]} bytes, iced ${bytes}`;
  }

  private memory(i: number): string {
    const { iced, ours } = this;
    const theirBase = iced.memoryBase;
    const rip = theirBase === Register.RIP || theirBase === Register.EIP;
    const base = theirBase === Register.None ? I.REG_NONE : rip ? I.REG_RIP : RegisterExt.number(theirBase);
    if (ours.base !== base) return `base ${ours.base}`;
    const theirIndex = iced.memoryIndex;
    const index = theirIndex === Register.None ? I.REG_NONE : RegisterExt.number(theirIndex);
    if (ours.index !== index) return `index ${ours.index}`;
    if (index !== I.REG_NONE && 1 << ours.scale !== iced.memoryIndexScale) return `scale ${ours.scale}`;
    const displacement = BigInt(ours.disp) + (rip ? BigInt(ours.length) : 0n);
    const bits = ours.addrSize * 8;
    if (BigInt.asUintN(bits, displacement) !== BigInt.asUintN(bits, iced.memoryDisplacement))
      return `disp ${ours.disp}`;
    return this.segment() || this.memorySize(i);
  }

  /** ROW_WRITE0 and ROW_RW0 against iced's access of the first operand. */
  private access(name: string): string {
    const { ours } = this;
    const kind = ours.kind[0]!;
    if (kind === I.OP_NONE || kind === I.OP_IMM || kind === I.OP_REL || kind === I.OP_FAR || kind === I.OP_ST)
      return "";
    const info = this.info.info(this.iced);
    const access = info.opAccess(0);
    info.free();
    const flags = ROW_FLAGS[ours.row]!;
    const mine = (flags & I.ROW_WRITE0) !== 0 ? "W" : (flags & I.ROW_RW0) !== 0 ? "RW" : "R";
    if (/^(Ud[01]|V?Maskmov(q|dqu)$)/i.test(name)) return ""; // no access at all; an implied operand that iced counts
    // iced counts XOR r,r and its like as no input; under REP it counts LODS as conditional.
    if (ours.kind[1] === kind && ours.reg[0] === ours.reg[1] && /^(Xor|Sub|Pxor|Psub|Pcmp|Xorp|Pandn|Andnp)/.test(name))
      return "";
    if (name.startsWith("Lods")) return mine === "W" ? "" : "LODS";
    const theirs: Partial<Record<OpAccess, string>> = {
      [OpAccess.Read]: "R",
      [OpAccess.CondRead]: "R",
      [OpAccess.Write]: "W",
      // A register that may keep its value (CMOVcc, BSF) is an input; memory written under REP is not.
      [OpAccess.CondWrite]: kind === I.OP_GPR ? "RW" : "W",
      [OpAccess.ReadWrite]: "RW",
      [OpAccess.ReadCondWrite]: "RW",
      [OpAccess.NoMemAccess]: "R",
    };
    return theirs[access] === mine ? "" : `first operand ${mine}, iced ${OpAccess[access]} ${name}`;
  }
}
