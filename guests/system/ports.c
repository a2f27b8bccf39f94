/* Ports: IOPL and the permission map of the task-state segment (SDM volume 1, 19.5). Port 0x80 does nothing, and may be read and written. */
#include "system.h"
#include "real.h"

SNIPPET(in1, "", "in %dx, %al", "");
SNIPPET(in2, "", "in %dx, %ax", "");
SNIPPET(in4, "", "in %dx, %eax", "");
SNIPPET(out1, "", "out %al, %dx", "");
SNIPPET(out2, "", "out %ax, %dx", "");
SNIPPET(out4, "", "out %eax, %dx", "");
SNIPPET(in_immediate, "", "in $0x80, %al", "");
SNIPPET(ins1, "cld", "insb", "");
SNIPPET(outs4, "cld", "outsl", "");
SNIPPET(rep_ins1, "cld", "rep insb", "");
SNIPPET(rep_outs1, "cld", "rep outsb", "");
SNIPPET(rep_outs2, "std", "rep outsw", "cld");
SNIPPET16(in1_16, "", "in %dx, %al", "");

/* The map begins behind the TSS, with all ports of the first 32 bytes of it. */
enum { MAP = __builtin_offsetof(typeof(tss), bitmap), MAP_BYTES = sizeof tss.bitmap };
static void give(u32 limit, u32 offset) {
  tss.iomap = offset;
  gdt[SEL_TSS >> 3] = descriptor((word)&tss, limit, TSS32 | PRESENT);
  asm volatile("ltr %w0" ::"r"(SEL_TSS));
  for (u32 n = 0; n < MAP_BYTES; n++) tss.bitmap[n] = 0xff;
}
static void allow(u32 port) { tss.bitmap[port / 8] &= ~(1 << port % 8); }

static void port(const void *code, u32 number) {
  fresh();
  in.gpr[RDX] = number;
  run(3, code);
}
#define PASSES(name, s, number) port(s, number), ended(name, DONE, 0, s##_end)
#define REFUSED(name, s, number) port(s, number), ended(name, GP, 0, s##_x)

TESTS(permission_map) {
  section("I/O permission map");
  give(sizeof tss - 1, MAP);
  REFUSED("all ones", in1, 0x80);
  allow(0x80);
  PASSES("IN", in1, 0x80);
  PASSES("OUT", out1, 0x80);
  PASSES("IN imm8", in_immediate, 0);
  REFUSED("the next port", in1, 0x81);
  REFUSED("the port before", in1, 0x7f);
  REFUSED("a word, of which one byte is allowed", in2, 0x80);
  REFUSED("a word, the other way", in2, 0x7f);
  allow(0x81);
  PASSES("a word", in2, 0x80);
  PASSES("a word out", out2, 0x80);
  REFUSED("a dword, two bytes allowed", in4, 0x80);
  allow(0x83);
  REFUSED("a dword, three bytes allowed", out4, 0x80);
  allow(0x82);
  PASSES("a dword", in4, 0x80);
  PASSES("a dword out", out4, 0x80);
  /* A word over two bytes of the map. */
  allow(0x87);
  REFUSED("over two bytes, one is allowed", in2, 0x87);
  allow(0x88);
  PASSES("over two bytes", in2, 0x87);
  for (u32 level = 0; level < 4; level++) {
    fresh();
    in.flags = FIXED | level << 12;
    in.gpr[RDX] = 0x90;
    run(3, in1);
    if (level == 3) ran("IOPL 3 needs no map");
    else ended("IOPL below CPL", GP, 0, in1_x);
  }
  fresh();
  in.gpr[RDX] = 0x90;
  run(0, in1);
  ran("ring 0 needs none");
  fresh();
  in.gpr[RSP] = TOP(stack3);
  in.gpr[RDX] = 0x80;
  gdt[SEL_FREE >> 3] = descriptor((word)in1_16, 0xffff, CODE16 | DPL3);
  run_in(SEL_FREE | 3, SEL_UDATA, 0);
  ended("16-bit code", DONE, 0, (void *)(in1_16_end - in1_16));
  in.gpr[RDX] = 0x90;
  run_in(SEL_FREE | 3, SEL_UDATA, 0);
  ended("16-bit code, refused", GP, 0, (void *)(in1_16_x - in1_16));
}

