import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { MemoryStore, type SqliteReplicator } from "../../node/index.ts";
import { armFaults } from "../../src/faults.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, next, rows, useReplicators } from "./fixture.ts";

const use = useReplicators();

async function replicated(config = {}) {
  const folder = use.folder();
  const store = new FaultyStore(new MemoryStore());
  const replicator = await use.create(join(folder, "a.db"), store, config);
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  return { folder, store, replicator, db };
}

/** What the replica restores to. */
async function restored(folder: string, store: FaultyStore): Promise<unknown[]> {
  const copy = await use.create(join(folder, `copy-${Math.random()}.db`), store);
  await copy.start();
  const db = copy.openDatabase();
  const found = rows(db);
  db.close();
  await copy.stop();
  return found;
}

describe("outage", () => {
  test("the backlog waits in order and goes up when the network is back", async () => {
    const { folder, store, replicator, db } = await replicated();
    store.offline = true;
    for (let i = 0; i < 20; i++) {
      const cached = next(replicator, "wal");
      insert(db, `offline ${i}`);
      await cached;
    }
    expect(replicator.status().pendingSegments).toBeGreaterThan(1);
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 60_000);
    expect(replicator.status().oldestUnuploadedAgeMs).toBeGreaterThanOrEqual(60_000);
    vi.useRealTimers();
    store.offline = false;
    await replicator.flush();
    expect(replicator.status()).toMatchObject({
      pendingSegments: 0,
      oldestUnuploadedAgeMs: 0,
      failedUploads: 0,
    });
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  /** Writes one segment after the other, and has each tried at once, until the promise resolves. */
  async function writeUntil<T>(done: Promise<T>, replicator: SqliteReplicator, db: Database): Promise<T> {
    let going = true;
    const stop = () => {
      going = false;
    };
    done.then(stop, stop);
    for (let i = 0; going; i++) {
      const cached = next(replicator, "wal");
      insert(db, `offline ${i}`);
      await Promise.race([cached, done]);
      replicator.wake();
    }
    return done;
  }

  /** Calls back inside the next merge, just before it is committed. */
  function atMerge<T>(act: () => T): Promise<T> {
    onTestFinished(() => armFaults(null));
    return new Promise((resolve, reject) => {
      armFaults((point) => {
        if (point !== "merge:before-commit") return;
        armFaults(null);
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  test("what waited goes up in two requests, not in one each", async () => {
    // Nothing is sent before it is asked for: a run under way would have merged what there was when it began.
    const { folder, store, replicator, db } = await replicated({ uploadIntervalMs: 3_600_000 });
    await replicator.snapshot(); // what one is taken of is not merged
    for (let i = 0; i < 20; i++) {
      const cached = next(replicator, "wal");
      insert(db, `waiting ${i}`);
      await cached;
    }
    const keys: string[] = [];
    replicator.addEventListener("upload", ({ detail }) => keys.push(detail.key));
    expect(replicator.status().pendingSegments).toBe(20);
    await replicator.flush();
    await replicator.waitUntilUploaded();
    expect(keys.length).toBeLessThanOrEqual(2);
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("a merge leaves the position alone that a snapshot under way names", async () => {
    const { folder, store, replicator, db } = await replicated({ uploadIntervalMs: 1 });
    store.fault = (method, key) => (method === "put" && key.startsWith("wal/") ? "before" : "pass");
    // Two segments at the least: the head is never merged.
    for (let i = 0; i < 3; i++) {
      const cached = next(replicator, "wal");
      insert(db, `before ${i}`);
      await cached;
    }
    const streaming = store.holdStream();
    const snapshot = replicator.snapshot();
    const release = await streaming;
    await writeUntil(
      atMerge(() => {}),
      replicator,
      db,
    );
    store.fault = () => "pass";
    replicator.wake();
    release();
    await snapshot;
    await replicator.waitUntilUploaded();
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("a merge gives way to a gate that needs the cache, in a loop that never yields", async () => {
    const { folder, store, replicator, db } = await replicated({ uploadIntervalMs: 1 });
    store.fault = (method, key) => (method === "put" && key.startsWith("wal/") ? "before" : "pass");
    const largest = await writeUntil(
      atMerge(() => {
        let frames = 0;
        for (let i = 0; i < 400; i++) {
          db.exec("INSERT INTO t(b) VALUES(hex(randomblob(50000)))");
          frames = Math.max(frames, replicator.status().walFrames);
        }
        return frames * Number(db.selectValue("PRAGMA page_size"));
      }),
      replicator,
      db,
    );
    // The gate drains at 24 MiB; all of it would be 40.
    expect(largest).toBeLessThan(32 << 20);
    store.fault = () => "pass";
    replicator.wake();
    await replicator.waitUntilUploaded();
    expect(replicator.status().state).toBe("running");
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("the backlog survives a restart that is offline too", async () => {
    const { folder, store, replicator, db } = await replicated({ stopTimeoutMs: 0 });
    store.offline = true;
    insert(db, "one");
    const cached = next(replicator, "wal");
    await cached;
    insert(db, "two");
    const expected = rows(db);
    db.close();
    expect(await replicator.stop()).toEqual({ uploaded: false });
    const again = await use.create(join(folder, "a.db"), store);
    await again.start();
    expect(again.status().uploaded).toBeLessThan(again.status().captured);
    store.offline = false;
    await again.flush();
    expect(await restored(folder, store)).toEqual(expected);
  });

  test("an answer that is lost after the object landed is not taken for another writer", async () => {
    const { folder, store, replicator, db } = await replicated();
    store.fault = (method, key) => (method === "put" && key.startsWith("wal/0/") ? "after" : "pass");
    insert(db, "landed");
    await expect(replicator.flush()).rejects.toMatchObject({ kind: "network" });
    store.offline = false;
    await replicator.flush();
    expect(replicator.status().state).toBe("running");
    expect(await restored(folder, store)).toEqual(["landed"]);
    db.close();
  });

  test("waitUntilUploaded waits through an outage, and says no when the signal aborts", async () => {
    const { store, replicator, db } = await replicated();
    store.offline = true;
    const failed = next(replicator, "error");
    insert(db, "one");
    const waiting = replicator.waitUntilUploaded();
    const abort = new AbortController();
    const aborted = replicator.waitUntilUploaded({ signal: abort.signal });
    await failed;
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    store.offline = false;
    await replicator.flush();
    await waiting;
    db.close();
  });

  test("a backlog over the limit is merged, and what is merged restores", async () => {
    const { folder, store, replicator, db } = await replicated({ maxCacheSize: 1 << 16 });
    store.offline = true;
    for (let i = 0; i < 60; i++) {
      const cached = next(replicator, "wal");
      db.exec("BEGIN");
      for (let j = 0; j < 20; j++) insert(db, `row ${i} ${j} ${Math.sin(i * 20 + j)}`);
      db.exec("COMMIT");
      await cached;
    }
    expect(replicator.status().pendingSegments).toBeLessThan(60);
    expect(replicator.status()).toMatchObject({ state: "running" });
    store.offline = false;
    await replicator.flush();
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("a backlog that merging cannot make small enough is dropped, said so, and made up for", async () => {
    const { folder, store, replicator, db } = await replicated({ maxCacheSize: 1 << 16 });
    store.offline = true;
    const overflow = next(replicator, "cache-overflow");
    const needed = next(replicator, "resync");
    const phases: string[] = [];
    replicator.addEventListener("resync", (event) => phases.push(event.detail.phase));
    let i = 0;
    let over = false;
    void overflow.then(() => {
      over = true;
    });
    while (!over && i < 200) {
      const cached = Promise.race([next(replicator, "wal"), overflow]);
      db.exec({ sql: "INSERT INTO t(b) VALUES (hex(randomblob(10000)))" });
      i += 1;
      await cached;
    }
    expect(await overflow).toMatchObject({ droppedBytes: expect.any(Number) });
    expect(await needed).toMatchObject({ phase: "needed" });
    insert(db, "after the overflow");
    const failed = next(replicator, "error");
    await failed; // tried again, and still away
    expect(phases).toEqual(["needed"]); // no resync is made only to be dropped again
    store.offline = false;
    replicator.wake();
    await replicator.waitUntilUploaded();
    expect(replicator.status().state).toBe("running");
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  /** How many requests there were when what was uploaded has been dealt with: housekeeping comes after it. */
  async function quiet(store: FaultyStore): Promise<number> {
    for (;;) {
      const { requests } = store;
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (store.requests === requests) return requests;
    }
  }

  test("a loop that never yields, whose gates drain, fills the cache four times and by one entry, and no more", async () => {
    const { folder, store, replicator, db } = await replicated({ maxCacheSize: 1 << 16 });
    store.offline = true;
    const phases: string[] = [];
    replicator.addEventListener("resync", ({ detail }) => phases.push(detail.phase));
    let largest = 0;
    replicator.addEventListener("wal", ({ detail }) => {
      largest = Math.max(largest, detail.size);
    });
    for (let i = 0; i < 30; i++) {
      db.exec("INSERT INTO t(b) VALUES (hex(randomblob(10000))); PRAGMA wal_checkpoint(TRUNCATE)");
    }
    const { pendingBytes } = replicator.status();
    expect(await next(replicator, "cache-overflow")).toMatchObject({ droppedBytes: expect.any(Number) });
    expect(replicator.status().pendingSegments).toBeLessThan(2);
    expect(phases).toEqual(["needed"]);
    store.offline = false;
    replicator.wake();
    await replicator.waitUntilUploaded();
    expect(pendingBytes).toBeGreaterThan(4 << 16);
    expect(pendingBytes).toBeLessThanOrEqual((4 << 16) + largest);
    expect(await restored(folder, store)).toEqual(rows(db));
    db.close();
  });

  test("an idle day makes no request at all", async () => {
    const { store, replicator, db } = await replicated();
    insert(db, "one");
    await replicator.flush();
    await replicator.snapshot();
    const before = await quiet(store);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    try {
      await vi.advanceTimersByTimeAsync(24 * 3600 * 1000);
      expect(store.requests).toBe(before);
      // The clock does move the replicator: a commit is uploaded after its intervals.
      insert(db, "two");
      await vi.advanceTimersByTimeAsync(1000);
      await vi.waitUntil(() => replicator.status().pendingSegments === 0 && store.requests > before);
    } finally {
      vi.useRealTimers();
    }
    db.close();
  });

  test("after stop one plain file remains, equal to the restored one", async () => {
    const { folder, store, replicator, db } = await replicated();
    insert(db, "one");
    db.close();
    expect(await replicator.stop()).toEqual({ uploaded: true });
    const copy = await use.create(join(folder, "b.db"), store);
    await copy.restore();
    expect(readFileSync(join(folder, "b.db"))).toEqual(readFileSync(join(folder, "a.db")));
  });
});
