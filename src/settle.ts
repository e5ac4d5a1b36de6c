import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { LocalDatabaseError } from "./errors.ts";

/**
 * Makes an existing database one plain file, so that it can be replaced: a hot journal is rolled back, the WAL moved into
 * the main file and removed. In exclusive mode SQLite needs no shared memory for that. Nobody else may have it open.
 */
export function settleDatabase(sqlite3: Sqlite3Static, vfs: string, path: string): void {
  try {
    const db = new sqlite3.oo1.DB({ filename: path, flags: "w", vfs });
    try {
      db.exec("PRAGMA locking_mode=exclusive");
      db.selectValue("SELECT count(*) FROM sqlite_schema");
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      db.close();
    }
  } catch (cause) {
    throw new LocalDatabaseError(
      path,
      `is no database that SQLite can open, so it is not replaced. Move it away (with its -wal and -journal), then restore. ${cause}`,
      { cause },
    );
  }
}
