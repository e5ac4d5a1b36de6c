import { afterEach, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { DbWorker } from "./db-client.ts";

const workers: DbWorker[] = [];
afterEach(() => {
  for (const worker of workers.splice(0)) worker.end();
});

const ROW = "INSERT INTO t(b) VALUES(hex(randomblob(500)))";
const SUM = "SELECT count(*) || ' ' || sum(length(b)) || ' ' || max(a) FROM t";
const QUICK = { uploadIntervalMs: 5, syncIntervalMs: 5, checkpointPages: 10 };

/** One database, and its replica, through several workers. */
class History {
  readonly store = new MemoryStore();
  directory = `/sluice-test-${crypto.randomUUID()}`;
  /** Rows whose commit was answered. */
  rows = 0;

  async worker(directory = this.directory): Promise<DbWorker> {
    const worker = new DbWorker();
    workers.push(worker);
    await worker.create({ ...QUICK, directory, onUnknownLocal: "adopt-remote" }, this.store);
    return worker;
  }

  async write(worker: DbWorker, times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      await worker.call("repeat", ROW, 3);
      this.rows += 3;
    }
  }

  /** Everything acknowledged is there, and after the next upload in the replica too. */
  async expectWhole(): Promise<void> {
    const after = await this.worker();
    await after.call("start");
    expect(await after.numbers("SELECT count(*) FROM sqlite_schema WHERE name = 't'")).toBe(1);
    expect(await after.numbers("SELECT count(*) FROM t")).toBeGreaterThanOrEqual(this.rows);
    expect(await after.call("value", "PRAGMA integrity_check")).toBe("ok");
    await after.call("exec", ROW);
    await after.call("waitUntilUploaded");
    await after.call("snapshot");
    expect((await after.status()).state).toBe("running");
    const sum = await after.call("value", SUM);
    after.end();
    const copy = await this.worker(`${this.directory}-copy`);
    await copy.call("start");
    expect(await copy.call("value", SUM)).toBe(sum);
  }
}

/** A history that was begun and stopped. */
async function begun(): Promise<History> {
  const history = new History();
  const worker = await history.worker();
  await worker.call("start");
  await worker.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
  await history.write(worker, 5);
  await worker.call("snapshot");
  await worker.call("close");
  await worker.call("stop");
  worker.end();
  return history;
}

/** The life that is to end at a point. */
const lives = {
  async writing(history: History, worker: DbWorker) {
    await worker.call("start");
    for (;;) {
      await history.write(worker, 5);
      await worker.call("exec", "PRAGMA wal_checkpoint(RESTART)");
      await worker.call("flush");
    }
  },
  async stopping(history: History, worker: DbWorker) {
    await worker.call("start");
    await history.write(worker, 5);
    await worker.call("close");
    await worker.call("stop");
  },
  async snapshotting(history: History, worker: DbWorker) {
    await worker.call("start");
    await history.write(worker, 5);
    await worker.call("snapshot");
  },
  async restoring(_: History, worker: DbWorker) {
    await worker.call("start");
  },
  async restoringOver(_: History, worker: DbWorker) {
    await worker.call("restore", { overwrite: true });
  },
};

test.each<[string, keyof typeof lives]>([
  ["drain:begin", "writing"],
  ["drain:before-commit", "writing"],
  ["drain:after-commit", "writing"],
  ["drain:before-checkpoint", "writing"],
  ["drain:after-checkpoint", "writing"],
  ["gate:drained", "writing"],
  ["upload:before-put", "writing"],
  ["upload:before-ack", "writing"],
  ["upload:after-ack", "writing"],
  ["snapshot:before-publish", "snapshotting"],
  ["snapshot:before-metadata", "snapshotting"],
  ["start:opened", "writing"],
  ["stop:before-checkpoint", "stopping"],
  ["stop:after-checkpoint", "stopping"],
  ["stop:before-record", "stopping"],
  ["restore:object", "restoring"],
  ["restore:before-page-one", "restoring"],
  ["restore:before-finish", "restoring"],
  ["restore:before-record", "restoring"],
  ["restore:before-finish", "restoringOver"],
  ["restore:marked", "restoringOver"],
  ["restore:copying", "restoringOver"],
  ["restore:before-record", "restoringOver"],
])("a worker that ends at %s, while %s, loses nothing", async (point, life) => {
  const history = await begun();
  if (life === "restoring") {
    // Evicted: a pool where nothing is.
    history.directory += "-evicted";
  }
  const worker = await history.worker();
  const { ended } = await worker.endAt(point);
  void lives[life](history, worker).catch(() => {});
  await ended;
  await history.expectWhole();
});
