// Encodings of the SSE floating-point instructions for the oracle: xmm0 (or rax, mm0) is the destination, xmm1 (or rax,
// mm1) the source.
import { IN_GPR, SSE_TABLE } from "../../../cpu/fpu/sse-table.ts";

const PREFIX: Record<string, number[]> = { PS: [], PD: [0x66], SS: [0xf3], SD: [0xf2] };
const ARITHMETIC: Record<string, number> = {
  SQRT: 0x51,
  RSQRT: 0x52,
  RCP: 0x53,
  ADD: 0x58,
  MUL: 0x59,
  SUB: 0x5c,
  MIN: 0x5d,
  DIV: 0x5e,
  MAX: 0x5f,
};
const ODD: Record<string, number[]> = {
  CVTDQ2PS: [0x0f, 0x5b],
  CVTPS2DQ: [0x66, 0x0f, 0x5b],
  CVTTPS2DQ: [0xf3, 0x0f, 0x5b],
  CVTTPD2DQ: [0x66, 0x0f, 0xe6],
  CVTDQ2PD: [0xf3, 0x0f, 0xe6],
  CVTPD2DQ: [0xf2, 0x0f, 0xe6],
  CVTPS2PD: [0x0f, 0x5a],
  CVTPD2PS: [0x66, 0x0f, 0x5a],
  CVTSS2SD: [0xf3, 0x0f, 0x5a],
  CVTSD2SS: [0xf2, 0x0f, 0x5a],
  CVTPI2PS: [0x0f, 0x2a],
  CVTPI2PD: [0x66, 0x0f, 0x2a],
  CVTTPS2PI: [0x0f, 0x2c],
  CVTPS2PI: [0x0f, 0x2d],
  CVTTPD2PI: [0x66, 0x0f, 0x2c],
  CVTPD2PI: [0x66, 0x0f, 0x2d],
  HADDPS: [0xf2, 0x0f, 0x7c],
  HADDPD: [0x66, 0x0f, 0x7c],
  HSUBPS: [0xf2, 0x0f, 0x7d],
  HSUBPD: [0x66, 0x0f, 0x7d],
  ADDSUBPS: [0xf2, 0x0f, 0xd0],
  ADDSUBPD: [0x66, 0x0f, 0xd0],
  COMISS: [0x0f, 0x2f],
  COMISD: [0x66, 0x0f, 0x2f],
  UCOMISS: [0x0f, 0x2e],
  UCOMISD: [0x66, 0x0f, 0x2e],
  ROUNDPS: [0x66, 0x0f, 0x3a, 0x08],
  ROUNDPD: [0x66, 0x0f, 0x3a, 0x09],
  ROUNDSS: [0x66, 0x0f, 0x3a, 0x0a],
  ROUNDSD: [0x66, 0x0f, 0x3a, 0x0b],
  DPPS: [0x66, 0x0f, 0x3a, 0x40],
  DPPD: [0x66, 0x0f, 0x3a, 0x41],
  CVTSI2SS: [0xf3, 0x0f, 0x2a],
  CVTSI2SD: [0xf2, 0x0f, 0x2a],
  CVTSS2SI: [0xf3, 0x0f, 0x2d],
  CVTSD2SI: [0xf2, 0x0f, 0x2d],
  CVTTSS2SI: [0xf3, 0x0f, 0x2c],
  CVTTSD2SI: [0xf2, 0x0f, 0x2c],
};

/** Whether the instruction has an immediate. */
export function hasImmediate(name: string): boolean {
  return /^(CMP|ROUND|DP)/.test(name);
}

/** The instruction's bytes; `wide` adds REX.W. */
export function encode(name: string, wide: boolean, imm: number): number[] {
  const suffix = name.slice(-2);
  let bytes = ODD[name];
  if (bytes === undefined) {
    const stem = name.slice(0, -2);
    const opcode = stem === "CMP" ? 0xc2 : ARITHMETIC[stem];
    if (opcode === undefined) throw new Error(`no encoding for ${name}`);
    bytes = [...(PREFIX[suffix] as number[]), 0x0f, opcode];
  }
  const entry = SSE_TABLE.get(name);
  if (entry === undefined) throw new Error(`no operation for ${name}`);
  const prefixes = bytes[0] === 0x0f ? 0 : 1;
  const modrm = entry.source === IN_GPR ? 0xc0 : 0xc1;
  return [
    ...bytes.slice(0, prefixes),
    ...(wide ? [0x48] : []),
    ...bytes.slice(prefixes),
    modrm,
    ...(hasImmediate(name) ? [imm] : []),
  ];
}
