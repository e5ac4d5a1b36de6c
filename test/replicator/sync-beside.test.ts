import { execFileSync } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, type MockInstance, test, vi } from "vitest";
import { CacheDirectory } from "../../node/cache-directory.ts";
import { CacheError } from "../../node/index.ts";
import { NodePlatform } from "../../node/platform.ts";
import { syncBeside } from "../../node/sync-beside.ts";
import { WalReader } from "../../src/wal/wal-reader.ts";
import { createTable, insert, rows, useReplicators } from "./fixture.ts";

const { folder, create } = useReplicators();

afterEach(() => {
  vi.restoreAllMocks();
});

/** Only what is asked for is drained. `beside`: what is synced on another thread. */
async function replicated() {
  const beside = {
    wal: vi.spyOn(NodePlatform.prototype, "syncBeside"),
    segment: vi.spyOn(CacheDirectory.prototype, "syncBeside"),
  };
  const dir = folder();
  const replica = `file://${dir}/replica`;
  const replicator = await create(join(dir, "app.db"), replica, { syncIntervalMs: 3_600_000 });
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  return { dir, replica, replicator, db, beside };
}

/** The next sync on another thread takes until `end`. */
function held(beside: MockInstance<(...args: never[]) => Promise<void>>) {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const begun = new Promise<void>((begin) => {
    beside.mockImplementationOnce(() => {
      begin();
      return ended;
    });
  });
  return { begun, end };
}

test("a drain has the WAL and its segment synced on another thread before it waits for them itself", async () => {
  const { dir, replicator, db, beside } = await replicated();
  const calls = [
    beside.wal.mockClear(),
    vi.spyOn(WalReader.prototype, "sync"),
    beside.segment.mockClear(),
    vi.spyOn(CacheDirectory.prototype, "publish"),
  ];
  insert(db, "a");
  await replicator.flush();
  const order = calls.map(({ mock }) => mock.invocationCallOrder[0]!);
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(beside.wal).toHaveBeenCalledWith(join(dir, "app.db-wal"));
  db.close();
});

test.each(["wal", "segment"] as const)(
  "while another thread syncs the %s a gate ends the drain, and waits for no thread",
  async (which) => {
    const { dir, replica, replicator, db, beside } = await replicated();
    const sync = held(beside[which]);
    insert(db, "a");
    const flushed = replicator.flush();
    await sync.begun;
    insert(db, "b");
    db.exec("PRAGMA wal_checkpoint(RESTART)");
    const { cached, captured } = replicator.status();
    expect(cached).toBe(captured);
    insert(db, "c"); // over what the drain had read
    sync.end();
    await flushed;
    await replicator.flush();
    const copy = await create(join(dir, "copy.db"), replica);
    await copy.start();
    const restored = copy.openDatabase();
    expect(rows(restored)).toEqual(rows(db));
    restored.close();
    db.close();
  },
);

test("what a gate that ended the drain could not cache is tried again before the drain is said to be done", async () => {
  const { replicator, db, beside } = await replicated();
  const sync = held(beside.wal);
  insert(db, "a");
  const flushed = replicator.flush();
  await sync.begun;
  vi.spyOn(CacheDirectory.prototype, "publish").mockImplementationOnce(() => {
    throw new CacheError("no room", true);
  });
  db.exec("PRAGMA wal_checkpoint(RESTART)");
  const { cached, captured } = replicator.status();
  expect(cached).toBeLessThan(captured!);
  sync.end();
  await flushed;
  expect(replicator.status()).toMatchObject({ cached: captured, uploaded: captured });
  db.close();
});

test.skipIf(process.platform === "win32")(
  "where no thread is free, that is not waited for for ever",
  async () => {
    const fifo = join(folder(), "fifo");
    execFileSync("mkfifo", [fifo]);
    // Each waits on a thread until somebody writes.
    const held = Array.from({ length: Number(process.env.UV_THREADPOOL_SIZE ?? 4) }, () => open(fifo, "r"));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const synced = syncBeside(fifo);
    vi.runAllTimers();
    await synced;
    vi.useRealTimers();
    const writer = openSync(fifo, "r+");
    for (const file of await Promise.all(held)) await file.close();
    closeSync(writer);
  },
);

test("a file that is gone is nobody's trouble", async () => {
  const path = join(folder(), "gone");
  await syncBeside(path);
  expect(() => readFileSync(path)).toThrow("ENOENT"); // nor made
});
