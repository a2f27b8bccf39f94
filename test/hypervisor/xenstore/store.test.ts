import { describe, expect, it } from "vitest";
import { inconsistencies } from "../../../hypervisor/xenstore/control.ts";
import { printable } from "../../../hypervisor/xenstore/dump.ts";
import { validPath } from "../../../hypervisor/xenstore/path.ts";
import { formatPermission, parsePermission } from "../../../hypervisor/xenstore/permissions.ts";
import * as xs from "../../../hypervisor/xenstore/wire.ts";
import { Xenstore } from "../../../hypervisor/xenstore/xenstore.ts";
import { Guest } from "./guest.ts";

/** A store with domain 1 as libxl prepares it: its home readable, data/ its own. */
function withDomain(options?: ConstructorParameters<typeof Xenstore>[0]): { store: Xenstore; guest: Guest } {
  const store = new Xenstore(options);
  const dom0 = store.client();
  dom0.write("/local/domain/0/name", "Domain-0");
  dom0.mkdir("/local/domain/1");
  dom0.setPerms("/local/domain/1", ["n0", "r1"]);
  dom0.write("/local/domain/1/name", "guest");
  dom0.mkdir("/local/domain/1/data");
  dom0.setPerms("/local/domain/1/data", ["n1"]);
  return { store, guest: Guest.connect(store, 1) };
}

describe("nodes", () => {
  it("starts with the tree of a fresh xenstored and lists children oldest first", () => {
    const store = new Xenstore();
    const dom0 = store.client();
    for (const name of ["zebra", "ant", "m0", "10", "9"]) dom0.write(`/x/${name}`, name);
    expect(dom0.ls("/")).toEqual(["tool", "x"]);
    expect(dom0.ls("/x")).toEqual(["zebra", "ant", "m0", "10", "9"]);
    expect(store.dump().split("\n").slice(0, 3)).toEqual([
      '/tool = ""   (n0)',
      '/tool/xenstored = ""   (n0)',
      '/x = ""   (n0)',
    ]);
  });

  it("keeps every byte of a value and shows it escaped", () => {
    const store = new Xenstore();
    const value = Uint8Array.from({ length: 256 }, (_, i) => i);
    store.client().write("/v", value);
    expect(store.client().readBytes("/v")).toEqual(value);
    expect(printable(value.subarray(0, 0x22))).toBe(
      "\\000\\001\\002\\003\\004\\005\\006\\007\\x08\\t\\n\\x0b\\x0c\\r\\x0e\\x0f" +
        "\\x10\\x11\\x12\\x13\\x14\\x15\\x16\\x17\\x18\\x19\\x1a\\x1b\\x1c\\x1d\\x1e\\x1f !",
    );
    expect(printable(xs.bytesOf("\\\x7f\xff~"))).toBe("\\\\\\x7f\\xff~");
  });

  it("accepts exactly the legal paths", () => {
    for (const good of ["/", "/a", "/A-Z_@/0", `/${"a".repeat(2047)}`, `/local/domain/12345/${"b".repeat(2048)}`]) {
      expect(validPath(good), good.slice(0, 30)).toBe(true);
    }
    const bad = ["", "a", "/a/", "//", "/a//b", "/a b", "/a\n", "/ä", `/${"a".repeat(2048)}`, "/local/domain/1/"];
    for (const path of bad) expect(validPath(path), path.slice(0, 30)).toBe(false);
    expect(validPath(`/local/domain/12345/${"b".repeat(2049)}`)).toBe(false);
    expect(validPath(`/local/domain/123456/${"b".repeat(2048)}`)).toBe(false);
  });

  it("reads and prints permissions as xenstored does", () => {
    for (const text of ["n0", "r1", "w2", "b65535"]) expect(formatPermission(parsePermission(text)!)).toBe(text);
    expect(formatPermission(parsePermission("r0x10")!)).toBe("r16");
    expect(formatPermission(parsePermission("r010")!)).toBe("r8");
    expect(formatPermission(parsePermission("r-1")!)).toBe("r-1");
    for (const bad of ["", "r", "x1", "1", "r1 ", "r1a", "r08", "r0x"]) expect(parsePermission(bad), bad).toBeNull();
  });

  it("removes trees, is content if there is nothing, but wants the parent", () => {
    const { guest } = withDomain();
    guest.ask(xs.XS_WRITE, "data/a/b/c\0x");
    expect(guest.ask(xs.XS_RM, "data/a\0")).toBe("OK\0");
    expect(guest.ask(xs.XS_READ, "data/a/b/c\0")).toBe("ENOENT\0");
    expect(guest.ask(xs.XS_RM, "data/a\0")).toBe("OK\0");
    expect(guest.ask(xs.XS_RM, "data/a/b\0")).toBe("ENOENT\0");
    expect(new Xenstore().client().ls("/nothing")).toBeNull();
    expect(() => new Xenstore().client().rm("/")).toThrow("EINVAL");
  });
});

