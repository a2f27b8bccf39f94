/**
 * A program for pv-audit.test.ts: KERNEL RAMDISK COMMANDS. The same Linux as a PV and as a PVH domain, on two physical CPUs, both of which work
 * through the commands; memory is audited again and again. Prints the consoles and the differences as JSON.
 */
import { readFileSync } from "node:fs";
import { Machine } from "../../src/machine/machine.ts";

const [kernel, ramdisk, commands] = process.argv.slice(2) as [string, string, string];
const MIB = 2 ** 20;
const LIMIT = 12e9;
/** Cycles between audits. */
const STRIDE = 200e6;
const TYPING = 1e6;
/** The shell asks the terminal where the cursor is. */
const CURSOR_QUERY: RegExp = new RegExp(`${String.fromCharCode(27)}\\[6n$`);

const machine = (await Machine.create({
  pcpus: 2,
  domains: (["pv", "pvh"] as const).map((type) => ({
    name: type,
    type,
    kernel: readFileSync(kernel),
    ramdisk: readFileSync(ramdisk),
    cmdline: "console=hvc0 xen_legacy_crash",
    memory: 128 * MIB,
    vcpus: type === "pv" ? 2 : 1,
  })),
})) as Machine;
const texts = [1, 2].map((domid) => {
  const waiting = commands.split("\n");
  const seen = { text: "" };
  const console = machine.console(domid);
  console.onOutput((bytes, cycle) => {
    seen.text += Buffer.from(bytes).toString("latin1");
    if (seen.text.replace(CURSOR_QUERY, "").endsWith("/root # ") && waiting.length > 0)
      console.input(new TextEncoder().encode(`${waiting.shift()}\n`), cycle + TYPING);
  });
  return seen;
});
const found: string[] = [];
let audits = 0;
while (machine.cycle < LIMIT && found.length === 0) {
  machine.run({ maxCycles: STRIDE });
  found.push(...machine.audit());
  audits++;
  if (machine.domains.every((d) => d.state !== "running")) break;
}
process.stdout.write(JSON.stringify({ texts: texts.map((t) => t.text), found, audits, cycle: machine.cycle }));
