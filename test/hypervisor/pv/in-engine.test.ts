/**
 * System calls, irets, INs and IRETQs that the engine does in place (cpu/interpreter/pv-ends.ts, pv-ports.ts, pv-iretq.ts) against what Xen's own code does: random kernels and users
 * with frames of every kind, run twice, cut into the same slices, and compared in everything that is counted or can be seen.
 */

import { describe, expect, it } from "vitest";
import { FAULT_COUNTS, PV_CALLS, PV_INS, PV_IRETS, PV_IRETS_USER, S_R8, S_RDX } from "../../../cpu/arena.ts";
import { coreState } from "../../../cpu/reference/inspect.ts";
import { HELPER_NAMES, HELPERS } from "../../../cpu/uops/helpers.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import type { Hypervisor } from "../../../hypervisor/hypervisor.ts";
import { Random } from "../../support/random.ts";
import { RO } from "./pv-caller.ts";
import * as G from "./pv-guest.ts";

const S_R15 = S_R8 + 7 * 8;
/** Pages: a table of iret frames, code of the kernel and of the user. */
const FRAMES = G.OWN;
const KERNEL = G.OWN + 1;
const FRAME_BYTES = 72;
const FRAMES_IN_PAGE = Math.floor(4096 / FRAME_BYTES);
/** IRETQ to what follows it, from a frame with these selectors; flags are set in its image of RFLAGS. */
const iretq = (ss: number, cs: number, flags = 0): number[] => [
  ...[0x48, 0x89, 0xe0], // mov %rsp, %rax
  ...[0x68, ss & 0xff, ss >>> 8, 0, 0, 0x50, 0x9c], // push $ss; push %rax; pushfq
  ...(flags === 0 ? [] : [0x81, 0x0c, 0x24, flags & 0xff, (flags >>> 8) & 0xff, (flags >>> 16) & 0xff, 0]),
  ...[0x68, cs & 0xff, cs >>> 8, 0, 0], // push $cs
  ...[0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcf], // lea 3(%rip), %rax; push %rax; iretq
];
/** Offsets of entry points in the user's page. */
const USER_CODE: readonly (readonly number[])[] = [
  [0x0f, 0x05], // syscall
  [...iretq(0xe02b, 0xe033), 0x0f, 0x05],
  [0xf9, 0x0f, 0x05], // stc; syscall
  [0xfd, 0x0f, 0x05], // std; syscall
  [0x31, 0xc0, 0x50, 0x0f, 0x05], // xor %eax, %eax; push %rax; syscall
  [0x9c, 0x81, 0x0c, 0x24, 0, 0x40, 0, 0, 0x9d, 0x0f, 0x05], // NT by POPF; syscall
  [0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d, 0x0f, 0x05], // AC by POPF; syscall
  [0x8b, 0x04, 0x25, 0, 0, 0, 0x70, 0x0f, 0x05], // a load from what is not mapped; syscall
  [0xcc, 0x0f, 0x05], // int3; syscall
  [0x0f, 0x0b], // ud2
];
/** mov %r15, %rsp; add $72, %r15; mov $23, %eax; syscall */
const NEXT_FRAME = [0x4c, 0x89, 0xfc, 0x49, 0x83, 0xc7, FRAME_BYTES, 0xb8, 23, 0, 0, 0, 0x0f, 0x05];

