import { afterEach, describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { DbWorker } from "./db-client.ts";
import { sent } from "./page-store.ts";

const workers: DbWorker[] = [];
afterEach(() => {
  for (const worker of workers.splice(0)) worker.end();
});

function worker(): DbWorker {
  const made = new DbWorker();
  workers.push(made);
  return made;
}

/** A place of its own for each test: the origin's storage is one. */
function place(): { directory: string } {
  return { directory: `/sluice-test-${crypto.randomUUID()}` };
}

const SCHEMA = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB); CREATE INDEX i ON t(b)";
const ROW = "INSERT INTO t(b, c) VALUES(hex(randomblob(8)), randomblob(abs(random()) % 5000))";
const SUM = "SELECT count(*) || ' ' || sum(length(b) + length(c)) || ' ' || max(a) FROM t";

describe("the story", () => {
  test("write, lose everything local, restore: the same bytes, and on it goes", async () => {
    const store = new MemoryStore();
    const first = worker();
    await first.create({ uploadIntervalMs: 20, syncIntervalMs: 20 }, store, place());
    await first.call("start");
    await first.call("exec", SCHEMA);
    await first.call("repeat", ROW, 300);
    await first.call("exec", "PRAGMA cache_size=10; BEGIN");
    await first.call("repeat", ROW, 200);
    await first.call("exec", "ROLLBACK; DELETE FROM t WHERE a % 7 = 0");
    await first.call("waitUntilUploaded");
    const { captured, cached, uploaded, storage } = await first.status();
    expect({ captured, cached, uploaded }).toEqual({ captured: 303, cached: 303, uploaded: 303 });
    expect(storage?.quota).toBeGreaterThan(0);
    const sum = await first.call("value", SUM);
    await first.call("close");
    expect(await first.call("stop")).toEqual({ uploaded: true });
    expect(await first.call("files")).toEqual(["/data.db", "/data.db-sluice", "/data.db-wal"]);
    const bytes = (await first.call("exportFile", "/data.db")) as Uint8Array;

    const second = worker();
    const progress: number[] = [];
    await second.create({ dbPath: "/folder/../data.db" }, store, place());
    await second.call("start", ({ pages }: { pages: number }) => progress.push(pages));
    expect(await second.call("value", SUM)).toBe(sum);
    expect(await second.call("exportFile", "/data.db")).toEqual(bytes);
    expect(progress.at(-1)).toBe(bytes.length / 8192);
    await second.call("exec", ROW);
    await second.call("waitUntilUploaded");
    expect((await second.status()).uploaded).toBe(304);
  });

  test("a pool of its own, with nothing given", async () => {
    const where = place();
    const store = new MemoryStore();
    const first = worker();
    await first.create(where, store);
    await first.call("start");
    await first.call("exec", SCHEMA);
    await first.call("repeat", ROW, 10);
    await first.call("close");
    await first.call("stop");
    // In the same worker again, and in another one: the pool was let go each time.
    await first.create(where, store);
    await first.call("start");
    expect(await first.numbers("SELECT count(*) FROM t")).toBe(10);
    await first.call("close");
    await first.call("stop");
    const second = worker();
    await second.create({ ...where, lock: { waitMs: 0 } }, store);
    await second.call("start");
    expect(await second.numbers("SELECT count(*) FROM t")).toBe(10);
  });
});

describe("a loop that never yields", () => {
  test("keeps the WAL small: the gate drains, and what it drained goes up", async () => {
    const store = new MemoryStore();
    const db = worker();
    await db.create({}, store, place());
    await db.call("start");
    await db.call("exec", `${SCHEMA}; PRAGMA synchronous=NORMAL`);
    // 25 MB of commits.
    await db.call("repeat", "INSERT INTO t(b, c) VALUES('x', randomblob(100000))", 250);
    const { walFrames, cached } = await db.status();
    expect(walFrames * 8216).toBeLessThan(20 << 20);
    expect(cached).toBeGreaterThan(100);
    await db.call("snapshot");
    const copy = worker();
    await copy.create({}, store, place());
    await copy.call("start");
    expect(await copy.call("value", SUM)).toBe(await db.call("value", SUM));
  });
});

