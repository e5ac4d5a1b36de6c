// The core in a dedicated worker, where OPFS has its synchronous handles: one scenario, answered to the page.
import init, { type Database, type SAHPoolUtil, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { checkSettings } from "../../src/config.ts";
import { Replicator } from "../../src/replicator.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../../web/compression.ts";
import { PoolPlatform } from "../../web/platform.ts";
import { MemoryCache } from "../cache/memory-cache.ts";

/** What the worker found; the test judges it. */
export interface CoreReport {
  readonly captured: number;
  readonly cached: number;
  readonly uploaded: number;
  readonly stopped: boolean;
  readonly rows: readonly unknown[];
  readonly restoredRows: readonly unknown[];
  readonly integrity: unknown;
  readonly size: number;
  readonly firstDifference: number;
  readonly inspected: readonly string[];
  readonly uploadedByCopy: number;
}

class PoolReplicator extends Replicator {
  static async create(platform: PoolPlatform, store: ObjectStore): Promise<PoolReplicator> {
    const { position } = await platform.cache.load();
    const settings = checkSettings({
      syncIntervalMs: 20,
      uploadIntervalMs: 20,
      checkpointPages: 100,
    });
    return new PoolReplicator(platform, store, settings, position);
  }
}

const ROWS = "SELECT count(*), sum(length(b)), sum(length(c)), max(a) FROM t";

async function run(): Promise<CoreReport> {
  const codecs = await loadCodecs();
  const sqlite3 = await init();
  const pool = await openPool(sqlite3);
  const store = new MemoryStore();
  const platform = (path: string) => new PoolPlatform(sqlite3, pool, codecs, new MemoryCache(), path);

  const first = platform("data.db");
  const inspected = [first.inspect()];
  const replicator = await PoolReplicator.create(first, store);
  await replicator.start();
  await write(replicator);
  await replicator.waitUntilUploaded();
  const { captured, cached, uploaded } = replicator.status();
  const rows = read(replicator);
  const { uploaded: stopped } = await replicator.stop();
  inspected.push(first.inspect());

  const second = platform("folder/../copy.db");
  const copy = await PoolReplicator.create(second, store);
  await copy.restore({ integrityCheck: "full" });
  const a = pool.exportFile("/data.db");
  const b = pool.exportFile("/copy.db");
  await copy.start();
  const restoredRows = read(copy);
  const db = copy.openDatabase();
  const integrity = db.selectValue("PRAGMA integrity_check");
  db.exec("INSERT INTO t(b, c) VALUES('after', x'00')");
  await copy.waitUntilUploaded();
  const uploadedByCopy = copy.status().uploaded;
  db.close();
  await copy.stop();
  inspected.push(second.inspect());
  await pool.removeVfs();
  return {
    captured,
    cached,
    uploaded,
    stopped,
    rows,
    restoredRows,
    integrity,
    size: a.length,
    firstDifference: a.length === b.length ? a.findIndex((byte, i) => byte !== b[i]) : a.length,
    inspected,
    uploadedByCopy,
  };
}

function openPool(sqlite3: Sqlite3Static): Promise<SAHPoolUtil> {
  return sqlite3.installOpfsSAHPoolVfs({
    directory: `/sluice-test-${crypto.randomUUID()}`,
    initialCapacity: 12,
    preserveOnInitFailure: true,
  });
}

/** Two connections, a spill, a rollback, a deletion; the loop gets a turn now and then. */
async function write(replicator: Replicator): Promise<void> {
  const db = replicator.openDatabase();
  const other = replicator.openDatabase();
  db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB); CREATE INDEX i ON t(b)");
  for (let i = 0; i < 300; i++) {
    insert(i % 3 === 0 ? other : db, i);
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
  }
  db.exec("PRAGMA cache_size=10; BEGIN");
  for (let i = 0; i < 200; i++) insert(db, i);
  db.exec("ROLLBACK");
  other.exec("DELETE FROM t WHERE a % 7 = 0");
  other.close();
  db.close();
}

function insert(db: Database, i: number): void {
  db.exec({
    sql: "INSERT INTO t(b, c) VALUES(?, randomblob(?))",
    bind: [`row ${i * 7919}`, 100 + ((i * 37) % 5000)],
  });
}

function read(replicator: Replicator): unknown[] {
  const db = replicator.openDatabase();
  try {
    return db.selectArray(ROWS) ?? [];
  } finally {
    db.close();
  }
}

run().then(
  (report) => postMessage({ report }),
  (error: unknown) => postMessage({ error: error instanceof Error ? error.stack : String(error) }),
);
