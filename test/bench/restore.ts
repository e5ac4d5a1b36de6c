import { SqliteReplicator } from "../../node/index.ts";
import { peakRss } from "./probe.ts";
import { loadSqlite } from "./workload.ts";

export interface RestoreResult {
  readonly ms: number;
  readonly peakRss: number;
}

/** Restores into a new file, without the integrity check. */
export async function measureRestore(dbPath: string, replica: string): Promise<RestoreResult> {
  const replicator = await SqliteReplicator.create({ dbPath, replica });
  const began = performance.now();
  const outcome = await replicator.restore({ integrityCheck: "none" });
  const ms = performance.now() - began;
  if (!outcome.restored) throw new Error(`not restored: ${outcome.reason}`);
  const peak = peakRss();
  await replicator.stop();
  return { ms, peakRss: peak };
}

/** What `integrityCheck` adds to a restore. */
export async function measureCheck(dbPath: string, check: "quick" | "full"): Promise<RestoreResult> {
  const { sqlite3, vfs } = await loadSqlite();
  const db = new sqlite3.oo1.DB({ filename: dbPath, flags: "w", vfs });
  db.exec("PRAGMA locking_mode=exclusive"); // a restored database is in WAL mode, and there is no shared memory here
  const began = performance.now();
  const answer = db.selectValue(check === "quick" ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)");
  const ms = performance.now() - began;
  db.close();
  if (answer !== "ok") throw new Error(`the restored database is damaged: ${answer}`);
  return { ms, peakRss: peakRss() };
}
