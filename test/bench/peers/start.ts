import { SqliteReplicator } from "../../../node/index.ts";
import { loadSqlite } from "../workload.ts";

export interface StartResult {
  /** Opening the file by the same VFS and reading its schema. */
  readonly openMs: number;
  /** `create` and `start`, up to a connection that has read the schema, less that. */
  readonly overMs: number;
}

/** What replication adds to opening a database that has nothing new. */
export async function measureStart(dbPath: string, replica: string): Promise<StartResult> {
  const { sqlite3, vfs } = await loadSqlite();
  // As a program that has run before: the JIT and the file system's cache are not what is looked for.
  for (let i = 0; i < 2; i++) await startOnce(dbPath, replica, sqlite3);
  const began = performance.now();
  const db = new sqlite3.oo1.DB({ filename: dbPath, flags: "w", vfs });
  db.exec("PRAGMA locking_mode=exclusive");
  db.selectValue("SELECT count(*) FROM sqlite_schema");
  const openMs = performance.now() - began;
  db.close();
  return { openMs, overMs: (await startOnce(dbPath, replica, sqlite3)) - openMs };
}

async function startOnce(
  dbPath: string,
  replica: string,
  sqlite3: Awaited<ReturnType<typeof loadSqlite>>["sqlite3"],
): Promise<number> {
  const began = performance.now();
  const replicator = await SqliteReplicator.create({ dbPath, replica, sqlite3, snapshotIntervalSecs: 0 });
  await replicator.start();
  const db = replicator.openDatabase();
  db.selectValue("SELECT count(*) FROM sqlite_schema");
  const ms = performance.now() - began;
  db.close();
  await replicator.stop();
  return ms;
}
