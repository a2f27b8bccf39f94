// Two-byte (0F) integer opcodes, and the integer part of 0F 38. The line format stands in table-integer.ts.

export const TWO_BYTE_ROWS: string = `
@BASE
0f 0b UD2 branch
0f 0d /r NOP Ev ro
0f 0d /0m NOP Eb ro
@PREFETCHW
0f 0d /1m PREFETCHW Mb ro
0f 0d /2m PREFETCHWT1 Mb ro
@BASE
0f 0d /3m NOP Eb ro
0f 0d /4m NOP Eb ro
0f 0d /5m NOP Eb ro
0f 0d /6m NOP Eb ro
0f 0d /7m NOP Eb ro
@SSE
0f 18 /0m PREFETCHNTA Mb ro
0f 18 /1m PREFETCHT0 Mb ro
0f 18 /2m PREFETCHT1 Mb ro
0f 18 /3m PREFETCHT2 Mb ro
@BASE
0f 18 /r NOP Ev ro
0f 18 /4m NOP Ev ro
0f 18 /5m NOP Ev ro
0f 18 /6m NOP Ev ro
0f 18 /7m NOP Ev ro
0f 19-1f NOP Ev ro
0f 40 CMOVcc Gv,Ev
0f 80 Jcc Jz f64 branch
0f 90 SETcc Eb wo
0f a0 PUSH FS d64 ro
0f a1 POP FS d64 wo
0f a3 BT Ev,Gv ro
0f a4 SHLD Ev,Gv,Ib
0f a5 SHLD Ev,Gv,CL
0f a8 PUSH GS d64 ro
0f a9 POP GS d64 wo
0f ab BTS Ev,Gv lock
0f ac SHRD Ev,Gv,Ib
0f ad SHRD Ev,Gv,CL
0f af IMUL Gv,Ev
0f b0 CMPXCHG Eb,Gb lock
0f b1 CMPXCHG Ev,Gv lock
0f b2 LSS Gv,Mp wo
0f b3 BTR Ev,Gv lock
0f b4 LFS Gv,Mp wo
0f b5 LGS Gv,Mp wo
0f b6 MOVZX Gv,Eb wo
0f b7 MOVZX Gv,Ew wo
0f b9 UD1 Gv,Ev branch ro
0f ba /4 BT Ev,Ib ro
0f ba /5 BTS Ev,Ib lock
0f ba /6 BTR Ev,Ib lock
0f ba /7 BTC Ev,Ib lock
0f bb BTC Ev,Gv lock
0f bc BSF Gv,Ev
0f bd BSR Gv,Ev
0f be MOVSX Gv,Eb wo
0f bf MOVSX Gv,Ew wo
0f c0 XADD Eb,Gb lock
0f c1 XADD Ev,Gv lock
0f c7 /1 CMPXCHG8B Mq lock w0
0f c8-cf BSWAP Zv
0f ff UD0 Gv,Ev branch ro
@POPCNT
f3 0f b8 POPCNT Gv,Ev wo
@BMI1
f3 0f bc TZCNT Gv,Ev wo
@LZCNT
f3 0f bd LZCNT Gv,Ev wo
@CX16
0f c7 /1 CMPXCHG16B Mx lock w1
@MOVBE
nx 0f 38 f0 MOVBE Gv,Mv wo
nx 0f 38 f1 MOVBE Mv,Gv wo
@SSE42
f2 0f 38 f0 CRC32 Gy,Eb
f2 0f 38 f1 CRC32 Gy,Ev
@ADX
66 0f 38 f6 ADCX Gy,Ey
f3 0f 38 f6 ADOX Gy,Ey
@RDRAND
nx 0f c7 /6 RDRAND Rv wo
@RDSEED
nx 0f c7 /7 RDSEED Rv wo
@RDPID
f3 0f c7 /7 RDPID Rn solo wo
`;
