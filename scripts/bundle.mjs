/**
 * Second half of `npm run build`. The command goes into few files, dist/src/cli/main.js and what it loads later, since Node spends
 * about a millisecond on each module file. For browsers, dist/browser has a module each for the exports of package.json, whole in
 * itself: browsers know no names of packages. What Node imports as a library stays as tsc wrote it.
 */
import { rmSync } from "node:fs";
import { build } from "esbuild";

const common = {
  bundle: true,
  format: "esm",
  // Names stay: errors and profiles show them.
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  logLevel: "warning",
};

const folder = "dist/src/cli";
rmSync(`${folder}/parts`, { recursive: true, force: true });
await build({
  ...common,
  entryPoints: ["src/cli/main.ts"],
  outdir: folder,
  chunkNames: "parts/[name]-[hash]",
  splitting: true,
  platform: "node",
  target: "node20",
});

rmSync("dist/browser", { recursive: true, force: true });
await build({
  ...common,
  entryPoints: { xenoscope: "src/index.ts", remote: "src/machine/remote.ts", worker: "src/machine/worker.ts" },
  outdir: "dist/browser",
  platform: "browser",
  target: "es2022",
  define: { process: "undefined" },
});
