/* Code below 1 MiB, for real-address and virtual-8086 mode (real.S). */
#ifndef REAL_H
#define REAL_H
#include "offsets.h"
/* Segments: data and stack of 64 KiB each. */
enum { REAL_DATA = 0x3000, REAL_STACK = 0x4000 };
struct real_state {
  u32 gpr[8], ip, flags;
  u16 cs, ss, ds, es, fs, gs;
  u32 vector;
  u16 inner, unused;
};
/* Offset in the segment REAL_BASE >> 4. */
#define OFFSET(label) ((u16)(word)(label))
/* As SNIPPET, in .real. */
#define REAL(name, before, instruction, after)                                                                     \
  extern u8 name[], name##_x[], name##_y[], name##_end[];                                                         \
  asm(".pushsection .real,\"awx\"; .code16; " #name ": " before "; " #name "_x: " instruction "; " #name "_y: " after \
      "; int $0x80; " #name "_end: .code32; .popsection")
/* Copies the code to REAL_BASE. */
void real_copy(void);
/* Runs code in real mode from `in` to the first interrupt; the state there is in `out`, FLAGS of the handler in inner_flags. */
void real_run(const u8 *code, u32 idt_limit);
extern u16 inner_flags;
/* Runs code in virtual-8086 mode from `in`; the end of a snippet counts as such whatever IOPL. */
void vm86(const u8 *code);
#endif
