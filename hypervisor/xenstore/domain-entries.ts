/**
 * What libxl, xen-init-dom0 and xenconsoled of Xen 4.17 write into the store when a machine starts and when a domain is made,
 * in their order and with their permissions, so that `xenstore-ls -fp` of both looks the same.
 */
import type { Client } from "./client.ts";

export interface DomainEntries {
  readonly domid: number;
  readonly name: string;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly type: "pvh" | "pv" | "hvm";
  /** KiB. */
  readonly memory: number;
  /** KiB. */
  readonly maxMemory: number;
  readonly maxVcpus: number;
  /** Online at start. */
  readonly vcpus: number;
  /** Seconds since 1970. */
  readonly startTime: number;
  readonly store: { readonly port: number; readonly gfn: number };
  readonly console: { readonly port: number; readonly gfn: number };
}

const CONTROL = "/local/domain/0";
/** Longest console log that xenconsoled keeps for a domain, bytes. */
const CONSOLE_LIMIT = 1048576;

export function uuidText(uuid: Uint8Array): string {
  const hex = [...uuid].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20, 32].map((end, i) => hex.slice([0, 8, 12, 16, 20][i], end)).join("-");
}

type Entry = readonly [path: string, value: string | number];

function put(client: Client, base: string, permissions: readonly string[], entries: readonly Entry[]): void {
  for (const [path, value] of entries) {
    const full = path === "" ? base : `${base}/${path}`;
    client.write(full, value);
    client.setPerms(full, permissions);
  }
}

/** The control domain and its pool, before any other domain. */
export function writeControlDomain(client: Client): void {
  put(
    client,
    CONTROL,
    ["n0"],
    [
      ["", ""],
      ["control", ""],
      ["control/feature-poweroff", 1],
      ["control/feature-reboot", 1],
      ["control/feature-suspend", 1],
      ["domid", 0],
      ["name", "Domain-0"],
    ],
  );
  put(
    client,
    "/local/pool/0",
    ["n0"],
    [
      ["", ""],
      ["name", "Pool-0"],
    ],
  );
}

/** A domain that has been built, before its ring is introduced. */
export function writeDomain(client: Client, d: DomainEntries): void {
  const home = `/local/domain/${d.domid}`;
  const backend = `${CONTROL}/backend/console/${d.domid}/0`;
  const vm = `/vm/${uuidText(d.uuid)}`;
  const libxl = `/libxl/${d.domid}`;
  const readable = ["n0", `r${d.domid}`];
  const own = [`n${d.domid}`];
  put(client, home, readable, [
    ["", ""],
    ["vm", vm],
    ["name", d.name],
    ["cpu", ""],
  ]);
  for (let i = 0; i < d.maxVcpus; i++) {
    put(client, `${home}/cpu/${i}`, readable, [
      ["", ""],
      ["availability", i < d.vcpus ? "online" : "offline"],
    ]);
  }
  put(client, home, readable, [
    ["memory", ""],
    ["memory/static-max", d.maxMemory],
    ["memory/target", d.memory],
    ["memory/videoram", 0],
    ["device", ""],
    ["device/suspend", ""],
  ]);
  put(client, home, own, [["device/suspend/event-channel", ""]]);
  put(client, home, readable, [["control", ""]]);
  put(client, home, own, [
    ["control/shutdown", ""],
    ["control/feature-poweroff", ""],
    ["control/feature-reboot", ""],
    ["control/feature-suspend", ""],
    ["control/sysrq", ""],
  ]);
  put(client, home, readable, [
    ["control/platform-feature-multiprocessor-suspend", 1],
    ["control/platform-feature-xs_reset_watches", 1],
  ]);
  put(client, home, own, [
    ["data", ""],
    ["drivers", ""],
    ["feature", ""],
    ["attr", ""],
    ["error", ""],
  ]);
  put(client, home, readable, [
    ["domid", d.domid],
    ["store", ""],
    ["store/port", d.store.port],
    ["store/ring-ref", d.store.gfn],
    ["console", ""],
    ["console/backend", backend],
  ]);
  put(client, home, [`n${d.domid}`, "r0"], [["console/backend-id", 0]]);
  put(client, home, readable, [
    ["console/limit", CONSOLE_LIMIT],
    ["console/type", "xenconsoled"],
    ["console/output", "pty"],
    ["console/tty", ""],
    ["console/port", d.console.port],
    ["console/ring-ref", d.console.gfn],
  ]);
  const device: readonly Entry[] = [
    ["frontend-id", d.domid],
    ["online", 1],
    ["state", 1],
    ["protocol", "vt100"],
  ];
  put(client, backend, readable, [["", ""], ["frontend", `${home}/console`], ...device]);
  put(client, vm, readable, [
    ["", ""],
    ["name", d.name],
    ["uuid", uuidText(d.uuid)],
    ["start_time", d.startTime.toFixed(2)],
  ]);
  put(
    client,
    libxl,
    ["n0"],
    [
      ["", ""],
      ["device", ""],
      ["device/console", ""],
      ["device/console/0", ""],
      ["device/console/0/frontend", `${home}/console`],
      ["device/console/0/backend", backend],
    ],
  );
  put(client, `${libxl}/device/console/0`, ["n0"], device);
  put(
    client,
    libxl,
    ["n0"],
    [
      ["type", d.type],
      ["dm-version", "qemu_xen"],
    ],
  );
}

/** A domain that is gone. */
export function removeDomain(client: Client, domid: number, uuid: Uint8Array): void {
  const gone = [
    `${CONTROL}/backend/console/${domid}`,
    `/local/domain/${domid}`,
    `/vm/${uuidText(uuid)}`,
    `/libxl/${domid}`,
  ];
  for (const path of gone) if (client.getPerms(path) !== null) client.rm(path);
}
