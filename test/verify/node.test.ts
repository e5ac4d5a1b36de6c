import { readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MemoryStore, verifyReplica } from "../../node/index.ts";
import { lineageKey } from "../../src/format/keys.ts";
import { FaultyStore } from "../replicator/faulty-store.ts";
import { createTable, insert, next, useReplicators } from "../replicator/fixture.ts";
import { flipPage, makeHistory, rewrite, snapshots } from "./history.ts";

const use = useReplicators();

async function stored(objects: ReadonlyMap<string, Uint8Array>): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const [key, bytes] of objects) await store.put(key, bytes);
  return store;
}

describe("verifyReplica in Node", () => {
  test("restores the newest state, and leaves nothing behind", async () => {
    const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith("sluice-verify-"));
    const before = folders();
    const replica = await stored(await makeHistory());
    expect(await verifyReplica({ replica })).toMatchObject({ ok: true, restored: true, findings: [] });
    expect(await verifyReplica({ replica }, { quick: true })).toMatchObject({ ok: true, restored: null });
    expect(folders()).toEqual(before);
  });

  test("finds a database that SQLite finds damaged, though every hash is right", async () => {
    const whole = await makeHistory();
    const wrong = await rewrite(whole.get(snapshots[2])!, {
      pages: (pages) => flipPage(pages.set(2, new Uint8Array(pages.get(2)!.length).fill(7)), 3),
    });
    const replica = await stored(
      new Map([
        [lineageKey, whole.get(lineageKey)!],
        [snapshots[2], wrong],
      ]),
    );
    const report = await verifyReplica({ replica });
    expect(report).toMatchObject({ ok: false, restored: false, findings: [{ problem: "restore" }] });
  });

  test("says once what is damaged, and that it does not restore", async () => {
    const whole = await makeHistory();
    const bytes = whole.get(snapshots[2])!;
    whole.set(snapshots[2], bytes.slice(0, -1));
    const report = await verifyReplica({ replica: await stored(whole) });
    expect(report).toMatchObject({ ok: false, restored: false, findings: [{ problem: "damaged" }] });
  });

  test("rejects where the store cannot be read", async () => {
    const store = new FaultyStore(await stored(await makeHistory()));
    store.fault = (_, key) => (key.startsWith("wal/") ? "before" : "pass");
    const signal = AbortSignal.timeout(500);
    await expect(verifyReplica({ replica: store }, { signal })).rejects.toThrow();
  });
});

describe("replicator.verify", () => {
  async function running() {
    const folder = use.folder();
    const store = new MemoryStore();
    const path = join(folder, "data.db");
    const replicator = await use.create(path, store);
    const began = next(replicator, "snapshot");
    await replicator.start();
    await began;
    const db = replicator.openDatabase();
    createTable(db);
    for (let i = 0; i < 20; i++) insert(db, `row ${i} `.repeat(2000));
    return { path, store, replicator, db };
  }

  test("compares at one position, while commits go on", async () => {
    const { replicator, db } = await running();
    let going = true;
    const writing = (async () => {
      for (let i = 0; going; i++) {
        insert(db, `meanwhile ${i}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let i = 0; i < 3; i++) {
      const { outcome, position } = await replicator.verify();
      expect(outcome).toBe("equal");
      expect(position.txid).toBeLessThanOrEqual(replicator.status().captured);
    }
    // Beside a snapshot, which pins a position too.
    const [both] = await Promise.all([replicator.verify(), replicator.snapshot()]);
    expect(both.outcome).toBe("equal");
    going = false;
    await writing;
    expect(replicator.status().state).toBe("running");
    db.close();
  });

  test("fetches no page", async () => {
    const { replicator, store, db } = await running();
    for (let i = 0; i < 300; i++) insert(db, `row ${Math.sin(i)} `.repeat(1000));
    await replicator.snapshot();
    let bytes = 0;
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      bytes += options?.range?.length ?? 0;
      return get(key, options);
    };
    expect((await replicator.verify()).outcome).toBe("equal");
    expect(bytes).toBeLessThan(300_000);
    db.close();
  });

  test("says which pages differ, and does nothing about it", async () => {
    const { replicator, store, db } = await running();
    await replicator.snapshot();
    const keys: string[] = [];
    for await (const { key } of store.list("snapshots/")) keys.push(key);
    const key = keys.at(-1)!;
    const { collect } = await import("../../src/store/collect.ts");
    const bytes = await collect((await store.get(key)).body, 1 << 30);
    await store.put(key, await rewrite(bytes, { pages: (pages) => flipPage(pages, 3) }));
    expect(await replicator.verify()).toMatchObject({ outcome: "different", pages: [3], count: 1 });
    expect(replicator.status().state).toBe("running");
    await store.delete([key]);
    await store.put(key, bytes.slice(0, -1));
    expect(await replicator.verify()).toMatchObject({ outcome: "unreadable", error: { part: "trailer" } });
    db.close();
  });

  test("is for a replicator that runs", async () => {
    const { replicator, db, path } = await running();
    db.close();
    await replicator.stop();
    await expect(replicator.verify()).rejects.toMatchObject({ code: "SLUICE_STATE" });
    expect(readFileSync(path).length).toBeGreaterThan(0);
    rmSync(path);
  });
});
