import { expect, test } from "vitest";
import { buildCpio } from "../../../../src/machine/images/initramfs.ts";
import { guestConfig, initramfsEntries } from "../../../../src/toolstack/guests/debian.ts";
import { parseDomain } from "../../../../src/toolstack/xlcfg/domain.ts";

test("the xl.cfg that is written is taken without a warning, whatever the folder is called", () => {
  const { domain, warnings } = parseDomain(guestConfig("pvh", "cloud", "6.1", '/a "b"\\c/vmlinuz', "/i.gz"), "d.cfg");
  expect(warnings).toEqual([]);
  expect(domain).toMatchObject({ type: "pvh", vcpus: 1, cmdline: "console=hvc0 xen_legacy_crash" });
  expect(domain.kernel.value).toBe('/a "b"\\c/vmlinuz');
  expect(domain.ramdisk?.value).toBe("/i.gz");
});

test("the initramfs holds init, busybox, a shell and the console, parents first", () => {
  const entries = initramfsEntries(Uint8Array.of(1, 2, 3));
  const paths = entries.map((entry) => entry.path);
  for (const path of ["init", "bin/busybox", "bin/sh", "dev/console", "proc", "sys"]) expect(paths).toContain(path);
  for (const [index, path] of paths.entries()) {
    const parent = path.split("/").slice(0, -1).join("/");
    if (parent !== "") expect(paths.indexOf(parent), path).toBeLessThan(index);
    if (parent !== "") expect(paths.indexOf(parent), path).toBeGreaterThanOrEqual(0);
  }
  expect(entries).toContainEqual({ kind: "device", path: "dev/console", mode: 0o600, device: "c", major: 5, minor: 1 });
  expect(buildCpio(entries).length % 4).toBe(0);
});
