import { join } from "node:path";
import { expect, test } from "vitest";
import { readClaim } from "../../src/claim.ts";
import { plan } from "../../src/plan.ts";
import { listReplica } from "../../src/replica.ts";
import { Restoration } from "../../src/restore.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { commitRows, commitSchema } from "../bench/rows.ts";
import { codecs } from "../format/objects.ts";
import { freshVfs, mutableFs } from "../node/vfs-fixture.ts";
import { createTable, insert, next, useReplicators } from "./fixture.ts";

/*
 * What is deterministic about cost: operations, requests and bytes, for the same work in every run. A change that makes one
 * of these larger has to say why it is worth it. What they cost in time, the benchmarks say (PERFORMANCE.md).
 */

const { folder, create } = useReplicators();

/** Not so many that the WAL has to be drained meanwhile. */
const COMMITS = 2000;
const never = {
  syncIntervalMs: 3_600_000,
  uploadIntervalMs: 3_600_000,
  snapshotIntervalSecs: 0,
  // Housekeeping comes when it comes.
  compaction: false,
  retentionSecs: 0,
};

/** Remembers its requests as "PUT wal/…", and what was put. */
class LoggingStore extends MemoryStore {
  readonly log: string[] = [];
  bytes = 0;
  #note(verb: string, key: string): void {
    this.log.push(`${verb} ${key.replace(/[0-9a-f]{16}/g, "#")}`);
  }
  override async put(...args: Parameters<MemoryStore["put"]>): Promise<void> {
    this.#note("PUT", args[0]);
    await super.put(...args);
    for await (const { key, size } of super.list(args[0])) if (key === args[0]) this.bytes += size;
  }
  override putStream(...args: Parameters<MemoryStore["putStream"]>): Promise<void> {
    this.#note("STREAM", args[0]);
    return super.putStream(...args);
  }
  override get(...args: Parameters<MemoryStore["get"]>): ReturnType<MemoryStore["get"]> {
    this.#note("GET", args[0]);
    return super.get(...args);
  }
  override list(...args: Parameters<MemoryStore["list"]>): ReturnType<MemoryStore["list"]> {
    this.#note("LIST", args[0]);
    return super.list(...args);
  }
  /** What was asked since the last call. */
  take(): string[] {
    return this.log.splice(0);
  }
}

/** A replicator over a disk whose operations are counted by name. */
async function counted(synchronous: "NORMAL" | "FULL") {
  const calls: Record<string, number> = {};
  const disk = mutableFs();
  for (const name of ["readSync", "writeSync", "fdatasyncSync", "fsyncSync", "ftruncateSync"] as const) {
    const real = disk[name] as (...args: unknown[]) => unknown;
    Object.assign(disk, {
      [name]: (...args: unknown[]) => {
        calls[name] = (calls[name] ?? 0) + 1;
        return real(...args);
      },
    });
  }
  const { sqlite3, vfs } = await freshVfs({ fs: disk });
  const path = join(folder(), "app.db");
  const plain = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs });
  plain.exec(`PRAGMA page_size=4096; ${commitSchema}`);
  plain.close();
  const store = new LoggingStore();
  const replicator = await create(path, store, { sqlite3, ...never });
  await replicator.start();
  await replicator.snapshot();
  const db = replicator.openDatabase();
  db.exec(`PRAGMA synchronous=${synchronous}`);
  commitRows(db, 10, 3); // the WAL is new, and its first frames cost more
  await replicator.flush();
  store.take();
  const during = (act: () => void): Record<string, number> => {
    for (const name of Object.keys(calls)) delete calls[name];
    act();
    return { ...calls };
  };
  return { replicator, db, store, during };
}

test("NORMAL: a commit is one write, and nothing else", async () => {
  const { db, during } = await counted("NORMAL");
  expect(during(() => commitRows(db, COMMITS, 7))).toEqual({ writeSync: COMMITS });
  db.close();
});

