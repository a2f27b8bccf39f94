/* Rights of pages, error codes, accessed and dirty bits: every combination, against the rules of SDM 4.6 and 4.7. */
#include "system.h"

enum { READ, WRITE, FETCH };
SNIPPET(reading, "", "mov (%" LONG_AX "), %cl", "");
SNIPPET(writing, "", "mov %cl, (%" LONG_AX ")", "");
SNIPPET(fetching, "", "call *%" LONG_AX, "");

static int nx_enabled;

/* What an access does: -1 nothing, else the error code of its page fault. */
static int expected(entry leaf, entry upper, int access, int user, word c0, word c4, int ac) {
  int code = (access == WRITE ? 2 : 0) | (user ? 4 : 0);
  const entry both = leaf & upper;
  const entry any = leaf | upper;
  if (access == FETCH && ((c4 & CR4_SMEP) || (nx_enabled && ENTRY_BYTES == 8))) code |= 16;
  if (!(upper & P)) return code;
  if (ENTRY_BYTES == 8 && (upper & NX) && !nx_enabled) return code | 9;
  if (!(leaf & P)) return code;
  if (ENTRY_BYTES == 8 && ((any & NX && !nx_enabled) || (leaf & 1ull << 51))) return code | 9;
  code |= 1;
  if (access == FETCH && ENTRY_BYTES == 8 && (any & NX)) return code;
  if (user) {
    if (!(both & U)) return code;
    if (access == WRITE && !(both & W)) return code;
    return -1;
  }
  if (both & U) {
    if (access == FETCH && (c4 & CR4_SMEP)) return code;
    if (access != FETCH && (c4 & CR4_SMAP) && !ac) return code;
  }
  if (access == WRITE && !(both & W) && (c0 & CR0_WP)) return code;
  return -1;
}

