import { afterEach, describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { DbWorker } from "./db-client.ts";

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

/** A stopped database of a size, and its replica. */
async function stopped(rows: number, store: MemoryStore, where = place()) {
  const db = worker();
  await db.create(where, store);
  await db.call("start");
  await db.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
  await db.call("repeat", "INSERT INTO t(b) VALUES(randomblob(100000))", rows);
  await db.call("waitUntilUploaded");
  const sum = await db.call("value", SUM);
  await db.call("close");
  await db.call("stop");
  db.end();
  return { where, sum };
}

describe("a restore over a database that fails while it is copied into place", () => {
  test("is made good by the next start of the same replicator", async () => {
    const store = new MemoryStore();
    const { sum } = await stopped(30, store);
    const { where } = await stopped(20, new MemoryStore());
    const db = worker();
    await db.create({ ...where, cacheDir: crypto.randomUUID() }, store);
    await db.call("throwAt", "restore:copying");
    await expect(db.call("restore", { overwrite: true })).rejects.toMatchObject({
      code: "SLUICE_LOCAL_DATABASE",
    });
    await db.call("throwAt", null);
    await db.call("start");
    expect(await db.call("value", "PRAGMA integrity_check")).toBe("ok");
    expect(await db.call("value", SUM)).toBe(sum);
    expect(await db.call("status")).toMatchObject({ state: "running" });
  });

  test("and cannot be finished, keeps the database from being used until it can", async () => {
    const store = new MemoryStore();
    const { sum } = await stopped(3, store);
    const { where } = await stopped(2, new MemoryStore());
    const cacheDir = crypto.randomUUID();
    const db = worker();
    await db.create({ ...where, cacheDir }, store);
    const { ended } = await db.endAt("restore:copying");
    void db.call("restore", { overwrite: true }).catch(() => {});
    await ended;
    const again = worker();
    await again.create({ ...where, cacheDir }, store);
    await again.call("throwAt", "restore:copying");
    for (const call of ["start", "restore"] as const)
      await expect(again.call(call, { overwrite: true })).rejects.toMatchObject({
        code: "SLUICE_LOCAL_DATABASE",
      });
    await again.call("throwAt", null);
    await again.call("start");
    expect(await again.call("value", SUM)).toBe(sum);
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
