/* What stays in a TLB, and what must not (SDM volume 3, 4.10): INVLPG, CR3, global pages, PCIDs, INVPCID, and bits that count at once. */
#include "system.h"

#define AX LONG_AX
SNIPPET(reads, "", "mov (%" AX "), %ecx", "");
SNIPPET(writes, "", "movl %ecx, (%" AX ")", "");
SNIPPET(fetches, "", "call *%" AX, "");

/* Two frames with different words, and an entry that leads to one or the other. */
static entry *e;
enum { FIRST = 0x11111111, SECOND = 0x22222222 };
static void prepare(entry flags) {
  *(u32 *)frames[1] = FIRST;
  *(u32 *)frames[2] = SECOND;
  e = map(TEST, (word)frames[1], P | W | U | A | D | flags);
}
static void change(void) { *e = (*e & ~(entry)0xffffff000) | (word)frames[2]; }
static u32 look(void) { return *(volatile u32 *)TEST; }

TESTS(invalidations) {
  section("TLB: INVLPG and CR3");
  prepare(0);
  check("first", look(), FIRST);
  change();
  invlpg(TEST + 0x123);
  check("after INVLPG of any byte of the page", look(), SECOND);
  prepare(0);
  look();
  change();
  set_cr3(cr3());
  check("after a load of CR3", look(), SECOND);
  /* A translation that was not there is not remembered. */
  prepare(0);
  *e = 0;
  invlpg(TEST);
  fresh();
  in.gpr[RAX] = TEST;
  run(0, reads);
  ended("not present", PF, 0, reads_x);
  *e = (word)frames[1] | P | W;
  run(0, reads);
  ran("present now");
  /* More rights need no invalidation: a fault looks again. */
  prepare(0);
  *e = (word)frames[1] | P;
  invlpg(TEST);
  look();
  *e = (word)frames[1] | P | U;
  fresh();
  in.gpr[RAX] = TEST;
  run(3, reads);
  ran("user's now");
  *e = (word)frames[1] | P | U | W;
  run(3, writes);
  ran("writable now");
  check("D", *e & D, D);
}

TESTS(large_pages) {
  section("TLB: large pages");
  const word large = LARGE_PAGE;
  const word at = TEST2;
  entry *const directory = above(at);
  *directory = 0x800000 | P | W | U | PS;
  invlpg(at);
  *(volatile u32 *)0x800000 = FIRST;
  *(volatile u32 *)(0x800000 + large - 4) = FIRST;
  *(volatile u32 *)(0x800000 + 5 * PAGE) = FIRST;
  *(volatile u32 *)0xc00000 = SECOND;
  *(volatile u32 *)(0xc00000 + large - 4) = SECOND;
  *(volatile u32 *)(0xc00000 + 5 * PAGE) = SECOND;
  check("first", *(volatile u32 *)at, FIRST);
  check("first, last word", *(volatile u32 *)(at + large - 4), FIRST);
  check("first, within", *(volatile u32 *)(at + 5 * PAGE), FIRST);
  *directory = 0xc00000 | P | W | U | PS;
  invlpg(at + 0x3456);
  check("INVLPG drops all of it", *(volatile u32 *)at, SECOND);
  check("its last word", *(volatile u32 *)(at + large - 4), SECOND);
  check("within", *(volatile u32 *)(at + 5 * PAGE), SECOND);
  /* A large page becomes a table, and the other way round. */
  *(u32 *)frames[3] = 0x33333333;
  map(at, (word)frames[3], P | W | U);
  invlpg(at);
  check("a table in its place", *(volatile u32 *)at, 0x33333333);
  *directory = 0x800000 | P | W | U | PS;
  invlpg(at);
  check("a large page in place of a table", *(volatile u32 *)at, FIRST);
  check("all of it", *(volatile u32 *)(at + 5 * PAGE), FIRST);
  *directory = 0;
  invlpg(at);
}