describe("permissions", () => {
  it("lets an unprivileged creator own what it makes and domain 0 keep the parent's owner", () => {
    const { store, guest } = withDomain();
    guest.ask(xs.XS_WRITE, "data/mine\0x");
    store.client().write("/local/domain/1/data/theirs", "y");
    store.client().write("/local/domain/1/plain", "z");
    expect(store.client().getPerms("/local/domain/1/data/mine")).toEqual(["n1"]);
    expect(store.client().getPerms("/local/domain/1/data/theirs")).toEqual(["n1"]);
    expect(store.client().getPerms("/local/domain/1/plain")).toEqual(["n0", "r1"]);
  });

  it("refuses without telling whether a node exists", () => {
    const { store, guest } = withDomain();
    store.client().write("/secret/here", "x");
    expect(guest.ask(xs.XS_READ, "/secret/here\0")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_READ, "/secret/not\0")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_DIRECTORY, "/\0")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_READ, "/local/domain/1/not\0")).toBe("ENOENT\0");
    expect(guest.ask(xs.XS_WRITE, "name\0x")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_WRITE, "new\0x")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_READ, "/bad//path\0")).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_READ, "data\0\0")).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_READ, "data")).toBe("EINVAL\0");
  });

  it("lets an owner grant access but not give a node away", () => {
    const { store, guest } = withDomain();
    const other = Guest.connect(store, 2);
    guest.ask(xs.XS_WRITE, "data/k\0v");
    expect(other.ask(xs.XS_READ, "/local/domain/1/data/k\0")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_SET_PERMS, "data/k\0n1\0r2\0")).toBe("OK\0");
    expect(guest.ask(xs.XS_GET_PERMS, "data/k\0")).toBe("n1\0r2\0");
    expect(other.ask(xs.XS_READ, "/local/domain/1/data/k\0")).toBe("v");
    expect(other.ask(xs.XS_WRITE, "/local/domain/1/data/k\0w")).toBe("EACCES\0");
    expect(other.ask(xs.XS_SET_PERMS, "/local/domain/1/data/k\0b2\0")).toBe("EACCES\0");
    expect(guest.ask(xs.XS_SET_PERMS, "data/k\0n2\0")).toBe("EPERM\0");
    expect(guest.ask(xs.XS_SET_PERMS, "data/k\0")).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_SET_PERMS, "data/k\0q1\0")).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_SET_PERMS, `data/k\0${"n1\0".repeat(6)}`)).toBe("ENOSPC\0");
  });

  it("gives a device model the rights of its target", () => {
    const { store, guest } = withDomain();
    guest.ask(xs.XS_WRITE, "data/k\0v");
    const stub = Guest.connect(store, 5);
    expect(stub.ask(xs.XS_READ, "/local/domain/1/data/k\0")).toBe("EACCES\0");
    expect(stub.ask(xs.XS_SET_TARGET, "5\x001\0")).toBe("EACCES\0");
    const dom0 = Guest.connect(store, 0);
    expect(dom0.ask(xs.XS_SET_TARGET, "5\x009\0")).toBe("ENOENT\0");
    expect(dom0.ask(xs.XS_SET_TARGET, "5\x001\0")).toBe("OK\0");
    expect(stub.ask(xs.XS_READ, "/local/domain/1/data/k\0")).toBe("v");
  });

  it("does not let a new domain inherit what an old one of the same number was granted", () => {
    const { store } = withDomain();
    const dom0 = store.client();
    dom0.write("/shared", "x");
    dom0.setPerms("/shared", ["n0", "r2"]);
    const first = Guest.connect(store, 2);
    expect(first.ask(xs.XS_READ, "/shared\0")).toBe("x");
    store.domainDestroyed(2);
    const second = Guest.connect(store, 2);
    expect(second.ask(xs.XS_READ, "/shared\0")).toBe("EACCES\0");
    expect(dom0.getPerms("/shared")).toEqual(["n0", "r2"]);
    dom0.setPerms("/shared", ["n0", "r2"]);
    expect(second.ask(xs.XS_READ, "/shared\0")).toBe("x");
  });

  it("removes what a destroyed domain owned, counts included", () => {
    const { store, guest } = withDomain();
    guest.ask(xs.XS_WRITE, "data/a/b\0x");
    store.client().write("/local/domain/1/data/a/of0", "y");
    store.domainDestroyed(1);
    expect(store.client().ls("/local/domain/1")).toEqual(["name"]);
    expect(inconsistencies(store)).toEqual([]);
    guest.connection.kick();
    expect(guest.receive()).toEqual([]);
  });
});

