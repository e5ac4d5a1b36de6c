// Measures in a dedicated worker, over an opfs-sahpool: with replication, and without in the modes that a pool has.
import init, { type Database, type SAHPoolUtil, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { MemoryStore, SqliteReplicator } from "../../../web/index.ts";
import { type Port, Remote } from "../../web/remote.ts";
import { commitRows, commitSchema, fillWithText, randomNumbers } from "../rows.ts";

export type Variant = "replicated" | "wal-exclusive" | "journal";

const PATH = "/bench.db";

/** Takes snapshots and forgets them: to keep 100 MB in one piece would stall the worker, and not for our reasons. */
class SinkStore extends MemoryStore {
  override async putStream(key: string, body: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const _ of body);
    await this.put(key, new Uint8Array());
  }
}

let sqlite3: Sqlite3Static;
let pool: SAHPoolUtil;
let replicator: SqliteReplicator | null = null;
let db: Database;

/** A fresh pool with a database of 4096-byte pages, opened as the variant says. */
async function open(variant: Variant, synchronous: string, megabytes: number): Promise<void> {
  sqlite3 = await init();
  const directory = `/sluice-bench-${crypto.randomUUID()}`;
  pool = await sqlite3.installOpfsSAHPoolVfs({ name: directory, directory, initialCapacity: 12 });
  const made = new pool.OpfsSAHPoolDb(PATH);
  made.exec(`PRAGMA page_size=4096; PRAGMA journal_mode=off; BEGIN; ${commitSchema}`);
  if (megabytes > 0) fillWithText(made, megabytes << 20, 1);
  made.exec("COMMIT");
  made.close();
  if (variant === "replicated") {
    replicator = await SqliteReplicator.create({ dbPath: PATH, replica: new SinkStore(), sqlite3, pool });
    const first = new Promise<void>((resolve) =>
      replicator!.addEventListener("snapshot", () => resolve(), { once: true }),
    );
    await replicator.start();
    await first;
    db = replicator.openDatabase();
  } else {
    db = new pool.OpfsSAHPoolDb(PATH);
    if (variant === "wal-exclusive") db.exec("PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal");
    else db.exec("PRAGMA journal_mode=delete");
  }
  db.exec(`PRAGMA synchronous=${synchronous}`);
}

/** Milliseconds for `count` transactions of `rows` rows each. */
function commits(count: number, rows: number, seed: number): number {
  if (rows === 1) return commitRows(db, count, seed);
  const began = performance.now();
  for (let i = 0; i < count; i++) {
    db.exec("BEGIN");
    commitRows(db, rows, seed + i);
    db.exec("COMMIT");
  }
  return performance.now() - began;
}

function pointReads(count: number): number {
  const random = randomNumbers(3);
  const last = Number(db.selectValue("SELECT max(id) FROM notes"));
  const select = db.prepare("SELECT length(body) FROM notes WHERE id = ?");
  const began = performance.now();
  for (let i = 0; i < count; i++) {
    select.bind(1, 1 + Math.floor(random() * last));
    select.step();
    select.reset();
  }
  const ms = performance.now() - began;
  select.finalize();
  return ms;
}

function scan(): number {
  const began = performance.now();
  db.selectValue("SELECT sum(length(body)) FROM notes");
  return performance.now() - began;
}

function commitOne(i: number): void {
  db.exec({ sql: "INSERT INTO events(key, body) VALUES(?, ?)", bind: [i, "one row"] });
}

async function close(): Promise<void> {
  db.close();
  await replicator?.stop();
  replicator = null;
  await pool.removeVfs();
}

const calls = { open, commits, pointReads, scan, commitOne, close, snapshot: () => replicator!.snapshot() };
export type BenchCalls = typeof calls;

const call = (name: keyof BenchCalls, ...args: unknown[]) =>
  (calls[name] as (...all: unknown[]) => unknown)(...args);
new Remote(globalThis as unknown as Port, call as never);