describe("a worker that is terminated", () => {
  test("loses nothing committed, whatever was under way, and the replica goes on", async () => {
    const store = new MemoryStore();
    const where = place();
    let rows = 0;
    for (let life = 0; life < 9; life++) {
      const db = worker();
      await db.create({ ...where, uploadIntervalMs: 5, syncIntervalMs: 5, checkpointPages: 50 }, store);
      await db.call("start");
      if (life === 0) await db.call("exec", SCHEMA);
      expect(await db.numbers("SELECT count(*) FROM t")).toBeGreaterThanOrEqual(rows);
      expect(await db.call("value", "PRAGMA integrity_check")).toBe("ok");
      expect((await db.status()).state).toBe("running");
      rows = await db.numbers("SELECT count(*) FROM t");
      for (let i = 0; i < 3 + life; i++) {
        await db.call("repeat", ROW, 5 + life);
        rows += 5 + life;
      }
      // Not waited for: it dies somewhere in between.
      if (life % 3 === 0) void db.call("flush").catch(() => {});
      if (life % 3 === 1) void db.call("repeat", ROW, 200).catch(() => {});
      if (life % 3 === 2) void db.call("snapshot").catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, life * 7));
      db.end();
    }
    const last = worker();
    await last.create(where, store);
    await last.call("start");
    await last.call("waitUntilUploaded");
    const copy = worker();
    await copy.create({}, store, place());
    await copy.call("start");
    expect(await copy.call("value", SUM)).toBe(await last.call("value", SUM));
  });
});

describe("who comes second", () => {
  test("gets DatabaseInUseError, at once in the same worker, after waitMs in another; and takes over when the first ends", async () => {
    const where = place();
    const store = new MemoryStore();
    const first = worker();
    await first.create(where, store);
    await first.call("start");
    await first.call("exec", SCHEMA);
    await expect(first.create(where, store)).rejects.toMatchObject({ code: "SLUICE_IN_USE" });
    const second = worker();
    await expect(second.create({ ...where, lock: { waitMs: 50 } }, store)).rejects.toMatchObject({
      code: "SLUICE_IN_USE",
    });
    const taken = second.create({ ...where, lock: { waitMs: 60_000 } }, store);
    await first.call("repeat", ROW, 5);
    first.end();
    await taken;
    await second.call("start");
    expect(await second.numbers("SELECT count(*) FROM t")).toBe(5);
  });

  test("gets it also where an app has a pool of its own there, and when that is gone the database", async () => {
    const where = place();
    const first = worker();
    await first.call("openPool", where);
    const db = worker();
    await expect(db.create(where, new MemoryStore())).rejects.toMatchObject({ code: "SLUICE_IN_USE" });
    first.end();
    await expect
      .poll(() => db.create(where, new MemoryStore()).then(() => "created", String))
      .toBe("created");
    await db.call("start");
  });

  test("after stop() is told of connections that are open still, and waits for nothing when they are closed", async () => {
    const where = { ...place(), dbPath: "/data.db", lock: { waitMs: 0 } };
    const store = new MemoryStore();
    const db = worker();
    await db.create(where, store);
    await db.call("start");
    await db.call("exec", SCHEMA);
    const holder = await db.call("createAsClosed", where, sent(store));
    expect(holder).toBe("connections of this worker, open since before stop()");
    await db.call("start");
    await db.call("exec", ROW);
    expect(await db.numbers("SELECT count(*) FROM t")).toBe(1);
  });

  test("two databases share a pool of ours", async () => {
    const where = place();
    const [a, b] = [new MemoryStore(), new MemoryStore()];
    const db = worker();
    await db.create(where, a);
    await db.call("start");
    await db.call("exec", SCHEMA);
    await db.create({ ...where, dbPath: "/other.db" }, b);
    await db.call("start");
    await db.call("open");
    await db.call("exec", SCHEMA);
    await db.call("waitUntilUploaded");
    expect(await keys(b)).toContain("lineage.json");
  });
});

