import { afterEach, describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
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

function place(): { directory: string } {
  return { directory: `/sluice-test-${crypto.randomUUID()}` };
}

const SUM = "SELECT count(*) || ' ' || sum(length(b)) FROM t";

/** A stopped database of a size in a pool of the app's, whose replica is in the store; nothing here tells of that any more. */
async function stopped(rows: number, store: MemoryStore) {
  const where = place();
  const db = worker();
  await db.create({ cacheDir: crypto.randomUUID() }, store, where);
  await db.call("start");
  await db.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
  await db.call("repeat", "INSERT INTO t(b) VALUES(randomblob(100000))", rows);
  await db.call("waitUntilUploaded");
  const sum = await db.call("value", SUM);
  await db.call("close");
  await db.call("stop");
  await db.call("unlink", "/data.db-sluice");
  db.end();
  return { where, sum };
}

/** A replica, and where another database of another one is. */
async function two() {
  const store = new MemoryStore();
  const { sum } = await stopped(30, store);
  const { where } = await stopped(20, new MemoryStore());
  const open = async (cacheDir: string) => {
    const db = worker();
    await db.create({ ...where, cacheDir }, store);
    return db;
  };
  return { sum, open };
}

async function expectWhole(db: DbWorker, sum: unknown): Promise<void> {
  await db.call("start");
  expect(await db.call("value", "PRAGMA integrity_check")).toBe("ok");
  expect(await db.call("value", SUM)).toBe(sum);
  expect(await db.status()).toMatchObject({ state: "running" });
}

describe("a restore over a database, cut short while it is copied into place", () => {
  const failed = { code: "SLUICE_LOCAL_DATABASE" };

  test("by a failure, is finished by the next start of the same replicator", async () => {
    const { sum, open } = await two();
    const db = await open(crypto.randomUUID());
    await db.call("throwAt", "restore:copying");
    await expect(db.call("restore", { overwrite: true })).rejects.toMatchObject(failed);
    await db.call("throwAt", null);
    await expectWhole(db, sum);
  });

  test("keeps the database from being used while it cannot be finished", async () => {
    const { sum, open } = await two();
    const cacheDir = crypto.randomUUID();
    const db = await open(cacheDir);
    const { ended } = await db.endAt("restore:copying");
    void db.call("restore", { overwrite: true }).catch(() => {});
    await ended;
    const again = await open(cacheDir);
    await again.call("throwAt", "restore:copying");
    await expect(again.call("start")).rejects.toMatchObject(failed);
    await expect(again.call("restore", { overwrite: true })).rejects.toMatchObject(failed);
    await again.call("throwAt", null);
    await expectWhole(again, sum);
  });
});

describe("a path", () => {
  test.each(["data.db", "/%64ata.db", "/a/../ü b.db", "/💾.db"])(
    "%s keeps what is committed",
    async (dbPath) => {
      const where = place();
      const store = new MemoryStore();
      const db = worker();
      await db.create({ ...where, dbPath, syncIntervalMs: 1_000_000 }, store);
      await db.call("start");
      await db.call("exec", "CREATE TABLE t(a)");
      await db.call("waitUntilUploaded");
      await db.call("exec", "INSERT INTO t VALUES(1)");
      db.end();
      const again = worker();
      await again.create({ ...where, dbPath }, store);
      await again.call("start");
      expect(await again.numbers("SELECT count(*) FROM t")).toBe(1);
    },
  );

  test.each(["user:42.db", "/.//data.db", "/", "/a?b", "/a#b", `/${"x".repeat(480)}`])(
    "%s is refused",
    async (dbPath) => {
      const db = worker();
      await expect(db.create({ ...place(), dbPath }, new MemoryStore())).rejects.toMatchObject({
        code: "SLUICE_CONFIG",
        field: "dbPath",
      });
    },
  );

  test("as long as it may be can be restored over", async () => {
    const where = place();
    const store = new MemoryStore();
    const dbPath = `/${"x".repeat(479)}`;
    const db = worker();
    await db.create({ ...where, dbPath }, store);
    await db.call("start");
    await db.call("exec", "CREATE TABLE t(a)");
    await db.call("waitUntilUploaded");
    await db.call("close");
    await db.call("stop");
    await db.create({ ...where, dbPath }, store);
    expect(await db.call("restore", { overwrite: true })).toMatchObject({ restored: true });
  });
});

test("a marker without the database that it speaks of costs nothing of the old one", async () => {
  const store = new MemoryStore();
  const db = worker();
  await db.create({}, store, place());
  await db.call("start");
  await db.call("exec", "CREATE TABLE t(a)");
  await db.call("close");
  await db.call("stop");
  const before = await db.call("exportFile", "/data.db");
  await db.call("leaveBehind", "/data.db-sluice-swap", { dbPath: "/data.db" }, sent(store));
  await expect(db.call("start")).rejects.toMatchObject({ code: "SLUICE_LOCAL_DATABASE" });
  expect(await db.call("exportFile", "/data.db")).toEqual(before);
});