describe("watches", () => {
  it("fires once at once, after the reply, and then for changes at or below", () => {
    const { store, guest } = withDomain();
    const first = guest.send(xs.XS_WATCH, "data\0tok\0");
    expect(first.map((m) => [m.type, m.requestId, m.text])).toEqual([
      [xs.XS_WATCH, 7, "OK\0"],
      [xs.XS_WATCH_EVENT, 0, "data\0tok\0"],
    ]);
    store.client().write("/local/domain/1/data/a/b", "1");
    store.client().write("/local/domain/1/database", "1");
    expect(guest.receive().map((m) => m.text)).toEqual(["data/a/b\0tok\0"]);
  });

  it("puts the event a request causes before its reply", () => {
    const { guest } = withDomain();
    guest.send(xs.XS_WATCH, "/local/domain/1/data\0t\0");
    const found = guest.send(xs.XS_WRITE, "data/x\0y");
    expect(found.map((m) => m.text)).toEqual(["/local/domain/1/data/x\0t\0", "OK\0"]);
  });

  it("tells of a removed tree: inner nodes exactly, the top to those above", () => {
    const { store } = withDomain();
    const dom0 = store.client();
    const seen: string[] = [];
    dom0.write("/t/a/b", "");
    for (const path of ["/t", "/t/a", "/t/a/b"]) dom0.watch(path, path, (p, t) => seen.push(`${t}:${p}`));
    seen.length = 0;
    dom0.rm("/t/a");
    expect(seen).toEqual(["/t/a/b:/t/a/b", "/t:/t/a", "/t/a:/t/a"]);
  });

  it("does not tell of nodes that the watcher may not know", () => {
    const { store, guest } = withDomain();
    guest.send(xs.XS_WATCH, "/\0all\0");
    store.client().write("/secret", "x");
    store.client().write("/local/domain/1/name", "y");
    expect(guest.receive().map((m) => m.text)).toEqual(["/local/domain/1/name\0all\0"]);
    store.client().setPerms("/local/domain/1/name", ["n0"]);
    store.client().write("/secret2/x", "z");
    expect(guest.receive().map((m) => m.text)).toEqual(["/local/domain/1/name\0all\0"]);
  });

  it("does not queue the same event twice", () => {
    const { store, guest } = withDomain();
    guest.send(xs.XS_WATCH, "name\0t\0");
    const fill = "x".repeat(900);
    guest.put(xs.encodeMessage(xs.XS_WRITE, 1, 0, xs.bytesOf(`data/fill\0${fill}`)));
    guest.connection.kick();
    guest.put(xs.encodeMessage(xs.XS_READ, 1, 0, xs.bytesOf("data/fill\0")));
    guest.connection.kick();
    guest.put(xs.encodeMessage(xs.XS_READ, 1, 0, xs.bytesOf("data/fill\0")));
    guest.connection.kick();
    for (let i = 0; i < 5; i++) store.client().write("/local/domain/1/name", `${i}`);
    expect(guest.receive().filter((m) => m.type === xs.XS_WATCH_EVENT)).toHaveLength(1);
  });

  it("refuses doubles, knows what to unwatch, and forgets all on RESET_WATCHES", () => {
    const { store, guest } = withDomain();
    guest.send(xs.XS_WATCH, "name\0t\0");
    expect(guest.ask(xs.XS_WATCH, "/local/domain/1/name\0t\0")).toBe("EEXIST\0");
    expect(guest.ask(xs.XS_WATCH, "name\0")).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_UNWATCH, "name\0u\0")).toBe("ENOENT\0");
    expect(guest.ask(xs.XS_UNWATCH, "name\0t\0")).toBe("OK\0");
    guest.send(xs.XS_WATCH, "name\0t\0");
    expect(guest.ask(xs.XS_RESET_WATCHES, "\0")).toBe("OK\0");
    store.client().write("/local/domain/1/name", "n");
    expect(guest.receive()).toEqual([]);
  });

  it("announces domains to domain 0 only, unless permissions say more", () => {
    const { store, guest } = withDomain();
    const seen: string[] = [];
    const dom0 = store.client();
    dom0.watch("@introduceDomain", "i", (p) => seen.push(p));
    dom0.watch("@releaseDomain", "r", (p) => seen.push(p));
    guest.send(xs.XS_WATCH, "@releaseDomain\0g\0");
    seen.length = 0;
    Guest.connect(store, 2);
    store.domainShutdown(2);
    store.domainShutdown(2);
    expect(seen).toEqual(["@introduceDomain", "@releaseDomain"]);
    expect(guest.receive()).toEqual([]);
    expect(guest.ask(xs.XS_SET_PERMS, "@releaseDomain\0r1\0")).toBe("EACCES\0");
    dom0.setPerms("@releaseDomain", ["n0", "r1"]);
    store.domainDestroyed(2);
    expect(guest.receive().map((m) => m.text)).toEqual(["@releaseDomain\0g\0"]);
  });

  it("lets a listener write to the store without losing the order of events", () => {
    const dom0 = new Xenstore().client();
    const seen: string[] = [];
    dom0.watch("/a", "a", (path) => {
      seen.push(path);
      if (path === "/a/1") dom0.write("/a/2", "");
    });
    dom0.watch("/a/2", "b", (path) => seen.push(`b${path}`));
    seen.length = 0;
    dom0.write("/a/1", "");
    expect(seen).toEqual(["/a/1", "/a/2", "b/a/2"]);
  });
});