async function keys(store: MemoryStore): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list("")) found.push(key);
  return found;
}

describe("restore over a database", () => {
  test("replaces it, and its WAL; without overwrite it answers why not", async () => {
    const store = new MemoryStore();
    const writer = worker();
    await writer.create({}, store, place());
    await writer.call("start");
    await writer.call("exec", `PRAGMA page_size=1024; VACUUM; ${SCHEMA}`);
    await writer.call("repeat", ROW, 50);
    await writer.call("waitUntilUploaded");
    const sum = await writer.call("value", SUM);

    const where = place();
    const other = worker();
    await other.create({}, new MemoryStore(), where);
    await other.call("start");
    await other.call("exec", "CREATE TABLE other(x); INSERT INTO other VALUES(zeroblob(300000))");
    other.end();

    const db = worker();
    await db.create({ cacheDir: crypto.randomUUID() }, store, where);
    expect(await db.call("restore", {})).toEqual({ restored: false, reason: "database-exists" });
    expect(await db.call("restore", { overwrite: true, integrityCheck: "full" })).toMatchObject({
      restored: true,
    });
    expect(await db.call("files")).toEqual(["/data.db", "/data.db-sluice"]);
    await db.call("start");
    expect(await db.call("value", SUM)).toBe(sum);
  });

  test("of a damaged replica leaves the old one", async () => {
    const store = new MemoryStore();
    const db = worker();
    const where = place();
    await db.create({}, store, where);
    await db.call("start");
    await db.call("exec", SCHEMA);
    await db.call("repeat", ROW, 50);
    await db.call("waitUntilUploaded");
    await db.call("snapshot");
    const sum = await db.call("value", SUM);
    await db.call("close");
    await db.call("stop");
    const key = (await keys(store)).filter((each) => each.startsWith("snapshots/")).at(-1)!;
    const bytes = await collect((await store.get(key)).body, 1 << 30);
    bytes[bytes.length >> 1]! ^= 1;
    await store.put(key, bytes);
    await db.create({}, store);
    db.end();
    const again = worker();
    await again.create({}, store, where);
    await expect(again.call("restore", { overwrite: true })).rejects.toMatchObject({
      code: "SLUICE_CORRUPT_OBJECT",
    });
    expect(await again.call("files")).toEqual(["/data.db", "/data.db-sluice", "/data.db-wal"]);
    await again.call("start");
    expect(await again.call("value", SUM)).toBe(sum);
  });
});

describe("IndexedDB that is deleted", () => {
  test("costs a resync, and no history: this database is known by its side file", async () => {
    const store = new MemoryStore();
    const where = place();
    const cacheDir = crypto.randomUUID();
    const first = worker();
    await first.create({ ...where, cacheDir }, store);
    await first.call("start");
    await first.call("exec", SCHEMA);
    await first.call("repeat", ROW, 20);
    await first.call("waitUntilUploaded");
    await first.call("snapshot");
    // Deleted while it runs: what comes then stays in the side file, and is told.
    await new Promise((resolve) => {
      indexedDB.deleteDatabase(cacheDir).onsuccess = resolve;
    });
    const trouble = first.next("error");
    await first.call("repeat", ROW, 20);
    await first.call("flush").catch(() => {});
    await trouble;
    first.end();

    const second = worker();
    await second.create({ ...where, cacheDir }, store);
    await second.call("start");
    expect(await second.numbers("SELECT count(*) FROM t")).toBe(40);
    await second.call("waitUntilUploaded");
    expect((await second.status()).state).toBe("running");
    const copy = worker();
    await copy.create(place(), store);
    await copy.call("start");
    expect(await copy.call("value", SUM)).toBe(await second.call("value", SUM));
  });
});

