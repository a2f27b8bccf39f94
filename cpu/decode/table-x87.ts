// x87 opcodes D8..DF and WAIT. The line format stands in table-integer.ts.
// Undocumented register-form aliases (DC /2, DC /3, DE /2, DD /1, DF /1..3, D9 /3) decode as what they execute as.

const ARITHMETIC = ["ADD", "MUL", "COM", "COMP", "SUB", "SUBR", "DIV", "DIVR"];
/** DC and DE register forms: the destination is ST(i), so the reversed and plain forms change places. */
const REVERSED = ["ADD", "MUL", "", "", "SUBR", "SUB", "DIVR", "DIV"];

function arithmeticRows(): string {
  const memory = ARITHMETIC.map(
    (name, i) => `
d8 /${i}m F${name} Md ro
d8 /${i}r F${name} ST0,T
da /${i}m FI${name} Md ro
dc /${i}m F${name} Mq ro
de /${i}m FI${name} Mw ro`,
  );
  const register = REVERSED.map((name, i) =>
    name === ""
      ? ""
      : `
dc /${i}r F${name} T,ST0
de /${i}r F${name}P T,ST0`,
  );
  return [...memory, ...register].join("\n");
}

export const X87_ROWS: string = `
@BASE
9b FWAIT
@FPU
${arithmeticRows()}
dc /2r FCOM ST0,T
dc /3r FCOMP ST0,T
de /2r FCOMP ST0,T
de =d9 FCOMPP
d9 /0m FLD Md ro
d9 /2m FST Md wo
d9 /3m FSTP Md wo
d9 /4m FLDENV Me ro
d9 /5m FLDCW Mw ro
d9 /6m FNSTENV Me wo
d9 /7m FNSTCW Mw wo
d9 /0r FLD T ro
d9 /1r FXCH T
d9 =d0 FNOP
d9 /3r FSTP T wo
d9 =e0 FCHS
d9 =e1 FABS
d9 =e4 FTST
d9 =e5 FXAM
d9 =e8 FLD1
d9 =e9 FLDL2T
d9 =ea FLDL2E
d9 =eb FLDPI
d9 =ec FLDLG2
d9 =ed FLDLN2
d9 =ee FLDZ
d9 =f0 F2XM1
d9 =f1 FYL2X
d9 =f2 FPTAN
d9 =f3 FPATAN
d9 =f4 FXTRACT
d9 =f5 FPREM1
d9 =f6 FDECSTP
d9 =f7 FINCSTP
d9 =f8 FPREM
d9 =f9 FYL2XP1
d9 =fa FSQRT
d9 =fb FSINCOS
d9 =fc FRNDINT
d9 =fd FSCALE
d9 =fe FSIN
d9 =ff FCOS
da /0r FCMOVB ST0,T
da /1r FCMOVE ST0,T
da /2r FCMOVBE ST0,T
da /3r FCMOVU ST0,T
da =e9 FUCOMPP
db /0m FILD Md ro
db /2m FIST Md wo
db /3m FISTP Md wo
db /5m FLD Mt ro
db /7m FSTP Mt wo
db /0r FCMOVNB ST0,T
db /1r FCMOVNE ST0,T
db /2r FCMOVNBE ST0,T
db /3r FCMOVNU ST0,T
db =e0 FNENI
db =e1 FNDISI
db =e2 FNCLEX
db =e3 FNINIT
db =e4 FNSETPM
db /5r FUCOMI ST0,T ro
db /6r FCOMI ST0,T ro
dd /0m FLD Mq ro
dd /2m FST Mq wo
dd /3m FSTP Mq wo
dd /4m FRSTOR Mf ro
dd /6m FNSAVE Mf wo
dd /7m FNSTSW Mw wo
dd /0r FFREE T
dd /1r FXCH T
dd /2r FST T wo
dd /3r FSTP T wo
dd /4r FUCOM ST0,T
dd /5r FUCOMP ST0,T
df /0m FILD Mw ro
df /2m FIST Mw wo
df /3m FISTP Mw wo
df /4m FBLD Mt ro
df /5m FILD Mq ro
df /6m FBSTP Mt wo
df /7m FISTP Mq wo
df /0r FFREEP T
df /1r FXCH T
df /2r FSTP T wo
df /3r FSTP T wo
df =e0 FNSTSW AX wo
df /5r FUCOMIP ST0,T ro
df /6r FCOMIP ST0,T ro
@SSE3
db /1m FISTTP Md wo
dd /1m FISTTP Mq wo
df /1m FISTTP Mw wo
`;
