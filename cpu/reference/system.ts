/** Privilege checks, RFLAGS as a whole, selectors, SWAPGS, and where a bit test by register looks. */
import * as A from "../arena.ts";
import { raise, VEC_GP } from "../core.ts";
import { FLAG_IF, FLAG_RF, FLAG_VM, getFlags } from "../flags.ts";
import * as U from "../uops/uop.ts";
import { bitsOf, bytesOf, type EvaluateTable, family, signed } from "./state.ts";

export function installSystem(table: EvaluateTable): void {
  table[U.U_CPL0] = ({ core }) => (core.i32[A.CPL >>> 2] === 0 ? U.H_OK : raise(core, VEC_GP));
  table[U.U_CLI] = ({ core }) => {
    const flags = core.i32[A.RFLAGS_SYS >>> 2]!;
    const iopl = (flags >>> 12) & 3;
    if (core.i32[A.CPL >>> 2]! > iopl) return raise(core, VEC_GP);
    core.i32[A.RFLAGS_SYS >>> 2] = flags & ~FLAG_IF;
    return U.H_OK;
  };
  table[U.U_RFLAGS] = (m, u) => {
    m.set(m.d(u), 3, BigInt(getFlags(m.core) & ~(FLAG_VM | FLAG_RF)));
    return U.H_OK;
  };
  table[U.U_SELECTOR] = (m, u) => {
    m.set(m.d(u), 3, BigInt(m.core.u16[(A.SEG + m.c(u) + A.SEG_SELECTOR) >>> 1]!));
    return U.H_OK;
  };
  table[U.U_SWAPGS] = (m) => {
    const { core } = m;
    if (core.i32[A.CPL >>> 2] !== 0) return raise(core, VEC_GP);
    const old = m.get(A.S_GSBASE, 3);
    m.set(A.S_GSBASE, 3, core.u64[A.MSR_KERNEL_GS_BASE >>> 3]!);
    core.u64[A.MSR_KERNEL_GS_BASE >>> 3] = old;
    return U.H_OK;
  };
  family(table, U.U_BIT_OFFSET, 1, (m, u, sz) => {
    const bit = signed(bitsOf(sz), m.get(m.a(u), sz));
    const size = BigInt(bytesOf(sz));
    // Whole operands, rounded towards minus infinity.
    m.set(m.d(u), 3, (bit >> BigInt(3 + sz)) * size);
    return U.H_OK;
  });
}
