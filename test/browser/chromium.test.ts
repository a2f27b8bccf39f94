/** The built package in a real browser: the same run as in Node. Skipped where there is none; CHROME_PATH names one. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRemoteMachine, type RemoteConfig } from "../../dist/src/machine/remote.js";
import { debianGuests } from "../support/debian.ts";
import { Chromium, findChromium } from "./chromium.ts";
import { type Seen, session, written } from "./session.ts";
import { Site } from "./site.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const chromium = findChromium();
const skipped = chromium === undefined ? " (skipped: no Chromium on PATH, and CHROME_PATH names none)" : "";
const debian = await debianGuests();
const missing = "missing" in debian ? debian.missing : undefined;

/** Far more than a run takes on a busy machine. */
const LONG = 300_000;
const ENOUGH = 100_000_000_000;
const FILES: Record<string, string> = {
  "xenoscope/": `${ROOT}dist/browser`,
  "pvh.elf": `${ROOT}guests/pvh/pvh.elf`,
  "pv.elf": `${ROOT}guests/pv/pv.elf`,
  ...("missing" in debian ? {} : { vmlinuz: debian.cloud, initramfs: debian.initramfs }),
};
/** A page that offers the package, and the session of this test. */
const BENCH = `<!doctype html><title>test</title><script type="module">
  import { createRemoteMachine } from "./xenoscope/remote.js";
  import { Machine } from "./xenoscope/xenoscope.js";
  const file = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const session = ${session};
  globalThis.here = Machine;
  globalThis.run = async ({ kernel, ramdisk, ...domain }, engine, ...rest) => {
    domain.kernel = await file(kernel);
    if (ramdisk !== undefined) domain.ramdisk = await file(ramdisk);
    return session(createRemoteMachine, { engine, domains: [domain] }, ...rest);
  };
  globalThis.ready = true;
</script>`;
const EXAMPLE = /```html\n([\s\S]*?)```/.exec(readFileSync(`${ROOT}docs/browser.md`, "utf8"))![1]!;

type Domain = Omit<RemoteConfig["domains"][number], "kernel" | "ramdisk"> & { kernel: string; ramdisk?: string };
type Rest = [engine: NonNullable<RemoteConfig["engine"]>, prompt: string, lines: readonly string[], most: number];

function inNode(
  { kernel, ramdisk, ...domain }: Domain,
  engine: Rest[0],
  ...rest: [string, readonly string[], number]
): Promise<Seen> {
  const file = (name: string): Uint8Array => new Uint8Array(readFileSync(FILES[name]!));
  const complete = { ...domain, kernel: file(kernel), ...(ramdisk !== undefined && { ramdisk: file(ramdisk) }) };
  return session(createRemoteMachine, { engine, domains: [complete] }, ...rest);
}

describe.skipIf(chromium === undefined)(`a machine in Chromium${skipped}`, () => {
  let browser: Chromium;
  const sites: Site[] = [];
  beforeAll(async () => {
    browser = new Chromium(chromium!);
    for (const isolated of [false, true])
      sites.push(await Site.open({ text: { "bench.html": BENCH, "example.html": EXAMPLE }, files: FILES }, isolated));
  });
  afterAll(async () => {
    for (const site of sites) site.close();
    await browser?.close();
  }, LONG);

  const inPage = async (isolated: boolean, domain: Domain, ...rest: Rest): Promise<Seen> => {
    const page = await browser.open(`${sites[isolated ? 1 : 0]!.url}bench.html`);
    await page.until("globalThis.ready === true");
    expect(await page.evaluate("crossOriginIsolated")).toBe(isolated);
    const seen = await page.evaluate<Seen>(`run(...${JSON.stringify([domain, ...rest])})`);
    expect(page.errors).toEqual([]);
    return seen;
  };

  it(
    "does what docs/browser.md says: the example shows the console, takes what is typed, and ends with the report",
    async () => {
      const page = await browser.open(`${sites[0]!.url}example.html`);
      const screen = 'document.querySelector("#screen").textContent';
      await page.until(`${screen}.includes("echo")`);
      await page.type("a word");
      await page.until(`${screen}.includes("a word")`);
      await page.type("quit");
      await page.until(`${screen}.includes("cycles")`);
      expect(await page.evaluate(screen)).toMatch(/^a word\necho: done\n\{"cycles":\d+/m);
    },
    LONG,
  );

  const own = { name: "own", memory: 16 << 20, kernel: "pvh.elf", type: "pvh", vcpus: 2 } as const;
  const works: readonly (readonly [Domain, Rest[0], isolated: boolean])[] = [
    [{ ...own, cmdline: "work=hello,evtchn" }, "translator", true],
    [{ ...own, cmdline: "work=hello,evtchn" }, "interpreter", false],
    [{ ...own, cmdline: "work=hello", vcpus: 1 }, "reference", false],
    [{ ...own, cmdline: "work=hello", kernel: "pv.elf", type: "pv" }, "translator", false],
  ];
  it.each(works)(
    "runs %o in the %s (cross-origin isolated: %s) as Node does",
    async (domain, engine, isolated) => {
      const rest: Rest = [engine, "never", [], 500_000_000];
      const seen = await inPage(isolated, domain, ...rest);
      expect(written(seen)).toMatch(/hello: \d+ passed, 0 failed/);
      expect(seen).toEqual(await inNode(domain, ...rest));
    },
    LONG,
  );

  it(
    "also runs in the page's own thread",
    async () => {
      const page = await browser.open(`${sites[0]!.url}bench.html`);
      await page.until("globalThis.ready === true");
      const [outcome, cycle] = await page.evaluate<[string, number]>(`(async () => {
        const kernel = new Uint8Array(await (await fetch("pvh.elf")).arrayBuffer());
        const domains = [{ name: "own", type: "pvh", kernel, cmdline: "work=hello", memory: 16 << 20 }];
        const machine = await here.create({ domains });
        return [machine.run({ maxCycles: 500_000_000 }), machine.cycle];
      })()`);
      const seen = await inNode({ ...own, vcpus: 1, cmdline: "work=hello" }, "translator", "never", [], 500_000_000);
      expect({ outcome, cycle }).toEqual({ outcome: seen.outcome, cycle: seen.cycle });
    },
    LONG,
  );

  describe.skipIf(missing !== undefined)(`Debian's cloud kernel${missing === undefined ? "" : ` (${missing})`}`, () => {
    const linux = {
      name: "linux",
      kernel: "vmlinuz",
      ramdisk: "initramfs",
      cmdline: "console=hvc0",
      memory: 256 << 20,
    };
    const lines = ["cat /sys/hypervisor/guest_type\n", "seq 1 2000 | gzip -c | gunzip -c | md5sum\n", "poweroff -f\n"];
    it.each([
      ["pvh", "PVH"],
      ["pv", "PV"],
    ] as const)(
      "comes to a shell as %s, works and powers off, as in Node",
      async (type, shows) => {
        const rest: Rest = ["translator", "/root #", lines, ENOUGH];
        const seen = await inPage(false, { ...linux, type }, ...rest);
        expect(seen.outcome).toBe("all-shutdown");
        expect(seen.report.domains[0]!.shutdownReason).toBe("poweroff");
        expect(written(seen)).toMatch(new RegExp(`^${shows}\\r?$`, "m"));
        expect(seen).toEqual(await inNode({ ...linux, type }, ...rest));
      },
      LONG,
    );
  });
});
