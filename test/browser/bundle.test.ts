/** dist/browser without a browser: modules whole in themselves, in a thread that has nothing of Node. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { nodeEndpoint } from "../../dist/src/machine/node-endpoint.js";
import { createRemoteMachine, type RemoteConfig } from "../../dist/src/machine/remote.js";
import { session, written } from "./session.ts";

const FOLDER = new URL("../../dist/browser/", import.meta.url);
const modules = readdirSync(FOLDER).filter((name) => name.endsWith(".js"));

/** A worker of the web in one of Node: what Node added to the globals is taken away, then the module is loaded. */
const WEB_WORKER = `
  const { parentPort, workerData } = require("node:worker_threads");
  const heard = new Map();
  globalThis.self = globalThis;
  globalThis.postMessage = (message, transfer) => parentPort.postMessage(message, transfer);
  globalThis.addEventListener = (type, listener) => {
    if (type !== "message") return;
    heard.set(listener, (data) => listener({ data, origin: "" }));
    parentPort.on("message", heard.get(listener));
  };
  globalThis.removeEventListener = (type, listener) => parentPort.off("message", heard.get(listener));
  const load = (url) => import(url);
  for (const name of ["process", "Buffer", "global", "setImmediate", "clearImmediate", "require", "module", "exports"])
    delete globalThis[name];
  if (typeof process !== "undefined" || typeof Buffer !== "undefined") throw new Error("Node is still there");
  load(workerData);
`;

describe("the modules for browsers", () => {
  it("are the three that package.json and docs/browser.md name", () => {
    expect(modules.sort()).toEqual(["remote.js", "worker.js", "xenoscope.js"]);
    const { exports } = JSON.parse(readFileSync(new URL("../../package.json", FOLDER), "utf8"));
    const named = Object.values(exports as Record<string, { browser?: string }>).flatMap(
      ({ browser }) => browser ?? [],
    );
    expect(named.sort()).toEqual(modules.map((name) => `./dist/browser/${name}`));
  });

  it.each(modules)("%s imports nothing", async (name) => {
    const entryPoints = [fileURLToPath(new URL(name, FOLDER))];
    const { metafile } = await build({
      entryPoints,
      bundle: true,
      external: ["*"],
      write: false,
      metafile: true,
      format: "esm",
    });
    expect(Object.values(metafile.inputs).flatMap(({ imports }) => imports)).toEqual([]);
  });

  it("run a guest as Node does, without Node's globals", async () => {
    const kernel = new Uint8Array(readFileSync(new URL("../../guests/pvh/pvh.elf", FOLDER)));
    const config: RemoteConfig = {
      domains: [{ name: "own", type: "pvh", kernel, cmdline: "work=hello", memory: 16 << 20, vcpus: 2 }],
    };
    const expected = await session(createRemoteMachine, config, "never", [], 500_000_000);
    const create = (wanted: RemoteConfig): ReturnType<typeof createRemoteMachine> => {
      const worker = new Worker(WEB_WORKER, {
        eval: true,
        execArgv: [],
        workerData: new URL("worker.js", FOLDER).href,
      });
      return createRemoteMachine(wanted, { ...nodeEndpoint(worker), terminate: () => worker.terminate() });
    };
    const seen = await session(create, config, "never", [], 500_000_000);
    expect(written(seen)).toMatch(/hello: \d+ passed, 0 failed/);
    expect(seen).toEqual(expected);
  }, 120_000);
});
