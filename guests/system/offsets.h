/* Offsets in struct state (system.h), for assembly; lib.c checks them. */
#ifdef __x86_64__
#define IN_WORD 8
#define IN_REGISTERS 16
#else
#define IN_WORD 4
#define IN_REGISTERS 8
#endif
#define IN_SP (4 * IN_WORD)
#define IN_AFTER(n) ((IN_REGISTERS + (n)) * IN_WORD)
#define IN_IP IN_AFTER(0)
#define IN_FLAGS IN_AFTER(1)
#define IN_CS IN_AFTER(2)
#define IN_SS IN_AFTER(3)
#define IN_DS IN_AFTER(4)
#define IN_ES IN_AFTER(5)
#define IN_FS IN_AFTER(6)
#define IN_GS IN_AFTER(7)
/* Where real-mode code lies (real.S), and the segments of the GDT that lead there. */
#define REAL_BASE 0x8000
#define SEL_REAL_CODE 0xe8
#define SEL_REAL_DATA 0xf0
