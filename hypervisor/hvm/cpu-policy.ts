/**
 * The CPU policy of a domain (d->arch.cpuid): what the CPUID of its guest shows, which is the model's, less what Xen keeps from
 * guests, changed by the rules of the toolstack (xl.cfg's `cpuid`), and then made consistent: nothing that the model has not, and
 * nothing without what it builds on (recalculate_cpuid_policy of xen/arch/x86/cpuid.c, tools/misc's gen-cpuid.py).
 */
import type { Core } from "../../cpu/core.ts";
import { XSTATE_AVX, XSTATE_SSE, XSTATE_X87 } from "../../cpu/fpu/xsave.ts";
import * as B from "../../cpu/system/bits.ts";
import { type CpuLimits, type CpuModel, VENDOR_AMD } from "../../cpu/system/cpu-model.ts";
import { type CpuidLeaf, cpuid, EXT1_COMMON } from "../../cpu/system/cpuid.ts";

export const CPUID_REGISTERS = ["eax", "ebx", "ecx", "edx"] as const;
export type CpuidRegister = (typeof CPUID_REGISTERS)[number];

/** A register of a leaf, bit by bit. */
export interface CpuidRule {
  readonly leaf: number;
  /** Only where the leaf has subleaves. */
  readonly subleaf?: number;
  readonly register: CpuidRegister;
  /** 32 characters for bits 31 to 0: `0` or `1`, `x` for Xen's default, `k` or `s` for what the model has. */
  readonly bits: string;
}

/** What the rules asked for and did not get. */
export interface RefusedRule {
  readonly rule: CpuidRule;
  /** The bits concerned. */
  readonly mask: number;
}

type FeatureWord = readonly [leaf: number, subleaf: number, register: CpuidRegister];
/** Words of feature bits; a feature is its word's index * 32 + its bit. */
const WORDS: readonly FeatureWord[] = [
  [1, 0, "edx"],
  [1, 0, "ecx"],
  [0x80000001, 0, "edx"],
  [0x80000001, 0, "ecx"],
  [0xd, 1, "eax"],
  [7, 0, "ebx"],
  [7, 0, "ecx"],
  [0x80000007, 0, "edx"],
  [0x80000008, 0, "ebx"],
  [7, 0, "edx"],
  [7, 1, "eax"],
  [0x80000021, 0, "eax"],
];
const [EDX1, ECX1, EXT_EDX, EXT_ECX, XSAVE1, EBX7, ECX7, EXT_POWER] = WORDS.map((_, word) => word * 32) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];

const FPU = EDX1;
const DE: number = EDX1 + 2;
const PSE: number = EDX1 + 3;
const TSC: number = EDX1 + 4;
const PAE: number = EDX1 + 6;
const MCE: number = EDX1 + 7;
const APIC: number = EDX1 + 9;
const PGE: number = EDX1 + 13;
const PSE36: number = EDX1 + 17;
const MMX: number = EDX1 + 23;
const FXSR: number = EDX1 + 24;
const SSE: number = EDX1 + 25;
const SSE2: number = EDX1 + 26;
const HTT: number = EDX1 + 28;
const SSE3 = ECX1;
const PCLMULQDQ: number = ECX1 + 1;
const MONITOR: number = ECX1 + 3;
const SSSE3: number = ECX1 + 9;
const FMA: number = ECX1 + 12;
const CX16: number = ECX1 + 13;
const PCID: number = ECX1 + 17;
const SSE4_1: number = ECX1 + 19;
const SSE4_2: number = ECX1 + 20;
const X2APIC: number = ECX1 + 21;
const TSC_DEADLINE: number = ECX1 + 24;
const AES: number = ECX1 + 25;
const XSAVE: number = ECX1 + 26;
const OSXSAVE: number = ECX1 + 27;
const AVX: number = ECX1 + 28;
const F16C: number = ECX1 + 29;
const HYPERVISOR: number = ECX1 + 31;
const SYSCALL: number = EXT_EDX + 11;
const NX: number = EXT_EDX + 20;
const PAGE1GB: number = EXT_EDX + 26;
const LM: number = EXT_EDX + 29;
const LAHF_LM = EXT_ECX;
const XSAVEOPT = XSAVE1;
const XSAVEC: number = XSAVE1 + 1;
const XGETBV1: number = XSAVE1 + 2;
const XSAVES: number = XSAVE1 + 3;
const FSGSBASE = EBX7;
const AVX2: number = EBX7 + 5;
const SMEP: number = EBX7 + 7;
const INVPCID: number = EBX7 + 10;
const SMAP: number = EBX7 + 20;
const SHA: number = EBX7 + 29;
const UMIP: number = ECX7 + 2;
const VAES: number = ECX7 + 9;
const VPCLMULQDQ: number = ECX7 + 10;
const ITSC: number = EXT_POWER + 8;