TESTS(global_pages) {
  section("TLB: global pages");
  const word c4 = cr4();
  for (int on = 0; on < 2; on++) {
    set_cr4(on ? c4 | CR4_PGE : c4 & ~(word)CR4_PGE);
    prepare(G);
    look();
    change();
    /* A change of PGE drops all, global ones too. */
    set_cr4(cr4() ^ CR4_PGE);
    check("after a change of CR4.PGE", look(), SECOND);
    set_cr4(on ? c4 | CR4_PGE : c4);
    prepare(G);
    look();
    change();
    invlpg(TEST);
    check("INVLPG drops global pages", look(), SECOND);
    if (!on) {
      prepare(G);
      look();
      change();
      set_cr3(cr3());
      check("without PGE no page is global", look(), SECOND);
    }
  }
  set_cr4(c4);
}

/* An access that a bit forbids from the moment it is set, though its translation was used before. */
TESTS(at_once) {
  section("TLB: bits that count at once");
  const word c0 = cr0(), c4 = cr4();
  prepare(0);
  *e = (word)frames[1] | P | U | A | D;
  invlpg(TEST);
  fresh();
  in.gpr[RAX] = TEST;
  run(0, writes);
  ran("a write without WP");
  set_cr0(c0 | CR0_WP);
  run(0, writes);
  ended("CR0.WP", PF, 3, writes_x);
  set_cr0(c0);
  run(0, writes);
  ran("a write without WP again");
  *(u8 *)frames[1] = 0xc3;
  /* The tests' own code and data must not be the user's then. */
  identity_user(0);
  run(0, fetches);
  ran("a fetch without SMEP");
  if (HAS_SMEP) {
    set_cr4(c4 | CR4_SMEP);
    run(0, fetches);
    ended("CR4.SMEP", PF, 0x11, (void *)TEST);
    set_cr4(c4);
    run(0, fetches);
    ran("a fetch without SMEP again");
  }
  if (HAS_SMAP) {
    run(0, reads);
    set_cr4(c4 | CR4_SMAP);
    run(0, reads);
    ended("CR4.SMAP", PF, 1, reads_x);
    in.flags = FIXED | ACF;
    run(0, reads);
    ran("RFLAGS.AC");
    set_cr4(c4);
  }
  identity_user(1);
#if ENTRY_BYTES == 8
  const u64 efer = rdmsr(MSR_EFER);
  wrmsr(MSR_EFER, efer | EFER_NXE);
  *e = (word)frames[1] | P | U | A | D | NX;
  invlpg(TEST);
  fresh();
  in.gpr[RAX] = TEST;
  run(0, reads);
  ran("a read of an NX page");
  run(0, fetches);
  ended("a fetch of it", PF, 0x11, (void *)TEST);
  wrmsr(MSR_EFER, efer & ~(u64)EFER_NXE);
  invlpg(TEST);
  run(0, reads);
  ended("without NXE the bit is reserved", PF, 9, reads_x);
  wrmsr(MSR_EFER, efer);
#endif
}

#if LONG
SNIPPET(invpcid_, "", "invpcid (%rax), %rcx", "");
SNIPPET(put_cr3, "", "mov %rax, %cr3", "");
static struct {
  u64 pcid, linear;
} descriptor_ __attribute__((aligned(16)));

static void invalidate(u64 type, u64 pcid, u64 linear) {
  descriptor_.pcid = pcid;
  descriptor_.linear = linear;
  fresh();
  in.gpr[RAX] = (word)&descriptor_;
  in.gpr[RCX] = type;
  run(0, invpcid_);
}
static void refused(const char *name, u64 type, u64 pcid, u64 linear) {
  invalidate(type, pcid, linear);
  ended(name, GP, 0, invpcid__x);
}
static void accepted(const char *name, u64 type, u64 pcid, u64 linear) {
  invalidate(type, pcid, linear);
  ran(name);
}