static const entry leaves[] = {
  0, P, P | W, P | U, P | W | U, W | U,
#if ENTRY_BYTES == 8
  P | W | U | NX, P | W | NX, P | U | 1ull << 51,
#endif
};
static const entry uppers[] = {
  0, P, P | W, P | U, P | W | U,
#if ENTRY_BYTES == 8
  P | W | U | NX,
#endif
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The snippets lie in a page of TEST2 for ring 3; ring 0 runs them where they are. */
static const void *place(const u8 *code, int user) {
  return user ? (const void *)(TEST2 + ((word)code & (PAGE - 1))) : code;
}

static u32 bad, bad_bits;
static void one(entry leaf, entry upper, int access, int user, word c0, word c4, int ac) {
  static const u8 *const codes[] = {reading, writing, fetching};
  const u8 *const ends[] = {reading_x, writing_x, fetching_x};
  const word target = TEST + 0x123;
  entry *e = map(TEST, (word)frames[1], leaf);
  *above(TEST) = (*above(TEST) & ~(entry)(P | W | U | A)) | (upper & ~(entry)A);
  invlpg(TEST);
  frames[1][0x123] = 0xc3;
  in.gpr[RAX] = target;
  in.gpr[RCX] = 0xc3;
  in.flags = FIXED | (ac ? ACF : 0);
  in.gpr[RSP] = user ? TEST2 + PAGE + 0x800 : 0;
  run(user, place(codes[access], user));
  const int want = expected(leaf, upper, access, user, c0, c4, ac);
  const word at = access == FETCH ? target : (word)place(ends[access], user);
  const int ok = want < 0 ? out.vector == DONE
                          : out.vector == PF && out.error == (word)want && out.cr2 == target && out.ip == at;
  /* A fault sets no D bit, and here no A bit in the leaf; an access sets A in both and, writing, D in the leaf. */
  const entry bits = *e & (A | D), want_bits = want >= 0 ? 0 : access == WRITE ? A | D : A;
  if (!ok && bad++ < 8) {
    static const char *const kinds[] = {"read", "write", "fetch"};
    print(user ? "ring 3 " : "ring 0 ");
    print(kinds[access]);
    print(" leaf ");
    print_hex(leaf);
    print(" upper ");
    print_hex(upper);
    print(" CR0 ");
    print_hex(c0);
    print(" CR4 ");
    print_hex(c4);
    print(ac ? " AC" : "");
    print(nx_enabled ? " NXE\n" : "\n");
    ended("access", want < 0 ? DONE : PF, want < 0 ? 0 : want, (void *)at);
  }
  if (bits != want_bits && bad_bits++ < 4) check("A and D", bits, want_bits);
}

TESTS(paging_rights) {
  section("page rights");
  const word c0 = cr0(), c4 = cr4();
  const int smep = HAS_SMEP, smap = HAS_SMAP;
  u32 combinations = 0;
  /* Ring 3 has its code, and a stack for the call, in pages of their own. */
  extern u8 reading[];
  word page = (word)reading & ~(word)(PAGE - 1);
  map(TEST2, page, P | U | A);
  map(TEST2 + PAGE, (word)frames[2], P | W | U | A | D);
  identity_user(0);
  bad = bad_bits = 0;
  for (int nxe = 0; nxe < 2; nxe++) {
    if (ENTRY_BYTES == 4 && nxe) continue;
    nx_enabled = nxe;
    if (ENTRY_BYTES == 8) wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~(u64)EFER_NXE) | (nxe ? EFER_NXE : 0));
    for (int protect = 0; protect < 8; protect++) {
      const word n0 = c0 | (protect & 1 ? CR0_WP : 0);
      const word n4 = c4 | (protect & 2 ? CR4_SMEP : 0) | (protect & 4 ? CR4_SMAP : 0);
      if (((protect & 2) && !smep) || ((protect & 4) && !smap)) continue;
      set_cr0(n0);
      set_cr4(n4);
      for (u32 l = 0; l < COUNT(leaves); l++)
        for (u32 u = 0; u < COUNT(uppers); u++) {
          for (int access = READ; access <= FETCH; access++)
            /* WP, SMEP and SMAP mean nothing to ring 3: all off and all on will do. */
            for (int user = 0; user <= (protect == 0 || protect == 7); user++)
              for (int ac = 0; ac <= (protect & 4 ? 1 : 0); ac++) {
                if (quick && combinations++ % 8) continue;
                one(leaves[l], uppers[u], access, user, n0, n4, ac);
                combinations++;
              }
        }
    }
  }
  set_cr0(c0);
  set_cr4(c4);
  if (ENTRY_BYTES == 8) wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
  identity_user(1);
  check("combinations that differ", bad, 0);
  check("accessed and dirty bits that differ", bad_bits, 0);
  check("combinations", combinations > 100, 1);
}

/* ---- any bits at all ---------------------------------------------------------------------------------------------------------- */
static u32 seed;
static u32 pick(u32 below) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed % below;
}
/* A large page of memory that nothing else uses. */
#define LARGE_FRAME ((entry)0x800000)
#if ENTRY_BYTES == 8
#define RESERVED_LARGE ((entry)1 << 13)
#define HIGH_RESERVED ((entry)1 << 51)
#define BIT_NX NX
#else
#define RESERVED_LARGE ((entry)1 << 21)
#define HIGH_RESERVED ((entry)0)
#define BIT_NX ((entry)0)
#endif