/** IN, OUT and IRETQ in front of that; most of them IN AL. */
const FIRST_CODE: readonly (readonly number[])[] = [
  iretq(0xe02b, 0xe033),
  iretq(0x2b, 0x33),
  iretq(0x2b, 0x33),
  iretq(0xe02b, 0x33, 0x200c01), // ID, DF, CF
  iretq(0x2b, 0xe033, 0x4000), // NT
  [0xe4, 0x42], // in $0x42, %al
  [0xe4, 0x42],
  [0xe4, 0x61],
  [0xe4, 0x70], // the RTC's index, which has been written
  [0xec], // in (%dx), %al
  [0x90, 0xec],
  [0x40, 0xe4, 0x42], // with a REX prefix
  [0xe5, 0x42],
  [0x66, 0xed],
  [0xed],
  [0xe6, 0x70],
  [0xee],
];
/** And what is rarer. */
const ODD_CODE: readonly (readonly number[])[] = [
  iretq(0x2b, 0x33, 0x100), // TF
  iretq(0x2b, 0x33, 0x40000), // AC
  iretq(0x2b, 0x3b),
  iretq(0x2b, 0x43),
  iretq(0x4b, 0x33),
  iretq(0xe02b, 0xe023),
  iretq(0, 0x33),
  iretq(0x2a, 0x32),
  iretq(0x102b, 0x33),
  iretq(0x2b, 0x37),
];

/**
 * A guest made from `seed`.
 * @param odd how often a frame is of a rare kind, percent
 */
function build(hv: Hypervisor, seed: number, odd: number): G.PvGuest {
  const random = new Random(seed);
  const g = new G.PvGuest(hv);
  const { p } = g;
  for (const [n, code] of USER_CODE.entries()) g.bytes(G.CODE, n * 32, [...code, ...G.STOP]);
  // The code of some kernels crosses into the next page.
  const first = (): readonly number[] => random.pick(random.below(100) < odd ? ODD_CODE : FIRST_CODE);
  const code = random.below(3) !== 0 ? [...first(), ...first()] : [];
  const offset = code.length > 0 && random.below(4) === 0 ? 4096 - random.below(18) : 0;
  [...code, ...NEXT_FRAME].forEach((byte, n) => {
    const at = offset + n;
    g.bytes(KERNEL + (at >>> 12), at & 0xfff, [byte]);
  });
  const kernel = p.at(KERNEL, offset);
  g.reg(S_RDX, BigInt(random.pick([0x42, 0x70, 0x6f, 0x1_0070, 0xcf8, 0xffff])));
  // PHYSDEVOP_set_iopl
  p.write(8, [4, random.below(8) === 0 ? 0 : 1]);
  if (code.length > 0) expect(p.call(33, 6, p.at(8))).toBe(0);
  for (let vector = 0; vector < 32; vector++) g.trap(vector, kernel, random.below(2) * 4 + (vector === 3 ? 3 : 0));
  // CALLBACKOP_register: event, syscall; events masked or not.
  for (const type of [0, 2]) {
    p.write(8, [2, type], [2, random.below(2)], [4, 0], [8, kernel]);
    expect(p.call(30, 0, p.at(8))).toBe(0);
  }
  p.call(3, 0xe02b, p.at(G.KERNEL_STACK, 4096 - 8 * random.below(odd === 0 ? 1 : 20)));
  // A GDT of the guest's own: flat code and data as Linux has them at 0x33 and 0x2b, and some that are not flat.
  p.put(G.GDT, 5, 0x00cff3000000ffffn);
  p.put(G.GDT, 6, 0x00affb000000ffffn);
  p.put(G.GDT, 7, 0x00affa000000ffffn);
  p.put(G.GDT, 8, 0x00cffb000000ffffn);
  p.put(G.GDT, 9, 0x00cf73000000ffffn);
  if (random.below(4) !== 0) {
    expect(p.protect(G.GDT)).toBe(0);
    p.write(8, [8, p.mfn(G.GDT)]);
    expect(p.call(2, p.at(8), 512)).toBe(0);
  }
  if (random.below(3) === 0) expect(p.call(21, 0, 4)).toBe(0);
  const rare = (): boolean => random.below(100) < odd;
  for (let n = 0; n < FRAMES_IN_PAGE; n++) {
    const toKernel = random.below(4) === 0;
    let cs = toKernel ? 0xe030 : random.pick([0xe033, 0x33]);
    let ss = random.pick([0xe02b, 0x2b]);
    let rip = toKernel ? kernel : p.at(G.CODE, 32 * random.below(odd === 0 ? 4 : USER_CODE.length));
    let flags = random.pick([0x202, 0x2, 0x246, 0x0, 0xad7, 0x602]);
    if (rare()) cs = random.pick([0, 3, 0x3b, 0x43, 0xe023, 0x37, 0x4b, 0xe02b, 0xf033, 0x1033, 0x31]);
    if (rare()) ss = random.pick([0, 3, 0x33, 0x4b, 0x2a, 0xe033, 0x53]);
    if (rare()) rip = random.pick([0x8000_0000_0000n, 0xffff_8000_0000_0000n, 0x1000n, p.at(G.OWN + 60)]);
    if (rare()) flags |= random.pick([0x100, 0x3000, 0x1000, 0x4000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000]);
    const words = [
      random.bits(64),
      random.bits(64),
      random.bits(64),
      BigInt(random.pick([0, 0, 0x100, 0x101])),
      rip,
      BigInt(cs) | (BigInt(random.below(2)) << 32n),
      BigInt(flags),
      p.at(G.USER_STACK, 4096 - 8 * random.below(64)),
      BigInt(ss),
    ];
    for (const [k, word] of words.entries()) p.put(FRAMES, (n * FRAME_BYTES) / 8 + k, word);
  }
  if (rare()) p.hv.memory.write8(p.vcpu.info, 1);
  g.reg(S_R15, p.at(FRAMES));
  g.rip = kernel;
  return g;
}