/** What a feature takes away with itself: each line the feature, and those that need it. In an order that needs one pass. */
const NEEDED_BY: readonly (readonly [feature: number, ...dependents: number[]])[] = [
  [FPU, MMX],
  [PSE, PSE36],
  [PAE, LM, NX],
  [APIC, X2APIC, TSC_DEADLINE],
  [FXSR, SSE],
  [SSE, SSE2],
  [SSE2, SSE3, LM, AES, PCLMULQDQ, SHA],
  [SSE3, SSSE3],
  [SSSE3, SSE4_1],
  [SSE4_1, SSE4_2],
  [LM, CX16, PCID, LAHF_LM, PAGE1GB],
  [PCID, INVPCID],
  [NX, SMAP],
  [XSAVE, XSAVEOPT, XSAVEC, XGETBV1, XSAVES, AVX],
  [AVX, FMA, F16C, AVX2],
  [AVX2, VAES, VPCLMULQDQ],
];

/** Registers that hold no features and follow the rules, with the bits that do. */
const FREE: readonly (readonly [leaf: number, register: CpuidRegister, bits: number])[] = [
  // Family, model and stepping; brand, CLFLUSH size, logical processors.
  [1, "eax", 0x0fff0fff],
  [1, "ebx", 0x00ffffff],
  [4, "eax", -1],
  [4, "ebx", -1],
  [4, "ecx", -1],
  [0x80000008, "ecx", 0xf0ff],
  ...[0x80000002, 0x80000003, 0x80000004].flatMap((leaf) =>
    CPUID_REGISTERS.map((register) => [leaf, register, -1] as const),
  ),
];
/** MONITOR, thermal, performance monitoring: zero for guests. */
export const HIDDEN_LEAVES: readonly number[] = [5, 6, 0xa];

/** Bits of CR4 and EFER that come with a feature. */
const CR4_FEATURES: readonly (readonly [feature: number, bits: number])[] = [
  [TSC, B.CR4_TSD],
  [DE, B.CR4_DE],
  [PSE, B.CR4_PSE],
  [PAE, B.CR4_PAE],
  [MCE, B.CR4_MCE],
  [PGE, B.CR4_PGE],
  [FXSR, B.CR4_OSFXSR],
  [SSE, B.CR4_OSXMMEXCPT],
  [UMIP, B.CR4_UMIP],
  [FSGSBASE, B.CR4_FSGSBASE],
  [PCID, B.CR4_PCIDE],
  [XSAVE, B.CR4_OSXSAVE],
  [SMEP, B.CR4_SMEP],
  [SMAP, B.CR4_SMAP],
];
const EFER_FEATURES: readonly (readonly [feature: number, bits: number])[] = [
  [SYSCALL, B.EFER_SCE],
  [LM, B.EFER_LME],
  [NX, B.EFER_NXE],
];

export const XEN_BASE = 0x40000000;
/** CPUID leaves of Xen itself: at least two (XEN_CPUID_MAX_NUM_LEAVES, cpuid_hypervisor_leaves). */
export const XEN_LEAVES = 5;
const LEAST_XEN_LEAVES = 2;

/** Highest leaves of an HVM policy. */
export const MAX_BASIC = 0xd;
export const MAX_EXTENDED = 0x80000008;
const LAST_KNOWN_EXTENDED = 0x80000021;
const WITH_SUBLEAVES = [4, 7, 0xb, 0xd];

