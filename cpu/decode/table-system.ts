// System instructions: descriptor tables, control registers, MSRs, TLB, extended state, fast system calls, VMX, SVM.
// The line format stands in table-integer.ts.

export const SYSTEM_ROWS: string = `
@BASE
0f 00 /0 SLDT Evw prot wo
0f 00 /1 STR Evw prot wo
0f 00 /2 LLDT Ew prot priv ro
0f 00 /3 LTR Ew prot priv ro
0f 00 /4 VERR Ew prot ro
0f 00 /5 VERW Ew prot ro
0f 01 /0 SGDT Ms wo
0f 01 /1 SIDT Ms wo
0f 01 /2 LGDT Ms priv ro
0f 01 /3 LIDT Ms priv ro
0f 01 /4 SMSW Evw wo
0f 01 /6 LMSW Ew priv solo branch ro
0f 01 /7 INVLPG M priv solo ro
0f 01 =f8 SWAPGS only64 priv
0f 02 LAR Gv,Ew prot
0f 03 LSL Gv,Ew prot
0f 06 CLTS priv solo
0f 08 INVD priv
0f 09 WBINVD priv
0f 20 MOV Rn,C nomod priv solo branch wo
0f 21 MOV Rn,D nomod priv solo branch wo
0f 22 MOV C,Rn nomod priv solo branch wo
0f 23 MOV D,Rn nomod priv solo branch wo
0f 30 WRMSR priv solo
0f 31 RDTSC solo
0f 32 RDMSR priv solo
0f 33 RDPMC solo
0f a2 CPUID solo
0f aa RSM solo branch
@SYSCALL
0f 05 SYSCALL solo branch
0f 07 SYSRET prot priv solo branch
@SEP
0f 34 SYSENTER solo branch
0f 35 SYSEXIT priv solo branch
@SMX
np 0f 37 GETSEC solo branch
@RDTSCP
0f 01 =f9 RDTSCP solo
@MONITOR
np 0f 01 =c8 MONITOR priv
np 0f 01 =c9 MWAIT priv solo
@SMAP
np 0f 01 =ca CLAC priv
np 0f 01 =cb STAC priv
@XSAVE
np 0f 01 =d0 XGETBV
np 0f 01 =d1 XSETBV solo
np 0f ae /4 XSAVE M w0
np 0f ae /4 XSAVE64 M w1
np 0f ae /5 XRSTOR M w0 ro
np 0f ae /5 XRSTOR64 M w1 ro
@XSAVEOPT
np 0f ae /6 XSAVEOPT M w0
np 0f ae /6 XSAVEOPT64 M w1
@XSAVEC
np 0f c7 /4 XSAVEC M w0 wo
np 0f c7 /4 XSAVEC64 M w1 wo
@XSAVES
np 0f c7 /3 XRSTORS M w0 priv ro
np 0f c7 /3 XRSTORS64 M w1 priv ro
np 0f c7 /5 XSAVES M w0 priv wo
np 0f c7 /5 XSAVES64 M w1 priv wo
@FXSR
np 0f ae /0 FXSAVE Mo w0 wo
np 0f ae /0 FXSAVE64 Mo w1 wo
np 0f ae /1 FXRSTOR Mo w0 ro
np 0f ae /1 FXRSTOR64 Mo w1 ro
@SSE
np 0f ae /2 LDMXCSR Md ro sse
np 0f ae /3 STMXCSR Md wo sse
np 0f ae /7r SFENCE
@SSE2
np 0f ae /5r LFENCE
np 0f ae /6r MFENCE
@CLFSH
np 0f ae /7 CLFLUSH Mb ro
@CLFLUSHOPT
66 0f ae /7 CLFLUSHOPT Mb ro
@CLWB
66 0f ae /6 CLWB Mb ro
@CLZERO
0f 01 =fc CLZERO
@FSGSBASE
f3 0f ae /0 RDFSBASE Ry only64 wo
f3 0f ae /1 RDGSBASE Ry only64 wo
f3 0f ae /2 WRFSBASE Ry only64 ro
f3 0f ae /3 WRGSBASE Ry only64 ro
@PKU
np 0f 01 =ee RDPKRU
np 0f 01 =ef WRPKRU
@INVPCID
66 0f 38 82 INVPCID Gn,Mx priv solo ro
@VMX
np 0f 01 =c1 VMCALL solo branch
np 0f 01 =c2 VMLAUNCH prot solo branch
np 0f 01 =c3 VMRESUME prot solo branch
np 0f 01 =c4 VMXOFF prot solo branch
np 0f 01 =d4 VMFUNC solo branch
np 0f 78 VMREAD En,Gn prot solo wo
np 0f 79 VMWRITE Gn,En prot solo ro
np 0f c7 /6 VMPTRLD Mq prot solo ro
66 0f c7 /6 VMCLEAR Mq prot solo ro
f3 0f c7 /6 VMXON Mq prot solo ro
np 0f c7 /7 VMPTRST Mq prot solo wo
66 0f 38 80 INVEPT Gn,Mx prot solo ro
66 0f 38 81 INVVPID Gn,Mx prot solo ro
@SVM
0f 01 =d8 VMRUN prot solo branch
0f 01 =d9 VMMCALL solo branch
0f 01 =da VMLOAD prot solo
0f 01 =db VMSAVE prot solo
0f 01 =dc STGI prot solo
0f 01 =dd CLGI prot solo
0f 01 =de SKINIT prot solo branch
0f 01 =df INVLPGA prot solo
`;