function state(g: G.PvGuest): Record<string, unknown> {
  const { hv, vcpu, domain } = g.p;
  vcpu.core.activate();
  const { i32 } = vcpu.core;
  const counters = [PV_CALLS, PV_IRETS, PV_IRETS_USER, PV_INS];
  expect(counters.map((at) => i32[at >>> 2]!)).toEqual([0, 0, 0, 0]);
  return {
    ...coreState(vcpu.core),
    charged: { ...hv.charged },
    xen: vcpu.hypervisorCycles,
    exits: [...domain.exitCounts],
    hypercalls: [...domain.hypercallCounts],
    events: domain.eventsDelivered,
    kernel: vcpu.pv!.kernelMode,
    faults: [...i32.subarray(FAULT_COUNTS >>> 2, (FAULT_COUNTS >>> 2) + 32)],
    rtc: domain.pv!.rtcIndex,
    iopl: vcpu.pv!.iopl,
    cycle: hv.now(),
    log: g.log,
    down: g.crashed,
  };
}

/** The guest's pages that differ. */
function pagesApart([one, other]: readonly [G.PvGuest, G.PvGuest]): number[] {
  const page = (g: G.PvGuest, mfn: number): Uint8Array => g.p.hv.memory.read(g.p.hv.memory.frame(mfn), 4096);
  return one.p.mfns.filter((mfn) => Buffer.compare(page(one, mfn), page(other, mfn)) !== 0);
}

type Pair = readonly [Hypervisor, Hypervisor];
type Disturb = (g: G.PvGuest, random: Random) => void;

/** Two machines: only one of them has its engine do system calls. */
function machines(): Pair {
  const pair = [G.realMachine(), G.realMachine()] as const;
  pair[1].pvInEngine = false;
  return pair;
}

interface Done {
  /** System calls and irets, INs, and IRETQs that the engine has done in place. */
  entries: number;
  ins: number;
  iretqs: number;
}

/** Calls of the helper of IRET. */
let irets = 0;
const IRET = HELPER_NAMES.indexOf("IRET");
const iret = HELPERS[IRET]!;
HELPERS[IRET] = (core, u) => {
  irets++;
  return iret(core, u);
};

