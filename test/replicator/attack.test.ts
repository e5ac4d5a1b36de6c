import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import {
  BrokenReplicaError,
  DirectoryStore,
  MemoryStore,
  type ObjectStore,
  StoreError,
} from "../../node/index.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, next, rows, useReplicators } from "./fixture.ts";

const use = useReplicators();

/** A replicator with an empty table `t` that has been snapshotted, and its store. */
async function replicated(config = {}) {
  const folder = use.folder();
  const path = join(folder, "a.db");
  const store = new FaultyStore(new MemoryStore());
  const replicator = await use.create(path, store, config);
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  return { folder, path, store, replicator, db };
}

async function restored(folder: string, store: ObjectStore): Promise<unknown[]> {
  const copy = await use.create(join(folder, `copy-${Math.random()}.db`), store);
  await copy.start();
  const db = copy.openDatabase();
  const found = rows(db);
  db.close();
  await copy.stop();
  return found;
}

/** Another writer goes on where the replica ends. */
async function takeOver(folder: string, store: ObjectStore): Promise<void> {
  const other = await use.create(join(folder, "other.db"), store);
  await other.start();
  const db = other.openDatabase();
  insert(db, "of the other");
  await other.waitUntilUploaded();
  db.close();
  await other.stop();
}

test("a replica that is destroyed while it is restored leaves no half restored file", async () => {
  const { folder, store: live, db } = await replicated();
  const path = join(folder, "copy.db");
  const replica = new DirectoryStore(`file://${folder}/replica`);
  for await (const { key } of live.list("")) {
    const { body } = await live.get(key);
    await replica.putStream(key, body);
  }
  const store = new FaultyStore(replica);
  store.fault = () => {
    if (existsSync(`${path}.sluice-restore`))
      for (const name of ["snapshots", "wal"])
        rmSync(join(folder, "replica", name), { recursive: true, force: true });
    return "pass";
  };
  const copy = await use.create(path, store);
  await expect(copy.restore()).rejects.toBeInstanceOf(BrokenReplicaError);
  expect(existsSync(join(folder, "replica", "snapshots"))).toBe(false);
  expect(existsSync(`${path}.sluice-restore`)).toBe(false);
  await copy.stop();
  db.close();
});

test("many who wait with one signal are no memory leak to Node", async () => {
  const { store, replicator, db } = await replicated();
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  store.offline = true;
  insert(db, "one");
  const { signal } = new AbortController();
  const waiting = Array.from({ length: 12 }, () => replicator.waitUntilUploaded({ signal }));
  store.offline = false;
  replicator.wake();
  await Promise.all(waiting);
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
  db.close();
});

