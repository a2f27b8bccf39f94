/**
 * A program for determinism.test.ts: KERNEL RAMDISK CYCLES SLICES. Runs Linux through the library until CYCLES, in slices of
 * the sizes named, in turn; prints console and report as JSON.
 */

import { readFileSync } from "node:fs";
import { Machine } from "../../src/index.ts";

const [kernel, ramdisk, cycles, slices] = process.argv.slice(2) as [string, string, string, string];
const sizes = slices.split(",").map(Number);
const machine = await Machine.create({
  domains: [
    {
      name: "linux",
      type: "pvh",
      kernel: readFileSync(kernel),
      ramdisk: readFileSync(ramdisk),
      cmdline: "console=hvc0",
      memory: 256 << 20,
    },
  ],
});
let text = "";
const decoder = new TextDecoder();
machine.console(1).onOutput((bytes) => {
  text += decoder.decode(bytes);
});
for (let n = 0; machine.cycle < Number(cycles); n++) {
  const maxCycles = Math.min(sizes[n % sizes.length]!, Number(cycles) - machine.cycle);
  if (machine.run({ maxCycles }) !== "cycle-limit") break;
}
process.stdout.write(JSON.stringify({ console: text, report: machine.report() }));