/** Runs both with the same cuts and the same things done to them from outside, and adds what has been done in place to `done`. */
function compare(hvs: Pair, seed: number, odd: number, done: Done, disturb: Disturb): void {
  const pair = [build(hvs[0], seed, odd), build(hvs[1], seed, odd)] as const;
  const random = new Random(seed ^ 0x5bd1);
  for (let cut = 0; cut < 16 && !pair[0].crashed; cut++) {
    const cycles = random.pick([1, 7, 300, 352, 700, 1200, 1400, 1401, 1402, 3000, 5000, 20_000]);
    const what = random.next();
    for (const g of pair) {
      const before = irets;
      g.run(cycles);
      done.iretqs += g === pair[1] ? irets - before : before - irets;
      disturb(g, new Random(what));
    }
    expect(state(pair[0]), `seed ${seed}, cut ${cut}`).toEqual(state(pair[1]));
    expect(pagesApart(pair), `pages, seed ${seed}, cut ${cut}`).toEqual([]);
  }
  for (const g of pair) destroyDomain(g.p.domain);
  const [here, there] = [pair[0].p.vcpu.pv!, pair[1].p.vcpu.pv!];
  expect(there.inPlace + there.inPlaceIns).toBe(0);
  done.entries += here.inPlace;
  done.ins += here.inPlaceIns;
}

describe("a PV guest's system calls in the engine", () => {
  it("are as by Xen's own code: flat guests, any cuts", () => {
    const hvs = machines();
    const done = { entries: 0, ins: 0, iretqs: 0 };
    for (let seed = 1; seed <= 15; seed++) compare(hvs, seed, 0, done, () => {});

    expect(done.entries).toBeGreaterThan(300);
    expect(done.ins).toBeGreaterThan(20);
    expect(done.iretqs).toBeGreaterThan(100);
  });

  it("are so for frames, flags and stacks of every kind", () => {
    const hvs = machines();
    const done = { entries: 0, ins: 0, iretqs: 0 };
    for (let seed = 100; seed <= 140; seed++) compare(hvs, seed, 6, done, () => {});

    expect(done.entries).toBeGreaterThan(300);
    expect(done.ins).toBeGreaterThan(20);
    expect(done.iretqs).toBeGreaterThan(100);
  });

  it("are so while events come, the stack goes away or is written to no more, and tables are flushed", () => {
    const hvs = machines();
    const done = { entries: 0, ins: 0, iretqs: 0 };
    for (let seed = 200; seed <= 240; seed++)
      compare(hvs, seed, 1, done, (g, random) => {
        const { p } = g;
        switch (random.below(10)) {
          case 0:
            p.hv.memory.write8(p.vcpu.info, 1);
            break;
          case 1:
            p.hv.memory.write8(p.vcpu.info + 1, random.below(2));
            break;
          case 2:
            p.vcpu.pv!.nmiPending = true;
            p.vcpu.pv!.checkEvents = true;
            break;
          case 3:
            if (random.below(3) === 0) p.map(G.KERNEL_STACK, random.below(2) === 0 ? 0n : p.entry(G.KERNEL_STACK, RO));
            break;
          case 4:
            p.ext(6);
            break;
          case 5:
            p.call(3, 0xe02b, p.at(G.KERNEL_STACK, 4096 - 8 * random.below(30)));
            break;
          case 6:
            if (random.below(4) === 0) p.ext(15, 0);
            break;
          case 7:
            g.reg(S_RDX, BigInt(random.pick([0x70, 0x61, 0xcf8])));
            break;
          case 8:
            // Another instruction where one has been decoded.
            g.bytes(
              KERNEL,
              0,
              random.pick([
                [0xe4, 0x42],
                [0xec, 0x90],
                [0xe6, 0x70],
                [0xe4, 0x70],
              ]),
            );
            break;
          default:
        }
      });

    expect(done.entries).toBeGreaterThan(300);
    expect(done.ins).toBeGreaterThan(20);
    expect(done.iretqs).toBeGreaterThan(100);
  });
});
