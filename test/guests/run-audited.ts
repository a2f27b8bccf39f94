/**
 * A program for pv-audit.test.ts: KERNEL RAMDISK OWN COMMANDS. A PV Linux and a PVH kernel of our own share two physical CPUs; Linux works
 * through the commands, and memory is audited again and again. Prints console and differences as JSON.
 */
import { readFileSync } from "node:fs";
import { Machine } from "../../src/machine/machine.ts";

const [kernel, ramdisk, own, commands] = process.argv.slice(2) as [string, string, string, string];
const MIB = 2 ** 20;
const LIMIT = 8e9;
/** Cycles between audits. */
const STRIDE = 200e6;
const TYPING = 1e6;
/** The shell asks the terminal where the cursor is. */
const CURSOR_QUERY: RegExp = new RegExp(`${String.fromCharCode(27)}\\[6n$`);

const machine = (await Machine.create({
  pcpus: 2,
  domains: [
    {
      name: "linux",
      type: "pv",
      kernel: readFileSync(kernel),
      ramdisk: readFileSync(ramdisk),
      cmdline: "console=hvc0 xen_legacy_crash",
      memory: 128 * MIB,
      vcpus: 2,
    },
    { name: "own", type: "pvh", kernel: readFileSync(own), cmdline: "work=spin:1000000000000:1000", memory: 32 * MIB },
  ],
})) as Machine;
const waiting = commands.split("\n");
let text = "";
const console = machine.console(1);
console.onOutput((bytes, cycle) => {
  text += Buffer.from(bytes).toString("latin1");
  if (text.replace(CURSOR_QUERY, "").endsWith("/root # ") && waiting.length > 0)
    console.input(new TextEncoder().encode(`${waiting.shift()}\n`), cycle + TYPING);
});
const found: string[] = [];
let audits = 0;
while (machine.cycle < LIMIT && found.length === 0) {
  machine.run({ maxCycles: STRIDE });
  found.push(...machine.audit());
  audits++;
  if (machine.domains.find((d) => d.domid === 1)?.state !== "running") break;
}
process.stdout.write(JSON.stringify({ text, found, audits, cycle: machine.cycle }));