/** What is wrong with a rule, or null. */
export function ruleError({ leaf, subleaf, bits }: CpuidRule): string | null {
  const name = `0x${leaf.toString(16)}`;
  if (!/^[01xks]{32}$/.test(bits)) return `"${bits}" is not 32 characters of 0, 1, x, k and s`;
  const known = leaf <= MAX_BASIC || leaf === XEN_BASE || (leaf >= 0x80000000 && leaf <= LAST_KNOWN_EXTENDED);
  if (!known) return `there is no CPUID leaf ${name} in a policy`;
  if (!WITH_SUBLEAVES.includes(leaf)) return subleaf === undefined ? null : `CPUID leaf ${name} has no subleaves`;
  return subleaf === undefined ? `CPUID leaf ${name} has subleaves: name one, as in ${name},0` : null;
}

/** Bits for which a rule has one of `letters`. */
function bitsWith(rule: CpuidRule, letters: string): number {
  let mask = 0;
  for (let bit = 0; bit < 32; bit++) if (letters.includes(rule.bits[31 - bit]!)) mask |= 1 << bit;
  return mask;
}

/** A register as a rule makes it: `x` of `initial`, `k` and `s` of `own`. */
function transform(rule: CpuidRule, initial: number, own: number): number {
  return bitsWith(rule, "1") | (bitsWith(rule, "x") & initial) | (bitsWith(rule, "ks") & own);
}

const wordOf = (rule: CpuidRule): number =>
  WORDS.findIndex(
    ([leaf, subleaf, register]) => leaf === rule.leaf && subleaf === (rule.subleaf ?? 0) && register === rule.register,
  );

/** What a rule changes in a register that holds no features. */
interface Change {
  readonly rule: CpuidRule;
  readonly keep: number;
  readonly set: number;
}

export class CpuPolicy {
  /** The model that the guest is shown. */
  readonly model: CpuModel;
  /** In the order of the rules. */
  readonly refused: readonly RefusedRule[];
  /** Highest leaves, and the highest of Xen's less XEN_BASE. */
  maxBasic: number = MAX_BASIC;
  maxExtended: number = MAX_EXTENDED;
  xenLeaves: number = XEN_LEAVES;
  private readonly words: Int32Array = new Int32Array(WORDS.length);
  private readonly changes: Change[] = [];

  /**
   * @param core any core of the machine: it is asked for its leaves
   * @param model what the domain is shown, at most the machine's own model
   * @param rules without error (`ruleError`); later ones win
   */
  constructor(core: Core, model: CpuModel, rules: readonly CpuidRule[]) {
    this.model = model;
    const own = WORDS.map(([leaf, subleaf, register]) => cpuid(core, leaf, subleaf, model)[register] | 0);
    this.words.set(own);
    // MONITOR is not for guests, an invariant TSC not for those that might be migrated. OSXSAVE is the guest's own doing,
    // and so is a local APIC that is switched off.
    for (const feature of [MONITOR, OSXSAVE, ITSC]) this.clear(feature);
    for (const feature of [HYPERVISOR, HTT, APIC]) this.words[feature >>> 5]! |= 1 << (feature & 31);
    const most = new Int32Array(this.words);
    most[ITSC >>> 5]! |= own[ITSC >>> 5]! & (1 << (ITSC & 31));
    const refused = rules.map((rule) => {
      const word = wordOf(rule);
      if (word >= 0) this.words[word] = transform(rule, this.words[word]!, own[word]!);
      else if (rule.register !== "eax") return this.change(core, rule);
      else if (rule.leaf === XEN_BASE) return this.limitXenLeaves(rule);
      else if (rule.leaf === 0) return this.limitBasic(rule);
      else if (rule.leaf === 0x80000000) return this.limitExtended(rule);
      else return this.change(core, rule);
      return 0;
    });
    for (let word = 0; word < WORDS.length; word++) this.words[word]! &= most[word]!;
    for (const [feature, ...dependents] of NEEDED_BY)
      if (!this.has(feature)) for (const dependent of dependents) this.clear(dependent);
    if (model.vendor === VENDOR_AMD) {
      const common = this.words[EDX1 >>> 5]! & EXT1_COMMON;
      this.words[EXT_EDX >>> 5] = (this.words[EXT_EDX >>> 5]! & ~EXT1_COMMON) | common;
    }
    this.noteLost(rules, refused);
    this.refused = rules.flatMap((rule, k) => (refused[k] === 0 ? [] : [{ rule, mask: refused[k]! >>> 0 }]));
  }

  private has(feature: number): boolean {
    return ((this.words[feature >>> 5]! >>> (feature & 31)) & 1) === 1;
  }