#define KEEP (1ul << 63)
TESTS(context_identifiers) {
  section("TLB: PCIDs");
  if (!HAS_PCID) return;
  const word c3 = cr3(), c4 = cr4();
  set_cr4(c4 | CR4_PCIDE);
  /* What one PCID has seen, another need not. */
  prepare(0);
  look();
  change();
  set_cr3((c3 + 5) | KEEP);
  invlpg(TEST);
  check("another PCID looks for itself", look(), SECOND);
  *e = (*e & ~(entry)0xffffff000) | (word)frames[1];
  set_cr3(c3 + 5);
  check("CR3 without bit 63 drops its PCID", look(), FIRST);
  change();
  set_cr3(c3 | KEEP);
  set_cr3(c3 + 6);
  set_cr3(c3 + 5);
  check("also later", look(), SECOND);
  /* INVLPG drops the page in the current PCID. */
  *e = (*e & ~(entry)0xffffff000) | (word)frames[1];
  invlpg(TEST);
  check("INVLPG in a PCID", look(), FIRST);
  /* Leaving PCIDE drops everything. */
  set_cr3(c3);
  look();
  change();
  set_cr4(c4);
  check("CR4.PCIDE", look(), SECOND);
  check("CR3 shows no bit 63", cr3(), c3);
  fresh();
  in.gpr[RAX] = c3 | KEEP;
  run(0, put_cr3);
  ended("bit 63 without PCIDE", GP, 0, put_cr3_x);
  set_cr3(c3);
}

TESTS(invpcid_tests) {
  section("INVPCID");
  if (!HAS_INVPCID) return;
  const word c3 = cr3(), c4 = cr4();
  for (int on = 0; on < 2; on++) {
    if (on && !HAS_PCID) break;
    set_cr4(on ? c4 | CR4_PCIDE | CR4_PGE : c4 | CR4_PGE);
    for (u64 type = 0; type < 4; type++) {
      prepare(type == 2 ? G : 0);
      look();
      change();
      accepted("a type that there is", type, 0, TEST + 0x10);
      check("drops the translation", look(), SECOND);
      if (type > 1) accepted("PCID is not looked at", type, on ? 7 : 0, 0x800000000000);
    }
    refused("type 4", 4, 0, 0);
    refused("type -1", ~0ull, 0, 0);
    refused("type 2^32", 1ull << 32, 0, 0);
    refused("bit 12 of the PCID", 1, 1 << 12, 0);
    refused("bit 63 of the PCID", 1, KEEP, 0);
    refused("bit 12, type 3", 3, 1 << 12, 0);
    refused("an address that is not canonical", 0, 0, 0x800000000000);
    accepted("which does not matter to type 1", 1, 0, 0x800000000000);
    if (on) {
      accepted("PCID 5", 1, 5, 0);
      accepted("PCID 5, an address", 0, 5, TEST);
    } else {
      refused("a PCID without PCIDE", 1, 5, 0);
      refused("a PCID without PCIDE, type 0", 0, 5, TEST);
      accepted("types 2 and 3 take any", 2, 0, 0);
    }
  }
  if (HAS_PCID) {
    /* Of another PCID. */
    prepare(0);
    set_cr3(c3 + 5);
    look();
    set_cr3(c3 | KEEP);
    change();
    accepted("of another PCID", 1, 5, 0);
    set_cr3((c3 + 5) | KEEP);
    check("dropped there", look(), SECOND);
    set_cr3(c3);
    set_cr3(c3 + 5);
    look();
    *e = (*e & ~(entry)0xffffff000) | (word)frames[1];
    set_cr3(c3 | KEEP);
    accepted("an address of another PCID", 0, 5, TEST);
    set_cr3((c3 + 5) | KEEP);
    check("dropped there", look(), FIRST);
  }
  set_cr3(c3);
  set_cr4(c4);
  fresh();
  in.gpr[RAX] = (word)&descriptor_;
  run(3, invpcid_);
  ended("in ring 3", GP, 0, invpcid__x);
  fresh();
  in.gpr[RAX] = 0x800000000000;
  run(0, invpcid_);
  ended("a descriptor that is not canonical", GP, 0, invpcid__x);
  fresh();
  in.gpr[RAX] = TEST + PAGE;
  run(0, invpcid_);
  ended("a descriptor that is not mapped", PF, 0, invpcid__x);
}
#endif
