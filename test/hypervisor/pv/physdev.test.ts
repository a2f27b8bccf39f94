/** physdev_op and hvm_op of PV domains without hardware. */

import { describe, expect, it } from "vitest";
import { EBUSY, EINVAL, ENOSYS } from "../../../hypervisor/abi/errno.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import type { Field } from "../calls.ts";
import { FREE, L1, LIST, type PvCaller, pvMachine } from "./pv-caller.ts";

const physdev = (c: PvCaller, command: number, ...fields: Field[]): number => {
  c.write(LIST, ...fields);
  return c.call(33, command, c.at(LIST));
};

describe("PHYSDEVOP_pirq_eoi_gmfn", () => {
  for (const type of ["pv", "pv32"] as const)
    it(`holds one writable page of a ${type} domain, until it is gone`, () => {
      const c = pvMachine({ type });
      const long = type === "pv" ? 8 : 4;
      expect(physdev(c, 28, [long, c.mfn(L1)])).toBe(-EINVAL);
      expect(physdev(c, 28, [long, 0x7fffffff])).toBe(-EINVAL);
      expect(physdev(c, 28, [long, c.mfn(FREE)])).toBe(0);
      expect(physdev(c, 17, [long, c.mfn(FREE + 1)])).toBe(-EBUSY);
      expect(auditMemory(c.hv)).toEqual([]);
      // It can't become a table while Xen writes to it.
      c.protect(FREE);
      expect(c.ext(0, c.mfn(FREE))).toBe(-EINVAL);
      destroyDomain(c.domain);
      expect(c.hv.heap.ownerOf(c.mfn(FREE))).not.toBe(c.domain.domid);
      expect(auditMemory(c.hv)).toEqual([]);
    });
});

it("PIRQs are given out from below for GSIs and from above for messages, and only those can be acknowledged", () => {
  const c = pvMachine();
  const free = (type: number): number => (physdev(c, 23, [4, type], [4, 0]) === 0 ? c.get32(LIST, 4) : -1);
  expect(physdev(c, 12, [4, 16])).toBe(-EINVAL);
  expect([free(1), free(1), free(0), free(0)]).toEqual([16, 17, 55, 54]);
  expect(physdev(c, 12, [4, 16])).toBe(0);
  for (let n = 0; n < 36; n++) free(1);
  expect(free(1)).toBe(-1);
  expect(physdev(c, 11)).toBe(-ENOSYS);
});

it("a PV domain has no HVM parameters, no upcall vector and no memory types", () => {
  const c = pvMachine();
  c.write(LIST, [2, 0x7ff0], [2, 0], [4, 0], [8, 0x0200_0000_0000_0030n]);
  for (const command of [0, 1, 5, 15]) expect(c.call(34, command, c.at(LIST))).toBe(-EINVAL);
  expect(c.call(34, 23, c.at(LIST))).toBe(-EINVAL);
  expect(c.domain.callbackVector).toBe(0);
  expect(c.call(34, 10, c.at(LIST))).toBe(0);
});