test("FULL: a commit is one write and one sync; zeros ahead of the WAL are a few writes more", async () => {
  const { db, during } = await counted("FULL");
  const { writeSync, ...others } = during(() => commitRows(db, COMMITS, 7));
  expect(others).toEqual({ fdatasyncSync: COMMITS });
  expect(writeSync).toBeLessThanOrEqual(COMMITS + 32);
  db.close();
});

test("what thousands of commits send is one request, with each page that they changed once", async () => {
  const { replicator, db, store } = await counted("NORMAL");
  commitRows(db, COMMITS, 7);
  expect(store.take()).toEqual([]);
  const before = store.bytes;
  await replicator.flush();
  expect(store.take()).toEqual(["PUT wal/0/#.wal.zst"]);
  expect(store.bytes - before).toBeLessThan(60_000);
  await replicator.flush();
  await replicator.waitUntilUploaded();
  expect(store.take()).toEqual([]);
  db.close();
});

test("what waits is merged before it goes, also while a drain is under way", async () => {
  const path = join(folder(), "app.db");
  const store = new LoggingStore();
  const replicator = await create(path, store, { ...never, syncIntervalMs: 1 });
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  await replicator.flush();
  for (let i = 0; i < 4; i++) {
    insert(db, `row ${i}`);
    await next(replicator, "wal");
  }
  store.take();
  // Several turns of the event loop; an upload is due in the first of them.
  db.exec(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000) " +
      "INSERT INTO t(b) SELECT hex(randomblob(1000)) FROM n",
  );
  const flushed = replicator.flush();
  replicator.wake();
  await flushed;
  expect(store.take().filter((request) => request.startsWith("PUT"))).toEqual(
    Array(2).fill("PUT wal/0/#.wal.zst"),
  );
  db.close();
});

test("a start looks at the end of the replica, and at its own newest segment there", async () => {
  const path = join(folder(), "app.db");
  const store = new LoggingStore();
  const run = async (commits: number) => {
    const replicator = await create(path, store, never);
    await replicator.start();
    await replicator.flush();
    const db = replicator.openDatabase();
    createTable(db);
    for (let i = 0; i < commits; i++) {
      insert(db, `row ${i}`);
      await replicator.flush();
    }
    db.close();
    await replicator.stop();
  };
  await run(20);
  store.take();
  await run(0);
  const segments = ["LIST wal/0/", "GET wal/0/#.wal.zst"];
  const tail = ["GET lineage.json", ...segments, "LIST wal/1/", "LIST wal/2/", "LIST wal/3/"];
  // What leads beyond our end, and the newest.
  const snapshots = ["LIST snapshots/", "LIST snapshots/", ...segments];
  expect(store.take().sort()).toEqual([...tail, ...snapshots].sort());
});

test("a restore reads each object once, and writes what adjoins at once", async () => {
  const { replicator, db, store } = await counted("NORMAL");
  commitRows(db, COMMITS, 7);
  await replicator.snapshot();
  for (let segment = 0; segment < 3; segment++) {
    commitRows(db, COMMITS, segment);
    await replicator.flush();
  }
  db.close();
  store.take();
  const claim = await readClaim(store);
  const chosen = plan(await listReplica(store), store.url);
  expect(store.take().sort()).toEqual(["GET lineage.json", "LIST snapshots/", "LIST wal/"]);
  const writes: number[] = [];
  const target = {
    write: (bytes: Uint8Array) => void writes.push(bytes.length),
    finish: async () => {},
    abort: async () => {},
    old: null,
  };
  const source = { store, lineage: claim!.lineage, codecs };
  const { pageCount, pageSize } = await new Restoration(source, target, () => {}).apply(chosen!);
  const segments = chosen!.segments.map(() => "GET wal/0/#.wal.zst");
  expect(store.take().sort()).toEqual(["GET snapshots/#.sqlite.zst", ...segments]);
  expect(writes.reduce((sum, length) => sum + length, 0)).toBe(pageCount * pageSize);
  expect(writes.length).toBeLessThan(pageCount / 2);
});
