import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { inconsistencies } from "../../../hypervisor/xenstore/control.ts";
import { baseName, parentOf } from "../../../hypervisor/xenstore/path.ts";
import { Xenstore } from "../../../hypervisor/xenstore/xenstore.ts";

describe("transactions", () => {
  it("hide their changes until commit, and fire watches then", () => {
    const dom0 = new Xenstore().client();
    const seen: string[] = [];
    dom0.watch("/a", "t", (p) => seen.push(p));
    seen.length = 0;
    const t = dom0.transaction();
    t.write("/a/b", "1");
    t.write("/a/c", "2");
    t.rm("/a/b");
    expect([dom0.read("/a/c"), t.read("/a/c"), t.ls("/a"), seen]).toEqual([null, "2", ["c"], []]);
    expect(t.commit()).toBe(true);
    expect([dom0.ls("/a"), seen]).toEqual([["c"], ["/a/c"]]);
  });

  it("conflict if a node they read was changed, made or removed meanwhile", () => {
    const dom0 = new Xenstore().client();
    for (const [act, meanwhile] of [
      ["/k", (): void => dom0.write("/k", "2")],
      ["/new", (): void => dom0.write("/new", "")],
      ["/gone", (): void => dom0.rm("/gone")],
    ] as const) {
      dom0.write("/k", "1");
      dom0.write("/gone", "1");
      const t = dom0.transaction();
      t.read(act);
      t.write("/out", act);
      meanwhile();
      expect(t.commit(), act).toBe(false);
      expect(dom0.read("/out")).toBeNull();
    }
  });

  it("merge if they touch different nodes", () => {
    const dom0 = new Xenstore().client();
    dom0.write("/x/a", "");
    dom0.write("/y/a", "");
    const [t, u] = [dom0.transaction(), dom0.transaction()];
    t.write("/x/n", "1");
    u.write("/y/n", "2");
    dom0.write("/z", "3");
    expect([t.commit(), u.commit()]).toEqual([true, true]);
    expect([dom0.read("/x/n"), dom0.read("/y/n")]).toEqual(["1", "2"]);
  });

  it("that both write one node conflict, even without reading it", () => {
    const dom0 = new Xenstore().client();
    dom0.write("/k", "0");
    const [t, u] = [dom0.transaction(), dom0.transaction()];
    t.write("/k", "t");
    u.write("/k", "u");
    expect([u.commit(), t.commit()]).toEqual([true, false]);
    expect(dom0.read("/k")).toBe("u");
  });

  it("report a quota at commit and change nothing then", () => {
    const store = new Xenstore({ quotas: { nodes: 3 } });
    store.client().mkdir("/d");
    store.client().setPerms("/d", ["n1"]);
    const one = store.client({ domid: 1 });
    const t = one.transaction();
    for (const name of ["a", "b", "c"]) t.write(`/d/${name}`, "");
    expect(() => t.commit()).toThrow("ENOSPC");
    expect(one.ls("/d")).toEqual([]);
    expect(inconsistencies(store)).toEqual([]);
  });

  it("are tried again by transact()", () => {
    const dom0 = new Xenstore().client();
    dom0.write("/n", "1");
    let tries = 0;
    dom0.transact((t) => {
      const n = Number(t.read("/n"));
      if (tries++ === 0) dom0.write("/n", "10");
      t.write("/n", n + 1);
    });
    expect([dom0.read("/n"), tries]).toEqual(["11", 2]);
  });

  // The model is a plain map. Each transaction is the list of what it did; a commit that succeeds must be
  // what those operations give when run at that moment, with every read answered as it was answered then.
  // That is serialisability, and with the converse below it says when EAGAIN is right.
  it("that commit are as if run at once at the time of commit (model)", () => {
    const paths = ["/a", "/a/x", "/a/y", "/b", "/b/x/z"];
    const step = fc.record({
      who: fc.integer({ min: 0, max: 3 }),
      path: fc.constantFrom(...paths),
      act: fc.constantFrom("read", "write", "rm", "ls", "commit", "abort"),
      value: fc.integer({ min: 0, max: 9 }),
    });
    type Model = Map<string, string>;
    const run = (model: Model, act: string, path: string, value: number): string | null => {
      if (act === "read") return model.get(path) ?? null;
      if (act === "ls") {
        if (!model.has(path)) return null;
        return [...model.keys()]
          .filter((p) => parentOf(p) === path)
          .map(baseName)
          .sort()
          .join();
      }
      if (act === "write") {
        for (let up = parentOf(path); up !== "/"; up = parentOf(up)) if (!model.has(up)) model.set(up, "");
        model.set(path, `${value}`);
      } else if (act === "rm") {
        const parent = parentOf(path);
        if (parent !== "/" && !model.has(parent)) return "ENOENT";
        for (const p of [...model.keys()]) if (p === path || p.startsWith(`${path}/`)) model.delete(p);
      }
      return "ok";
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const store = new Xenstore();
        const dom0 = store.client();
        let model: Model = new Map();
        const open: ({
          t: ReturnType<typeof dom0.transaction>;
          log: [string, string, number, string | null][];
          alone: boolean;
        } | null)[] = [null, null, null, null];
        for (const { who, path, act, value } of steps) {
          if (who === 0) {
            if (act === "commit" || act === "abort") continue;
            const got = perform(dom0.view, act, path, value);
            expect(got).toBe(run(model, act, path, value));
            if ((act === "write" || act === "rm") && got === "ok")
              for (const o of open) if (o !== null) o.alone = false;
            continue;
          }
          const mine = (open[who] ??= { t: dom0.transaction(), log: [], alone: true });
          if (act === "abort") {
            mine.t.abort();
            open[who] = null;
          } else if (act === "commit") {
            const done = mine.t.commit();
            open[who] = null;
            if (mine.alone) expect(done).toBe(true);
            if (!done) continue;
            const next = new Map(model);
            for (const [a, p, v, got] of mine.log) expect(run(next, a, p, v)).toBe(got);
            if (mine.log.some(([a]) => a === "write" || a === "rm"))
              for (const o of open) if (o !== null) o.alone = false;
            model = next;
          } else {
            mine.log.push([act, path, value, perform(mine.t, act, path, value)]);
          }
        }
        const tree: Model = new Map([...store.database.nodes].map(([p, n]) => [p, String.fromCharCode(...n.value)]));
        for (const builtin of ["/", "/tool", "/tool/xenstored"]) tree.delete(builtin);
        expect([...tree].sort()).toEqual([...model].sort());
        expect(inconsistencies(store)).toEqual([]);
      }),
      { numRuns: 300 },
    );
    function perform(
      view: Pick<ReturnType<Xenstore["client"]>, "read" | "write" | "rm" | "ls">,
      act: string,
      path: string,
      value: number,
    ): string | null {
      if (act === "read") return view.read(path);
      if (act === "ls") return view.ls(path)?.sort().join() ?? null;
      try {
        if (act === "write") view.write(path, value);
        else view.rm(path);
      } catch (error) {
        return (error as { code: string }).code;
      }
      return "ok";
    }
  });
});
