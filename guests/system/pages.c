/* Page tables: the identity map of 4 GiB in large pages, and a window of small pages at TEST and TEST2. */
#include "system.h"

u8 frames[FRAMES][PAGE] __attribute__((aligned(4096)));

#define PER_TABLE (PAGE / ENTRY_BYTES)
#define LARGE LARGE_PAGE
typedef entry table[PER_TABLE] __attribute__((aligned(4096)));
static table small[2];

#if LONG
extern table pml4, pdpt;
#define DIRECTORY ((entry *)((u8 *)pdpt + PAGE))
void identity_user(int user) {
  for (u32 n = 0; n < 4; n++) pdpt[n] = user ? pdpt[n] | U : pdpt[n] & ~(entry)U;
  /* The windows keep their rights: they lie in gigabytes of their own. */
  pdpt[TEST >> 30] |= U;
  pdpt[TEST2 >> 30] |= U;
  flush();
}
#elif defined PAE
static table directories[4];
static u64 roots[4] __attribute__((aligned(32)));
#define DIRECTORY ((entry *)directories)
#else
static table directory;
#define DIRECTORY directory
#endif

#if !LONG
void identity_user(int user) {
  static int now = 1;
  if (user == now) return;
  now = user;
  for (u32 n = 0; n < (u32)(0x100000000ull / LARGE); n++)
    if (DIRECTORY[n] & PS) DIRECTORY[n] = user ? DIRECTORY[n] | U : DIRECTORY[n] & ~(entry)U;
  flush();
}
#endif

entry *above(word linear) { return &DIRECTORY[linear / LARGE]; }

entry *map(word linear, word physical, entry flags) {
  const u32 window = linear >= TEST2;
  entry *e = &small[window][linear / PAGE % PER_TABLE];
  *above(linear) = (word)small[window] | P | W | U;
  *e = physical | flags;
  flush();
  return e;
}

void reset_pages(void) {
  for (u32 n = 0; n < PER_TABLE; n++) small[0][n] = small[1][n] = 0;
#if !LONG
  static int ready;
  for (u32 n = 0; !ready && n < (u32)(0x100000000ull / LARGE); n++) DIRECTORY[n] = (entry)n * LARGE | PS | P | W | U;
  ready = 1;
#endif
#ifdef PAE
  for (u32 n = 0; n < 4; n++) roots[n] = (word)directories[n] | P;
  set_cr3((word)roots);
#elif !LONG
  set_cr3((word)directory);
#endif
  *above(TEST) = *above(TEST2) = 0;
  flush();
}

void flush(void) {
  const word c4 = cr4();
  set_cr3(cr3());
  if (c4 & CR4_PGE) {
    set_cr4(c4 & ~CR4_PGE);
    set_cr4(c4);
  }
}
