/** Large trees of page tables are validated and taken apart in pieces, and everything is as it should be in between. */
import { describe, expect, it } from "vitest";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { RESTART } from "../../../hypervisor/hypercalls/dispatch.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { PGT_l1_page_table, PGT_l4_page_table } from "../../../hypervisor/memory/page-types.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { FREE, L3, L4, P, PvCaller, RO, RWX } from "./pv-caller.ts";

const PIN_L3 = 2;
const PIN_L4 = 3;
const UNPIN = 4;
const NEW_BASEPTR = 5;
const NEW_USER_BASEPTR = 15;
const EINVAL = -22;
const EBUSY = -16;
/** L1 tables of a tree, and how many are done at once. */
const TABLES = 70;
const AT_ONCE = 16;

/** Pages of a tree: its L4, its L3, two L2, TABLES L1. */
const TOP = FREE;
const [T3, T2A, T2B, T1] = [TOP + 1, TOP + 2, TOP + 3, TOP + 4];

class Trees extends PvCaller {
  readonly all: number;

  constructor(type: "pv" | "pv32") {
    super(new FakeMachine({}, 64 * MIB), { type }, 128);
    this.all = TABLES + 4;
    const is32 = type === "pv32";
    const above = is32 ? P : RWX;
    for (let n = 0; n < this.all; n++) this.protect(TOP + n);
    this.put(TOP, 3, this.entry(T3, RWX));
    this.put(T3, 1, this.entry(T2A, above));
    this.put(T3, is32 ? 2 : 300, this.entry(T2B, above));
    for (let n = 0; n < TABLES; n++) this.put(n % 2 === 0 ? T2A : T2B, 5 * (n >>> 1), this.entry(T1 + n, RWX));
    // Each shows a page, some to write to.
    for (let n = 0; n < TABLES; n++) this.put(T1 + n, n, this.entry(10, n % 3 === 0 ? RWX : RO));
    if (is32) {
      // The last entry's L2 is another one of its own.
      this.put(T3, 3, this.entry(TOP, P));
      this.put(TOP, 3, 0n);
    }
  }
  get root(): number {
    return this.domain.pv!.is32bit ? T3 : TOP;
  }
  get pinCommand(): number {
    return this.domain.pv!.is32bit ? PIN_L3 : PIN_L4;
  }
  audit(): string[] {
    return auditMemory(this.hv);
  }
  /** Audits after each piece of what follows. */
  audited(): this {
    this.onPiece = () => {
      expect(this.audit()).toEqual([]);
      return true;
    };
    return this;
  }
  count(page: number): number {
    return this.hv.pageTypes.counts[this.mfn(page)]!;
  }
}