/* Any bits in both entries, large pages too, against the rules once more: what faults and how, and A and D of both entries. */
TESTS(paging_any) {
  section("pages of any bits");
  const word c0 = cr0(), c4 = cr4();
  const int smep = HAS_SMEP, smap = HAS_SMAP;
  const word page = (word)reading & ~(word)(PAGE - 1), target = TEST + 0x123;
  static const u8 *const codes[] = {reading, writing, fetching};
  const u8 *const ends[] = {reading_x, writing_x, fetching_x};
  static u32 wrong[4];
  map(TEST2, page, P | U | A);
  map(TEST2 + PAGE, (word)frames[2], P | W | U | A | D);
  identity_user(0);
  seed = 0x2545f491;
  for (u32 n = 0; n < (quick ? 200 : 1500); n++) {
    const u32 kind = pick(3), user = pick(2), ac = pick(2), nxe = ENTRY_BYTES == 8 ? pick(2) : 0;
    const word n0 = c0 | (pick(2) ? CR0_WP : 0);
    const word n4 = c4 | (smep && pick(2) ? CR4_SMEP : 0) | (smap && pick(2) ? CR4_SMAP : 0);
    /* Mostly present; seldom reserved. */
    const int large = pick(3) == 0;
    const entry any = P | W | U | A | D | G | 0xe00;
    entry upper = ((entry)pick(0x10000) & any) | (pick(8) ? P : 0) | (pick(5) ? 0 : BIT_NX) | (large ? PS : 0);
    entry leaf = ((entry)pick(0x10000) & any) | (pick(8) ? P : 0) | (pick(5) ? 0 : BIT_NX) | (pick(12) ? 0 : HIGH_RESERVED);
    if (pick(12) == 0) upper |= large ? RESERVED_LARGE : HIGH_RESERVED;
    if (ENTRY_BYTES == 8) wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~(u64)EFER_NXE) | (nxe ? EFER_NXE : 0));
    entry *const e = map(TEST, (word)frames[1], leaf), *const directory = above(TEST);
    const entry table = *directory & ~(entry)0xfff;
    *directory = upper | (large ? LARGE_FRAME : table);
    flush();
    set_cr0(n0);
    set_cr4(n4);
    frames[1][0x123] = *(u8 *)((word)LARGE_FRAME + 0x123) = 0xc3;
    fresh();
    in.gpr[RAX] = target;
    in.gpr[RCX] = 0xc3;
    in.flags = FIXED | (ac ? ACF : 0);
    in.gpr[RSP] = user ? TEST2 + PAGE + 0x800 : 0;
    run(user ? 3 : 0, place(codes[kind], user));
    /* The rules. */
    const entry last = large ? upper : leaf, both = large ? upper : upper & leaf, either = large ? upper : upper | leaf;
    const entry bad_upper = (nxe ? 0 : BIT_NX) | (large ? RESERVED_LARGE | HIGH_RESERVED : HIGH_RESERVED);
    const entry bad_leaf = (nxe ? 0 : BIT_NX) | HIGH_RESERVED;
    const u32 code = (kind == WRITE ? 2 : 0) | (user ? 4 : 0) | (kind == FETCH && ((n4 & CR4_SMEP) || nxe) ? 16 : 0);
    int want = -1;
    if (!(upper & P)) want = code;
    else if (upper & bad_upper) want = code | 9;
    else if (!large && !(leaf & P)) want = code;
    else if (!large && (leaf & bad_leaf)) want = code | 9;
    else if (user ? !(both & U) : (both & U) && (kind == FETCH ? n4 & CR4_SMEP : (n4 & CR4_SMAP) && !ac)) want = code | 1;
    else if (kind == FETCH && (either & BIT_NX)) want = code | 1;
    else if (kind == WRITE && !(both & W) && (user || (n0 & CR0_WP))) want = code | 1;
    const word at = kind == FETCH ? target : (word)place(ends[kind], user);
    if (want < 0 ? out.vector != DONE : out.vector != PF || out.error != (word)want || out.cr2 != target || out.ip != at)
      if (wrong[0]++ == 0) ended("the first", want < 0 ? DONE : PF, want < 0 ? 0 : want, (void *)at);
    if (want < 0) {
      const entry now = large ? *directory : *e;
      if (now != ((last | A | (kind == WRITE ? D : 0)) | (large ? LARGE_FRAME : (word)frames[1]))) wrong[1]++;
      if (!large && *directory != (upper | A | table)) wrong[2]++;
    } else if ((large ? *directory ^ upper : *e ^ leaf) & D) wrong[3]++;
    set_cr4(c4);
    set_cr0(c0);
    *directory = 0;
  }
  if (ENTRY_BYTES == 8) wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
  identity_user(1);
  check("faults", wrong[0], 0);
  check("the last entry", wrong[1], 0);
  check("A of the upper one", wrong[2], 0);
  check("D after a fault", wrong[3], 0);
}
