/**
 * Second half of `npm run build`: puts the command into few files, dist/src/cli/main.js and what it loads later, since Node spends
 * about a millisecond on each module file. What is imported as a library stays as tsc wrote it.
 */
import { rmSync } from "node:fs";
import { build } from "esbuild";

const folder = "dist/src/cli";
rmSync(`${folder}/parts`, { recursive: true, force: true });
await build({
  entryPoints: ["src/cli/main.ts"],
  outdir: folder,
  chunkNames: "parts/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  // Names stay: errors and profiles show them.
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  logLevel: "warning",
});
