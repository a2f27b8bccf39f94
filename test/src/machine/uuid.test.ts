import { expect, test } from "vitest";
import { Machine } from "../../../src/machine/machine.ts";

test.each(["", "1234", "01234567-89ab-cdef-0123-456789abcdeg"])('a domain can\'t have the uuid "%s"', async (uuid) => {
  const domain = { name: "web", type: "pvh" as const, kernel: new Uint8Array(0), cmdline: "", memory: 16 << 20, uuid };
  await expect(Machine.create({ domains: [domain] })).rejects.toMatchObject({
    name: "MachineConfigError",
    part: "config",
    domain: "web",
    message: expect.stringContaining(`"${uuid}"`),
  });
});