describe("quotas of an unprivileged domain", () => {
  it("limits nodes, and undoes a creation that stops half-way", () => {
    const { store, guest } = withDomain({ quotas: { nodes: 4 } });
    // data and three more make four.
    expect(guest.ask(xs.XS_WRITE, "data/a/b\0x")).toBe("OK\0");
    const before = store.dump();
    expect(guest.ask(xs.XS_WRITE, "data/c/d\0x")).toBe("ENOSPC\0");
    expect(store.dump()).toBe(before);
    expect(guest.ask(xs.XS_MKDIR, "data/e\0")).toBe("OK\0");
    expect(guest.ask(xs.XS_MKDIR, "data/f\0")).toBe("ENOSPC\0");
    expect(guest.ask(xs.XS_RM, "data/a\0")).toBe("OK\0");
    expect(guest.ask(xs.XS_MKDIR, "data/f\0")).toBe("OK\0");
    expect(inconsistencies(store)).toEqual([]);
  });

  it("limits the size of a node's record to below 2048 bytes: 24 + 8 a permission + value + children", () => {
    const { store, guest } = withDomain();
    const most = 2047 - 24 - 8;
    expect(guest.ask(xs.XS_WRITE, `data/v\0${"x".repeat(most)}`)).toBe("OK\0");
    expect(guest.ask(xs.XS_WRITE, `data/v\0${"x".repeat(most + 1)}`)).toBe("ENOSPC\0");
    expect(guest.ask(xs.XS_READ, "data/v\0")).toHaveLength(most);
    expect(guest.ask(xs.XS_WRITE, `data/${"n".repeat(2043)}\0`)).toBe("ENOSPC\0");
    expect(store.client().ls("/local/domain/1/data")).toEqual(["v"]);
    store.client().write("/local/domain/0/big", "x".repeat(3000));
  });

  it("limits watches to 129 and transactions to 11, as 4.17 counts", () => {
    const { guest } = withDomain();
    for (let i = 0; i < 129; i++) expect(guest.send(xs.XS_WATCH, `data\0${i}\0`)).toHaveLength(2);
    expect(guest.ask(xs.XS_WATCH, "data\0more\0")).toBe("E2BIG\0");
    for (let i = 0; i < 11; i++) expect(guest.ask(xs.XS_TRANSACTION_START, "\0")).toBe(`${i + 1}\0`);
    expect(guest.ask(xs.XS_TRANSACTION_START, "\0")).toBe("ENOSPC\0");
    expect(guest.ask(xs.XS_TRANSACTION_END, "F\0", 3)).toBe("OK\0");
    expect(guest.ask(xs.XS_TRANSACTION_START, "\0")).toBe("12\0");
  });
});

