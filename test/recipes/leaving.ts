import sqlite3InitModule, { type Database } from "@sqlite.org/sqlite-wasm";
import type { SqliteReplicator } from "../../web/index.ts";

/** Ends replication, and opens the same database with sqlite-wasm alone. The app has closed its connections. */
export async function leave(replicator: SqliteReplicator): Promise<Database> {
  await replicator.detach();
  const sqlite3 = await sqlite3InitModule();
  const pool = await sqlite3.installOpfsSAHPoolVfs({ directory: ".sluice", preserveOnInitFailure: true });
  pool.unlink("/app.db-sluice"); // what waited for upload
  return new pool.OpfsSAHPoolDb("/app.db");
}