TESTS(map_limits) {
  section("I/O permission map and the limit of the TSS");
  /* Two bytes are read, whatever the size: the second must lie within the limit (SDM volume 1, 19.5.2). */
  for (u32 more = 0; more < 4; more++) {
    give(MAP + 0x80 / 8 + more - 1, MAP);
    allow(0x80);
    allow(0x7f);
    allow(0x78);
    port(in1, 0x80);
    if (more < 2) ended("a port of the last byte", GP, 0, in1_x);
    else ended("a port of the last byte but one", DONE, 0, in1_end);
    port(in1, 0x78);
    if (more < 1) ended("the byte before", GP, 0, in1_x);
    else ended("the byte before", DONE, 0, in1_end);
  }
  give(sizeof tss - 1, sizeof tss);
  REFUSED("a map beyond the limit", in1, 0);
  give(sizeof tss - 1, 0xffff);
  REFUSED("offset FFFF", in1, 0);
  give(MAP - 1, MAP);
  REFUSED("no room for a map", in1, 0);
  /* The map may lie anywhere, also over the TSS itself. */
  give(sizeof tss - 1, MAP + 8);
  tss.bitmap[8 + 0x80 / 8] = 0xfe;
  PASSES("another offset", in1, 0x80);
  /* High ports are beyond it. */
  REFUSED("port FFFF", in1, 0xffff);
  REFUSED("a word at FFFF", in2, 0xffff);
  fresh();
  in.gpr[RDX] = 0xffff;
  run(0, in1);
  ran("port FFFF in ring 0");
}

TESTS(port_strings) {
  section("INS and OUTS");
  give(sizeof tss - 1, MAP);
  for (u32 k = 0; k < 4; k++) allow(0x80 + k);
  map(TEST, (word)frames[1], P | W | U);
  map(TEST + PAGE, 0, 0);
  map(TEST + 2 * PAGE, (word)frames[3], P | W | U);
  map(TEST2, (word)frames[2], P | U);
  static u8 room[64];
#define STRING(s, count, register, at) \
  fresh();                             \
  in.gpr[RDX] = 0x80;                  \
  in.gpr[RCX] = (count);               \
  in.gpr[RSI] = in.gpr[RDI] = (word)room; \
  in.gpr[register] = (word)(at);       \
  run(3, s);
  STRING(ins1, 5, RDI, room)
  ended("INSB", DONE, 0, ins1_end);
  check("EDI", out.gpr[RDI], (word)room + 1);
  check("ECX", out.gpr[RCX], 5);
  STRING(outs4, 5, RSI, room)
  ended("OUTSD", DONE, 0, outs4_end);
  check("ESI", out.gpr[RSI], (word)room + 4);
  STRING(rep_ins1, 0, RDI, TEST + PAGE)
  ended("no element touches no memory", DONE, 0, rep_ins1_end);
  STRING(rep_ins1, 9, RDI, TEST + PAGE - 5)
  ended("REP INSB into a hole", PF, 6, rep_ins1_x);
  check("CR2", out.cr2, TEST + PAGE);
  check("ECX", out.gpr[RCX], 4);
  check("EDI", out.gpr[RDI], TEST + PAGE);
  STRING(rep_outs1, 9, RSI, TEST + PAGE - 5)
  ended("REP OUTSB out of a hole", PF, 4, rep_outs1_x);
  check("ECX", out.gpr[RCX], 4);
  check("ESI", out.gpr[RSI], TEST + PAGE);
  STRING(rep_outs2, 4, RSI, TEST + 2 * PAGE + 2)
  ended("REP OUTSW downwards", PF, 4, rep_outs2_x);
  check("CR2", out.cr2, TEST + 2 * PAGE - 2);
  check("ECX", out.gpr[RCX], 2);
  STRING(ins1, 1, RDI, TEST2)
  ended("INSB to a read-only page", PF, 7, ins1_x);
  check("EDI", out.gpr[RDI], TEST2);
  /* Permission goes before memory. */
  fresh();
  in.gpr[RDX] = 0x90;
  in.gpr[RCX] = 3;
  in.gpr[RSI] = in.gpr[RDI] = TEST + PAGE;
  run(3, rep_ins1);
  ended("no permission", GP, 0, rep_ins1_x);
  check("ECX", out.gpr[RCX], 3);
}

#if !LONG
REAL(v_in, "", "in %dx, %al", "nop");
REAL(v_outs, "cld", "rep outsb", "nop");
static void vm86_port(const u8 *code, u32 number, u32 level) {
  fresh();
  in.flags = FIXED | level << 12;
  in.gpr[RDX] = number;
  in.gpr[RCX] = 3;
  in.gpr[RSI] = 0xfffe;
  vm86(code);
}

TESTS(vm86_ports) {
  section("virtual-8086 mode: ports");
  give(sizeof tss - 1, MAP);
  allow(0x80);
  for (u32 level = 0; level < 4; level++) {
    vm86_port(v_in, 0x80, level);
    ended("IN, whatever IOPL", DONE, 0, (void *)(word)OFFSET(v_in_end));
    vm86_port(v_in, 0x81, level);
    ended("IN of another port, even with IOPL 3", GP, 0, (void *)(word)OFFSET(v_in_x));
  }
  vm86_port(v_outs, 0x80, 0);
  ended("REP OUTSB", DONE, 0, (void *)(word)OFFSET(v_outs_end));
  check("SI wraps", out.gpr[RSI], 1);
}
#endif
