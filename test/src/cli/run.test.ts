import { expect, test } from "vitest";
import { placeConfigError } from "../../../src/cli/commands/run.ts";
import { MachineConfigError } from "../../../src/machine/api.ts";
import { parseDomain } from "../../../src/toolstack/xlcfg/domain.ts";

const domains = ["a", "b"].map(
  (name) =>
    parseDomain(`name="${name}"\ntype="pvh"\nkernel="/k/${name}"\nramdisk="/r"\nmemory=64\n`, `${name}.cfg`).domain,
);

test.each([
  [new MachineConfigError("not a kernel", "kernel", "b"), "b.cfg:3: /k/b: not a kernel"],
  [new MachineConfigError("too large", "ramdisk", "a"), "a.cfg:4: /r: too large"],
  [new MachineConfigError("64 MiB are too many", "memory", "a"), "a.cfg:5: 64 MiB are too many"],
  [new MachineConfigError("too many vcpus", "vcpus", "b"), "b.cfg:1: too many vcpus"],
  [new MachineConfigError("too many CPUs", "machine"), "too many CPUs"],
])("what the machine refuses shows at the line that asked for it: %s", (error, message) => {
  expect(placeConfigError(error, domains).message).toBe(message);
  expect(placeConfigError(error, domains).exitCode).toBe(1);
});
