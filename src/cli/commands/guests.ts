/** `xenoscope guests fetch debian` and `xenoscope guests list`. */

import { join } from "node:path";
import { cacheFolder, readDistribution } from "../../toolstack/guests/cache.ts";
import { fetchDebian } from "../../toolstack/guests/debian.ts";
import { didYouMean } from "../../toolstack/suggest.ts";
import { EXIT_OK, usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import { Progress } from "../progress.ts";

const DISTRIBUTIONS = ["debian"];

function listText(): string {
  const lines = ["pvh (embedded): our own small kernel", "  xenoscope demo"];
  for (const name of DISTRIBUTIONS) {
    const cached = readDistribution(name);
    if (cached === undefined) {
      lines.push(`${name}: not here yet`, `  xenoscope guests fetch ${name}`);
      continue;
    }
    for (const kernel of cached.content.kernels) {
      lines.push(
        `${name}-${kernel.flavour}: ${kernel.package} ${kernel.version}, busybox ${cached.content.busybox.version}`,
        `  xenoscope run ${join(cached.folder, kernel.config)}`,
        ...(kernel.pvConfig === undefined ? [] : [`  xenoscope run ${join(cached.folder, kernel.pvConfig)}`]),
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

export const guestsListCommand: Command = {
  name: "guests list",
  description: "Show the guests that are ready to run, and how to run them",
  least: 0,
  most: 0,
  args: {},
  epilogue: `Guests that were fetched are kept in ~/.cache/xenoscope; XENOSCOPE_CACHE names another folder.`,
  run: async () => {
    process.stdout.write(listText());
    return EXIT_OK;
  },
};

export const guestsFetchCommand: Command = {
  name: "guests fetch",
  description: "Bring in a distribution's kernels and build an initramfs with a shell",
  least: 1,
  most: 1,
  args: {
    distribution: { type: "positional", description: "debian", required: true },
    quiet: { type: "boolean", alias: "q", description: "print nothing but errors" },
  },
  epilogue: `debian: linux-image-amd64, linux-image-cloud-amd64 and busybox-static, by apt-get download; needs no root, and
installs nothing. An xl.cfg is written for each kernel. They are kept in ~/.cache/xenoscope, or in XENOSCOPE_CACHE.

EXAMPLES
  xenoscope guests fetch debian
  XENOSCOPE_CACHE=./guests-cache xenoscope guests fetch debian`,
  run: async (parsed) => {
    const name = parsed.words[0]!;
    if (!DISTRIBUTIONS.includes(name)) {
      throw usageError(
        `guests fetch knows no ${name}${didYouMean(name, DISTRIBUTIONS)}: there is ${DISTRIBUTIONS.join(", ")}`,
      );
    }
    const quiet = parsed.flag("quiet");
    const progress = new Progress(!quiet);
    const say = (text: string): void => {
      if (!quiet) process.stderr.write(`${text}\n`);
    };
    try {
      await fetchDebian(say, (step, fraction) => progress.update(step, fraction));
    } finally {
      progress.done();
    }
    say(`kept in ${join(cacheFolder(), name)}`);
    if (!quiet) process.stdout.write(listText());
    return EXIT_OK;
  },
};