describe("damage that once was possible", () => {
  test("a clock set back by days keeps commits from being cached until it catches up", async () => {
    const { replicator, db } = await replicated({ syncIntervalMs: 50 });
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      insert(db, "one");
      vi.setSystemTime(Date.now() - 2 * 86_400_000);
      await replicator.waitUntilUploaded({ signal: AbortSignal.timeout(5000) });
    } finally {
      vi.useRealTimers();
    }
    db.close();
  });

  test("an outage over the cache's size writes the whole database again and again", async () => {
    const { folder, store, replicator, db } = await replicated({ maxCacheSize: 1 << 16 });
    let overflows = 0;
    replicator.addEventListener("cache-overflow", () => {
      overflows += 1;
    });
    store.offline = true;
    const overflow = next(replicator, "cache-overflow");
    for (let i = 0; i < 4; i++) {
      const cached = Promise.race([next(replicator, "wal"), overflow]);
      db.exec("INSERT INTO t(b) VALUES (hex(randomblob(30000)))");
      await cached;
    }
    await overflow;
    await sleep(300);
    expect(overflows).toBe(1);
    expect(replicator.status()).toMatchObject({ state: "resync", pendingSegments: 1 });
    store.offline = false;
    await replicator.flush();
    expect(replicator.status()).toMatchObject({ state: "running", pendingSegments: 0 });
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("a store that lacks the last segments gets the next one behind a gap, and restores no more", async () => {
    const folder = use.folder();
    const [first, second] = [new MemoryStore(), new MemoryStore()];
    for (const [store, text] of [
      [first, "1"],
      [second, "2"],
      [first, "3"],
    ] as const) {
      const replicator = await use.create(join(folder, "a.db"), store);
      await replicator.start();
      const db = replicator.openDatabase();
      createTable(db);
      insert(db, text);
      await replicator.waitUntilUploaded();
      db.close();
      await replicator.stop();
    }
    expect(await restored(folder, first)).toEqual(["1", "2", "3"]);
  });

  test("an ordinary restart is taken for such a gap, and snapshots for nothing", async () => {
    const { path, store, replicator, db } = await replicated();
    insert(db, "one");
    db.close();
    await replicator.stop();
    const { txid } = replicator.status().lastSnapshot!;
    const again = await use.create(path, store);
    await again.start();
    await again.flush();
    await again.stop();
    expect(again.status().lastSnapshot).toMatchObject({ txid });
  });

  test("a restore that nobody awaits replaces the database after stop() let go of it", async () => {
    const { folder, store, replicator, db } = await replicated();
    db.close();
    await replicator.stop();
    const copy = await use.create(join(folder, "b.db"), store);
    const restoring = copy.restore();
    await expect(copy.restore()).rejects.toMatchObject({ code: "SLUICE_STATE" });
    await expect(copy.start()).rejects.toMatchObject({ code: "SLUICE_STATE" });
    await expect(copy.stop()).rejects.toMatchObject({ code: "SLUICE_STATE" });
    expect(await restoring).toMatchObject({ restored: true });
    await copy.stop();
  });

  test("the second of two signal handlers that call stop() ends the process early", async () => {
    const { replicator, db } = await replicated();
    insert(db, "one");
    db.close();
    expect(await Promise.all([replicator.stop(), replicator.stop()])).toEqual([
      { uploaded: true },
      { uploaded: true },
    ]);
  });

  test("stop() waits as long as a store asks to be left alone", async () => {
    const { store, replicator, db } = await replicated({ stopTimeoutMs: 50 });
    insert(db, "one");
    await replicator.flush();
    db.close();
    await replicator.stop();
    const copy = await use.create(join(use.folder(), "b.db"), {
      url: store.url,
      put: store.put.bind(store),
      putStream: store.putStream.bind(store),
      list: store.list.bind(store),
      delete: store.delete.bind(store),
      capabilities: store.capabilities.bind(store),
      get: () => Promise.reject(new StoreError("throttled", "later", { retryAfterMs: 60_000 })),
    });
    const began = performance.now();
    await expect(copy.restore({ signal: AbortSignal.timeout(50) })).rejects.toThrow();
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test("snapshot() during a snapshot resolves with the older one", async () => {
    const { store, replicator, db } = await replicated();
    insert(db, "one");
    let second: Promise<void> | null = null;
    store.fault = (method) => {
      if (method === "putStream" && second === null) {
        insert(db, "two");
        second = replicator.snapshot();
      }
      return "pass";
    };
    await replicator.snapshot();
    await second;
    expect(replicator.status().lastSnapshot!.txid).toBe(replicator.status().captured);
    db.close();
  });

  test("snapshot() of a fenced replicator resolves, and there is none", async () => {
    const { folder, store, replicator, db } = await replicated();
    await takeOver(folder, store);
    insert(db, "mine");
    await expect(replicator.flush()).rejects.toMatchObject({ code: "SLUICE_FENCED" });
    await expect(replicator.snapshot()).rejects.toMatchObject({ code: "SLUICE_FENCED" });
    db.close();
  });

  test("detach() of a fenced replicator resolves, and leaves a database in WAL mode", async () => {
    const { folder, path, store, replicator, db } = await replicated();
    await takeOver(folder, store);
    insert(db, "mine");
    await expect(replicator.flush()).rejects.toMatchObject({ code: "SLUICE_FENCED" });
    for (let i = 0; i < 50; i++) insert(db, "x".repeat(5000));
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    insert(db, "last");
    db.close();
    await replicator.detach();
    expect(readFileSync(path)[18]).toBe(1);
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  test("waitUntilUploaded() resolves when the backlog is up, before the resync that follows it", async () => {
    const { folder, path, store, replicator, db } = await replicated({ stopTimeoutMs: 0 });
    store.offline = true;
    const cached = next(replicator, "wal");
    insert(db, "one");
    await cached;
    db.close();
    await replicator.stop();
    execFileSync("sqlite3", [path, "INSERT INTO t(b) VALUES ('outside')"]);
    const again = await use.create(path, store);
    await again.start();
    store.offline = false;
    await again.waitUntilUploaded();
    expect(await restored(folder, store)).toEqual(["one", "outside"]);
  });

  test("flush() of a replica that needs a resync resolves, and nothing is uploaded", async () => {
    const { folder, path, store, replicator, db } = await replicated();
    db.close();
    await replicator.stop();
    execFileSync("sqlite3", [path, "INSERT INTO t(b) VALUES ('outside')"]);
    const again = await use.create(path, store);
    await again.start();
    await again.flush();
    expect(await restored(folder, store)).toEqual(["outside"]);
  });

  test("onUnknownLocal keeps the application from its database while it is offline", async () => {
    const { path, store, replicator, db } = await replicated();
    db.close();
    await replicator.stop();
    store.offline = true;
    const again = await use.create(path, store, { onUnknownLocal: "adopt-local", stopTimeoutMs: 0 });
    await again.start();
    expect(again.status().state).toBe("running");
  });

  test("a link to a database that is not made yet is replaced by a restore, which then cannot be opened", async () => {
    const { store, replicator, db } = await replicated();
    insert(db, "one");
    db.close();
    await replicator.stop();
    const folder = use.folder();
    mkdirSync(join(folder, "real"));
    symlinkSync(join("real", "data.db"), join(folder, "link.db"));
    const copy = await use.create(join(folder, "link.db"), store);
    await copy.start();
    const opened = copy.openDatabase();
    expect(rows(opened)).toEqual(["one"]);
    opened.close();
    await copy.stop();
    expect(readdirSync(join(folder, "real")).sort()).toEqual(["data.db", "data.db-sluice"]);
    rmSync(folder, { recursive: true });
  });
});