describe("requests", () => {
  it("answers what it does not know with ENOSYS and what is not for guests with EACCES", () => {
    const { guest } = withDomain();
    for (const type of [15, 16, 20, 23, 0xffff, 0xffffffff]) expect(guest.ask(type, "\0"), `${type}`).toBe("ENOSYS\0");
    const forDomain0 = [xs.XS_CONTROL, xs.XS_INTRODUCE, xs.XS_RELEASE, xs.XS_IS_DOMAIN_INTRODUCED, xs.XS_RESUME];
    for (const type of forDomain0) expect(guest.ask(type, "1\0"), `${type}`).toBe("EACCES\0");
    expect(guest.ask(xs.XS_READ, "name\0", 99)).toBe("ENOENT\0");
    expect(guest.ask(xs.XS_GET_DOMAIN_PATH, "17\0")).toBe("/local/domain/17\0");
    expect(guest.ask(xs.XS_GET_DOMAIN_PATH, "17")).toBe("EINVAL\0");
  });

  it("copies request and transaction numbers into the reply", () => {
    const { guest } = withDomain();
    const [started] = guest.send(xs.XS_TRANSACTION_START, "\0");
    const id = Number.parseInt(started!.text, 10);
    expect(guest.send(xs.XS_READ, "name\0", id, 0xdeadbeef)).toEqual([
      { type: xs.XS_READ, requestId: 0xdeadbeef, transactionId: id, text: "guest" },
    ]);
    expect(guest.ask(xs.XS_TRANSACTION_START, "\0", id)).toBe("EBUSY\0");
    expect(guest.ask(xs.XS_TRANSACTION_END, "X\0", id)).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_TRANSACTION_END, "T\0", id)).toBe("OK\0");
    expect(guest.ask(xs.XS_TRANSACTION_END, "T\0", 0)).toBe("ENOENT\0");
  });

  it("lists big directories in parts and refuses them whole", () => {
    const store = new Xenstore();
    const names = Array.from({ length: 300 }, (_, i) => `${"c".repeat(20)}${i}`);
    for (const name of names) store.client().write(`/d/${name}`, "");
    const dom0 = Guest.connect(store, 0);
    expect(dom0.ask(xs.XS_DIRECTORY, "/d\0")).toBe("E2BIG\0");
    let list = "";
    let generation = "";
    let parts = 0;
    do {
      const text = dom0.ask(xs.XS_DIRECTORY_PART, `/d\0${list.length}\0`);
      const end = text.indexOf("\0");
      expect(text.length).toBeLessThanOrEqual(xs.PAYLOAD_MAX);
      if (parts++ > 0) expect(text.slice(0, end)).toBe(generation);
      generation = text.slice(0, end);
      list += text.slice(end + 1);
    } while (!list.endsWith("\0\0"));
    expect(list.slice(0, -2).split("\0")).toEqual(names);
    expect(parts).toBe(2);
    expect(dom0.ask(xs.XS_DIRECTORY_PART, "/d\x0099999\0")).toBe(`${generation}\0\0`);
  });

  it("serves domain 0: introduce, release, is introduced, control", () => {
    const asked: number[][] = [];
    const rings = new Map<number, Guest>();
    const lines: string[] = [];
    const store = new Xenstore({
      log: (line) => lines.push(line),
      introduce: (domid, gfn, port) => {
        asked.push([domid, gfn, port]);
        const ring = new Guest();
        rings.set(domid, ring);
        return domid === 4 ? null : ring;
      },
    });
    const dom0 = Guest.connect(store, 0);
    expect(dom0.ask(xs.XS_IS_DOMAIN_INTRODUCED, "3\0")).toBe("F\0");
    expect(dom0.ask(xs.XS_INTRODUCE, "3\x001044476\x001\0")).toBe("OK\0");
    expect(dom0.ask(xs.XS_INTRODUCE, "4\x001\x001\0")).toBe("EINVAL\0");
    expect(dom0.ask(xs.XS_INTRODUCE, "5\x001\x000\0")).toBe("EINVAL\0");
    expect(asked).toEqual([
      [3, 1044476, 1],
      [4, 1, 1],
    ]);
    expect(dom0.ask(xs.XS_IS_DOMAIN_INTRODUCED, "3\0")).toBe("T\0");
    expect(dom0.ask(xs.XS_RELEASE, "3\0")).toBe("OK\0");
    expect(dom0.ask(xs.XS_RELEASE, "3\0")).toBe("ENOENT\0");
    expect(dom0.ask(xs.XS_RELEASE, "0\0")).toBe("EINVAL\0");
    expect(dom0.ask(xs.XS_CONTROL, "print\0hello\0")).toBe("OK\0");
    expect(dom0.ask(xs.XS_CONTROL, "check\0")).toBe("OK\0");
    expect(dom0.ask(xs.XS_CONTROL, "quota\0set\0nodes\x005\0")).toBe("OK\0");
    expect(dom0.ask(xs.XS_CONTROL, "quota\0")).toContain("nodes            :        5 ");
    expect(dom0.ask(xs.XS_CONTROL, "quota\x000\0")).toContain("Domain 0:");
    expect(dom0.ask(xs.XS_CONTROL, "live-update\0")).toBe("EINVAL\0");
    expect(lines).toEqual(["hello"]);
  });
});

