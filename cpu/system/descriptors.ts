/** LAR, LSL, VERR, VERW, ARPL: descriptors looked at without loading them (SDM 5.10). */
import * as A from "../arena.ts";
import type { Core } from "../core.ts";
import { H_OK } from "../uops/uop.ts";
import { isLongMode } from "./bits.ts";
import { ATTR_RW } from "./segcheck.ts";
import { Descriptor, NO_DESCRIPTOR, readDescriptor } from "./segments.ts";

const d = new Descriptor();

/** ZF alone; the other arithmetic flags stay. */
export function setZf(core: Core, zero: boolean): void {
  core.i32[A.CC_Z >>> 2] = zero ? 0 : 1;
  core.i32[(A.CC_Z + 4) >>> 2] = 0;
}

/** System descriptor types that LAR and LSL accept: in legacy modes, in long mode (SDM volume 2, LAR and LSL). */
const LAR_LEGACY: number = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 9) | (1 << 11) | (1 << 12);
const LAR_LONG: number = (1 << 2) | (1 << 9) | (1 << 11) | (1 << 12);
const LSL_LEGACY: number = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 9) | (1 << 11);
const LSL_LONG: number = (1 << 2) | (1 << 9) | (1 << 11);

/** Reads the descriptor; `found` false if the selector names nothing that the current level may see. */
let found = false;
function look(core: Core, selector: number, types: number): number {
  found = false;
  if ((selector & 0xfffc) === 0) return H_OK;
  const r = readDescriptor(core, selector, d);
  if (r === NO_DESCRIPTOR) return H_OK;
  if (r !== H_OK) return r;
  if (d.isSystem && !((types >>> d.type) & 1)) return H_OK;
  if (!d.isConforming && (d.dpl < core.i32[A.CPL >>> 2]! || d.dpl < (selector & 3))) return H_OK;
  found = true;
  return H_OK;
}

function setRegister(core: Core, slot: number, size: number, value: number): void {
  const at = A.SLOTS + slot;
  if (size === 2) core.u16[at >>> 1] = value;
  else {
    core.i32[at >>> 2] = value;
    core.i32[(at + 4) >>> 2] = 0;
  }
}

export function loadAccessRights(core: Core, slot: number, size: number, selector: number): number {
  const r = look(core, selector, isLongMode(core) ? LAR_LONG : LAR_LEGACY);
  if (r !== H_OK) return r;
  if (found) setRegister(core, slot, size, d.hi & 0x00ffff00);
  setZf(core, found);
  return H_OK;
}

export function loadLimit(core: Core, slot: number, size: number, selector: number): number {
  const r = look(core, selector, isLongMode(core) ? LSL_LONG : LSL_LEGACY);
  if (r !== H_OK) return r;
  if (found) setRegister(core, slot, size, d.limit);
  setZf(core, found);
  return H_OK;
}

/** VERR (`write` false) and VERW. */
export function verify(core: Core, selector: number, write: boolean): number {
  const r = look(core, selector, 0);
  if (r !== H_OK) return r;
  const ok = found && (write ? d.isWritableData : !d.isCode || (d.attr & ATTR_RW) !== 0);
  setZf(core, ok);
  return H_OK;
}