describe.each(["pv", "pv32"] as const)("a %s domain", (type) => {
  it("pins and unpins a tree in pieces", () => {
    const t = new Trees(type).audited();
    expect(t.ext(t.pinCommand, t.mfn(t.root))).toBe(0);
    expect(t.pieces).toBeGreaterThan(TABLES / AT_ONCE);
    expect(t.pieces).toBeLessThan(TABLES / AT_ONCE + 3);
    expect(t.audit()).toEqual([]);
    expect([t.count(T1), t.count(T1 + TABLES - 1), t.count(t.root)]).toEqual([1, 1, 1]);
    expect(t.ext(UNPIN, t.mfn(t.root))).toBe(0);
    expect(t.pieces).toBeGreaterThan(TABLES / AT_ONCE);
    expect(t.count(T1)).toBe(0);
    // All may be written to again.
    for (let n = 0; n < t.all; n++) expect(t.map(TOP + n, t.entry(TOP + n, RWX))).toBe(0);
    expect(t.audit()).toEqual([]);
  });

  it("is refused a tree with a fault at its end, and nothing stays", () => {
    const t = new Trees(type).audited();
    t.put(T1 + TABLES - 1, 511, t.entry(T1, RWX));
    expect(t.ext(t.pinCommand, t.mfn(t.root))).toBe(EBUSY);
    expect(t.pieces).toBeGreaterThan(TABLES / AT_ONCE);
    for (let n = 0; n < t.all; n++) expect(t.count(TOP + n)).toBe(0);
    expect(t.audit()).toEqual([]);
  });

  it("does what comes next in the list when what was before is done", () => {
    const t = new Trees(type).audited();
    const words = type === "pv" ? [8, 8, 8] : [4, 4, 4];
    const list = [t.pinCommand, UNPIN, t.pinCommand, UNPIN, UNPIN];
    t.write(9, ...list.flatMap((command) => [command, t.mfn(t.root), 0].map((v, n) => [words[n]!, v] as const)));
    expect(t.call(26, t.at(9), list.length, t.at(8), 0x7ff0)).toBe(EINVAL);
    expect(t.get32(8, 0)).toBe(4);
    for (let n = 0; n < t.all; n++) expect(t.count(TOP + n)).toBe(0);
    expect(t.audit()).toEqual([]);
  });

  it("may end, or do something else, in between", () => {
    for (const until of [1, 2, 3, 4])
      for (const command of ["pin", "unpin"]) {
        const t = new Trees(type);
        if (command === "unpin") t.ext(t.pinCommand, t.mfn(t.root));
        let pieces = 0;
        t.onPiece = () => ++pieces < until;
        expect(t.ext(command === "pin" ? t.pinCommand : UNPIN, t.mfn(t.root))).toBe(RESTART);
        t.onPiece = () => true;
        expect(t.audit()).toEqual([]);
        // What is validated, or not yet taken apart, is a table.
        if (until === 1) {
          const held = command === "pin" ? T1 : T1 + 1;
          expect(t.hv.pageTypes.types[t.mfn(held)]).toBe(PGT_l1_page_table);
          expect(t.map(held, t.entry(held, RWX))).toBe(EBUSY);
        }
        if (until === 2) {
          // Another list does not mind.
          expect(t.ext(t.pinCommand, t.mfn(type === "pv" ? L4 : L3))).toBe(EINVAL);
          expect(t.ext(t.pinCommand, t.mfn(t.root))).toBe(0);
          expect(t.ext(UNPIN, t.mfn(t.root))).toBe(0);
          for (let n = 0; n < t.all; n++) expect(t.count(TOP + n)).toBe(0);
        }
        expect(t.audit()).toEqual([]);
        const free = t.hv.heap.ownedBy(t.domain.domid);
        expect(free).toBeGreaterThan(0);
        destroyDomain(t.domain);
        expect(t.hv.heap.ownedBy(t.domain.domid)).toBe(0);
        expect(t.audit()).toEqual([]);
      }
  });

  it("takes a new base, and gives up the old one, in pieces", () => {
    const t = new Trees(type).audited();
    // The tree must show the kernel too, or nothing could be called.
    if (type === "pv") t.put(TOP, 0, t.entry(L3, RWX));
    else t.put(T3, 1, t.entry(3, P));
    expect(t.ext(NEW_BASEPTR, t.mfn(t.root))).toBe(0);
    const pieces = t.pieces;
    expect(pieces).toBeGreaterThan(2);
    expect(t.audit()).toEqual([]);
    expect(t.ext(NEW_BASEPTR, t.mfn(type === "pv" ? L4 : L3))).toBe(0);
    expect(t.pieces).toBeGreaterThan(2);
    expect(t.count(t.root)).toBe(0);
    if (type === "pv32") return;
    expect(t.ext(NEW_USER_BASEPTR, t.mfn(TOP))).toBe(0);
    expect(t.pieces).toBe(pieces);
    expect(t.hv.pageTypes.is(t.mfn(TOP), PGT_l4_page_table)).toBe(true);
    expect(t.ext(NEW_USER_BASEPTR, 0)).toBe(0);
    expect(t.count(TOP)).toBe(0);
    expect(t.audit()).toEqual([]);
  });

  it.skipIf(type === "pv32")("changes an entry that leads to a tree in pieces", () => {
    const t = new Trees(type).audited();
    expect(t.set(L4, 7, t.entry(T3, RWX))).toBe(0);
    expect(t.pieces).toBeGreaterThan(TABLES / AT_ONCE);
    expect(t.count(T3)).toBe(1);
    expect(t.audit()).toEqual([]);
    expect(
      t.update([
        [(BigInt(t.mfn(L4)) << 12n) + 56n, 0n],
        [(BigInt(t.mfn(T1)) << 12n) + 8n, 77n],
      ]),
    ).toBe(0);
    expect(t.get(T1, 1)).toBe(77n);
    expect(t.pieces).toBeGreaterThan(TABLES / AT_ONCE);
    expect(t.count(T3)).toBe(0);
    expect(t.audit()).toEqual([]);
  });
});