describe("the whole store as a value", () => {
  it("continues identically after a restore in the middle of everything", () => {
    const scenario = (cut: boolean): [string, unknown[]] => {
      let { store, guest } = withDomain();
      const seen: string[] = [];
      store.client({ name: "tools", onWatch: (p) => seen.push(p) }).watch("/local", "t");
      guest.send(xs.XS_WATCH, "data\0w\0");
      guest.ask(xs.XS_TRANSACTION_START, "\0");
      guest.ask(xs.XS_WRITE, "data/tx\0\xff\0\x01", 1);
      const half = xs.encodeMessage(xs.XS_WRITE, 9, 0, xs.bytesOf("data/half\0value"));
      guest.put(half.subarray(0, 21));
      guest.connection.kick();
      for (let i = 0; i < 30; i++) store.client().write(`/local/domain/1/data/long-name-to-fill-the-ring-${i}`, "v");
      if (cut) {
        const state = JSON.parse(JSON.stringify(store.save())) as ReturnType<Xenstore["save"]>;
        const restored = new Xenstore();
        restored.restore(state, () => guest);
        restored.client({ name: "tools", onWatch: (p) => seen.push(p) });
        guest.connection = restored.ringOf(1)!;
        store = restored;
      }
      guest.put(half.subarray(21));
      const found: unknown[] = guest.receive();
      found.push(guest.send(xs.XS_TRANSACTION_END, "T\0", 1));
      found.push(guest.send(xs.XS_READ, "data/half\0"), seen, guest.connection.account, inconsistencies(store));
      return [store.dump(), found];
    };
    expect(scenario(true)).toEqual(scenario(false));
  });

  it("prints what xenstore-ls prints on a real system", () => {
    const { store } = withDomain();
    store.client().write("/local/domain/1/console/tty", "/dev/pts/0");
    expect(store.dump()).toContain('/local/domain/1/console/tty = "/dev/pts/0"   (n0,r1)\n');
  });
});
