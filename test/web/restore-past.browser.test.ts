import { afterEach, expect, test } from "vitest";
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

const ROWS = 30;
const SUM = "SELECT count(*) || ' ' || sum(length(b)) || ' ' || hex(substr(max(b), 1, 20)) FROM t";

/** A database of 3 MB with a snapshot at transaction `past`, and a commit after it; stopped, in a pool of its own. */
async function stopped() {
  const where = { directory: `/sluice-test-${crypto.randomUUID()}` };
  const cacheDir = crypto.randomUUID();
  const store = new MemoryStore();
  const db = worker();
  await db.create({ ...where, cacheDir }, store);
  await db.call("start");
  await db.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
  await db.call("repeat", "INSERT INTO t(b) VALUES(randomblob(100000))", ROWS);
  await db.call("waitUntilUploaded");
  await db.call("snapshot");
  const past = { txid: (await db.status()).uploaded, sum: await db.call("value", SUM) };
  await db.call("exec", "UPDATE t SET b = randomblob(90000) WHERE a = 7; DELETE FROM t WHERE a > 25");
  await db.call("waitUntilUploaded");
  const sum = await db.call("value", SUM);
  await db.call("close");
  await db.call("stop");
  db.end();
  const open = async (onUnknownLocal: "error" | "adopt-local" = "error") => {
    const next = worker();
    await next.create({ ...where, cacheDir, onUnknownLocal }, store);
    return next;
  };
  return { past, sum, open };
}

const saved = async (db: DbWorker, options: object) => {
  const outcome = await db.call("restore", { overwrite: true, ...options });
  return outcome as { bytesSaved: number; bytesFetched: number; position: { txid: number } };
};

test("back to the past over a database in a pool: only what differs is fetched, and start() asks", async () => {
  const { past, open } = await stopped();
  const db = await open();
  const outcome = await saved(db, { txid: past.txid });
  expect(outcome.position.txid).toBe(past.txid);
  expect(outcome.bytesSaved).toBeGreaterThan(1_000_000);
  expect(outcome.bytesFetched).toBeLessThan(2_000_000);
  await expect(db.call("start")).rejects.toMatchObject({ code: "SLUICE_UNKNOWN_LOCAL_HISTORY" });
  db.end();

  const adopting = await open("adopt-local");
  await adopting.call("start");
  expect(await adopting.call("value", "PRAGMA integrity_check")).toBe("ok");
  expect(await adopting.call("value", SUM)).toBe(past.sum);
  await adopting.call("waitUntilUploaded");
  expect((await adopting.status()).uploaded).toBeGreaterThan(past.txid + 1);
});

async function cutOff(point: string) {
  const { past, sum, open } = await stopped();
  const db = await open();
  const { ended } = await db.endAt(point);
  void db.call("restore", { overwrite: true, txid: past.txid }).catch(() => {});
  await ended;
  return { past, sum, open };
}

test("cut off before it changed anything: the old database, and start() goes on", async () => {
  const { past, sum, open } = await cutOff("restore:before-finish");
  const next = await open();
  await next.call("start");
  expect(await next.call("value", "PRAGMA integrity_check")).toBe("ok");
  expect(await next.call("value", SUM)).toBe(sum);
  await next.call("waitUntilUploaded");
  expect((await next.status()).uploaded).toBe(past.txid + 2);
});

test("cut off while it is put in place: the earlier state, whole, and start() asks", async () => {
  const { past, open } = await cutOff("restore:copying");
  const asked = await open();
  await expect(asked.call("start")).rejects.toMatchObject({ code: "SLUICE_UNKNOWN_LOCAL_HISTORY" });
  asked.end();
  const next = await open("adopt-local");
  await next.call("start");
  expect(await next.call("value", "PRAGMA integrity_check")).toBe("ok");
  expect(await next.call("value", SUM)).toBe(past.sum);
});