  private clear(feature: number): void {
    this.words[feature >>> 5]! &= ~(1 << (feature & 31));
  }

  /** Notes the features that the last rule about them asked for in vain. */
  private noteLost(rules: readonly CpuidRule[], refused: number[]): void {
    const seen = new Int32Array(WORDS.length);
    for (let k = rules.length - 1; k >= 0; k--) {
      const rule = rules[k]!;
      const word = wordOf(rule);
      if (word < 0) continue;
      let lost = bitsWith(rule, "1") & ~this.words[word]!;
      // Neither can OSXSAVE be taken away.
      if (word === OSXSAVE >>> 5) lost |= bitsWith(rule, "01") & (1 << (OSXSAVE & 31));
      refused[k] = lost & ~seen[word]!;
      seen[word]! |= bitsWith(rule, "01ks");
    }
  }

  /** The methods for registers without features return the bits that they don't honour. */
  private change(core: Core, rule: CpuidRule): number {
    const { leaf, register } = rule;
    const vendorHas =
      leaf === 4 ? this.model.vendor !== VENDOR_AMD : leaf === 0x80000008 ? this.model.vendor === VENDOR_AMD : true;
    const free = (vendorHas && FREE.find(([l, r]) => l === leaf && r === register)?.[2]) || 0;
    const given = bitsWith(rule, "01");
    const set = bitsWith(rule, "1");
    if ((given & free) !== 0) this.changes.push({ rule, keep: ~(given & free), set: set & free });
    const shown = HIDDEN_LEAVES.includes(leaf) ? 0 : cpuid(core, leaf, rule.subleaf ?? 0, this.model)[register];
    return given & ~free & (set ^ shown);
  }

  private limitBasic(rule: CpuidRule): number {
    const wanted = transform(rule, MAX_BASIC, MAX_BASIC) >>> 0;
    this.maxBasic = Math.min(wanted, MAX_BASIC);
    return wanted > MAX_BASIC ? bitsWith(rule, "1") : 0;
  }

  private limitExtended(rule: CpuidRule): number {
    const wanted = transform(rule, MAX_EXTENDED, MAX_EXTENDED) & 0xffff;
    this.maxExtended = 0x80000000 + Math.min(wanted, MAX_EXTENDED & 0xffff);
    return wanted > (MAX_EXTENDED & 0xffff) ? bitsWith(rule, "1") & 0xffff : 0;
  }

  private limitXenLeaves(rule: CpuidRule): number {
    const wanted = transform(rule, XEN_LEAVES, XEN_LEAVES) & 0xff;
    if (wanted !== 0) this.xenLeaves = Math.min(Math.max(wanted, LEAST_XEN_LEAVES), XEN_LEAVES);
    return wanted > XEN_LEAVES ? bitsWith(rule, "1") & 0xff : 0;
  }

  /** XSTATE_* that the guest may enable. */
  get components(): number {
    if (!this.has(XSAVE)) return 0;
    return XSTATE_X87 | XSTATE_SSE | (this.has(AVX) ? XSTATE_AVX : 0);
  }

  /** What the guest's control registers accept (hvm_cr4_guest_valid_bits, hvm_efer_valid, validate_xstate). */
  limits(): CpuLimits {
    let cr4 = B.CR4_VME | B.CR4_PVI | B.CR4_PCE;
    for (const [feature, bits] of CR4_FEATURES) if (this.has(feature)) cr4 |= bits;
    let efer = 0;
    for (const [feature, bits] of EFER_FEATURES) if (this.has(feature)) efer |= bits;
    return { cr4, efer, xcr0: this.components };
  }

  /** Makes of the model's leaf what the guest is shown, but for what Xen itself answers at run time. */
  apply(leaf: number, subleaf: number, out: CpuidLeaf): void {
    WORDS.forEach(([wordLeaf, wordSubleaf, register], word) => {
      if (wordLeaf === leaf && (wordSubleaf === subleaf || !WITH_SUBLEAVES.includes(leaf)))
        out[register] = this.words[word]! >>> 0;
    });
    for (const { rule, keep, set } of this.changes)
      if (rule.leaf === leaf && (rule.subleaf === undefined || rule.subleaf === subleaf))
        out[rule.register] = ((out[rule.register] & keep) | set) >>> 0;
  }
}