describe("leaving", () => {
  test("what the app then commits without Sluice, in WAL mode and in place, is found by the next start", async () => {
    const where = { directory: `/app-${crypto.randomUUID()}` };
    const store = new MemoryStore();
    const db = worker();
    await db.create({}, store, where);
    await db.call("start");
    await db.call("exec", `${SCHEMA}; ${ROW}`);
    await db.call("close");
    await db.call("stop");
    await db.create({}, store, where);
    await db.call("start");
    expect((await db.status()).state).toBe("running"); // nobody was there
    await db.call("stop");
    await db.call("besides", "/data.db", "UPDATE t SET b = 'without'");
    await db.create({}, store, where);
    const resync = db.next("resync");
    await db.call("start");
    await resync;
    await db.call("waitUntilUploaded");
    const copy = worker();
    await copy.create({}, store, { directory: `/app-${crypto.randomUUID()}` });
    await copy.call("start");
    expect(await copy.call("value", "SELECT b FROM t")).toBe("without");
  });

  test("detach leaves a plain database in rollback mode", async () => {
    const db = worker();
    await db.create({}, new MemoryStore(), place());
    await db.call("start");
    await db.call("exec", SCHEMA);
    await expect(db.call("detach")).rejects.toMatchObject({ code: "SLUICE_STATE" });
    await db.call("close");
    await db.call("detach");
    const bytes = (await db.call("exportFile", "/data.db")) as Uint8Array;
    expect([bytes[18], bytes[19]]).toEqual([1, 1]);
  });
});

describe("a page that goes", () => {
  test("has what is committed flushed, whatever the intervals", async () => {
    const store = new MemoryStore();
    const db = worker();
    await db.create({ syncIntervalMs: 1_000_000, uploadIntervalMs: 1_000_000 }, store, place());
    await db.call("start");
    await db.call("flush");
    const uploaded = db.next("upload");
    await db.call("exec", SCHEMA);
    db.worker.postMessage({ sluice: "hidden" });
    await uploaded;
    expect(await keys(store)).toContain("wal/0/0000000000000001.wal.zst");
  });
});

describe("configuration", () => {
  test.each([
    [{ replica: "ftp://x/" }, "replica"],
    [{ replica: "file:///x/" }, "replica"],
    [{ pool: {} }, "pool"],
    [{ sqlite3: {} }, "sqlite3"],
    [{ lock: { wait: 1 } }, "wait"],
    [{ lock: { waitMs: -1 } }, "lock.waitMs"],
    [{ unsafeNoLock: true }, "unsafeNoLock"],
    [{ directory: "" }, "directory"],
  ])("%j is refused", async (config, field) => {
    const db = worker();
    const whole = { replica: "https://example.com/r/", ...config } as Parameters<DbWorker["create"]>[0];
    await expect(db.create(whole, null)).rejects.toMatchObject({ code: "SLUICE_CONFIG", field });
  });
});

describe("a full pool", () => {
  test("is enlarged where there is room for it", async () => {
    const db = worker();
    const where = place();
    await db.create({}, new MemoryStore(), where);
    await db.call("start");
    await db.call("exec", SCHEMA);
    expect(await db.call("files")).toContain("/data.db-wal");
  });

  test("has room for all databases that are created before the first is started", async () => {
    const names = Array.from({ length: 8 }, (_, i) => `/${i}.db`);
    await worker().call("runMany", place(), names);
  });

  test("is told when SQLite can only say CANTOPEN", async () => {
    const db = worker();
    await db.create({}, new MemoryStore(), place());
    await db.call("reduceCapacity");
    await expect(db.call("start")).rejects.toMatchObject({ code: "SLUICE_POOL_FULL" });
  });
});
