import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ImageError } from "../../../../src/machine/images/error.ts";
import { buildCpio, buildInitramfs, type InitramfsEntry } from "../../../../src/machine/images/initramfs.ts";
import { ascii } from "./sample-kernel.ts";

const ENTRIES: InitramfsEntry[] = [
  { kind: "directory", path: "dev" },
  { kind: "device", device: "c", path: "dev/console", major: 5, minor: 1 },
  { kind: "device", device: "b", path: "dev/xvda", major: 202, minor: 0, mode: 0o660 },
  { kind: "file", path: "init", data: ascii("#!/bin/sh\n"), mode: 0o755 },
  { kind: "symlink", path: "sbin", target: "bin" },
];

interface Listed {
  name: string;
  mode: string;
  rdev: string;
  links: number;
  data: string;
}

/** Reads an archive back as the kernel's unpacker does. */
function list(archive: Uint8Array): Listed[] {
  const text = (at: number, length: number) => Buffer.from(archive.subarray(at, at + length)).toString("latin1");
  const found: Listed[] = [];
  for (let at = 0; ; ) {
    expect(at % 4).toBe(0);
    expect(text(at, 6)).toBe("070701");
    const field = (index: number) => Number.parseInt(text(at + 6 + index * 8, 8), 16);
    const nameSize = field(11);
    const size = field(6);
    const name = text(at + 110, nameSize - 1);
    const dataAt = (at + 110 + nameSize + 3) & ~3;
    if (name === "TRAILER!!!") {
      expect(dataAt).toBe(archive.length);
      return found;
    }
    const data = text(dataAt, size);
    found.push({ name, mode: field(1).toString(8), rdev: `${field(9)}:${field(10)}`, links: field(4), data });
    at = (dataAt + size + 3) & ~3;
  }
}

describe("buildCpio", () => {
  it("writes files, directories, symbolic links and device nodes in newc format", () => {
    expect(list(buildCpio(ENTRIES))).toEqual([
      { name: "dev", mode: "40755", rdev: "0:0", links: 2, data: "" },
      { name: "dev/console", mode: "20600", rdev: "5:1", links: 1, data: "" },
      { name: "dev/xvda", mode: "60660", rdev: "202:0", links: 1, data: "" },
      { name: "init", mode: "100755", rdev: "0:0", links: 1, data: "#!/bin/sh\n" },
      { name: "sbin", mode: "120777", rdev: "0:0", links: 1, data: "bin" },
    ]);
  });

  it("gives the same bytes for the same entries", () => {
    expect(buildCpio(ENTRIES)).toEqual(buildCpio(ENTRIES));
  });

  it("refuses absolute, empty and overlong paths", () => {
    for (const path of ["/init", "", "x".repeat(4096), "a\0b"]) {
      expect(() => buildCpio([{ kind: "directory", path }])).toThrow(ImageError);
    }
  });
});

describe("buildInitramfs", () => {
  it("is the archive in gzip", async () => {
    const packed = await buildInitramfs(ENTRIES);
    expect(Buffer.compare(gunzipSync(packed), buildCpio(ENTRIES))).toBe(0);
  });
});
