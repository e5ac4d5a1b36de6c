import sqlite3InitModule, { type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { installNodeVfs } from "../../node/vfs.ts";
import { commitSchema, fillWithText } from "./rows.ts";

export * from "./rows.ts";

/** A module instance with the Node VFS: the same one for the whole process. */
export function loadSqlite(): Promise<{ readonly sqlite3: Sqlite3Static; readonly vfs: string }> {
  loaded ??= sqlite3InitModule().then((sqlite3) => ({ sqlite3, vfs: installNodeVfs(sqlite3) }));
  return loaded;
}

let loaded: ReturnType<typeof loadSqlite> | undefined;

/** Before anything replicates it: sqlite-wasm would give it pages of 8192 bytes. */
export async function createDatabase(path: string, schema: string): Promise<void> {
  const { sqlite3, vfs } = await loadSqlite();
  const db = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs });
  db.exec(`PRAGMA page_size=4096; ${schema}`);
  db.close();
}

/** Of a database file are rows; the rest is what SQLite leaves free in its pages. */
const ROW_SHARE = 0.86;

/** A database file of about `bytes`, made by the Node VFS without any journal. */
export async function makeDatabase(path: string, bytes: number): Promise<void> {
  const { sqlite3, vfs } = await loadSqlite();
  const db = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs });
  db.exec("PRAGMA page_size=4096; PRAGMA journal_mode=off; PRAGMA synchronous=off; BEGIN");
  db.exec(commitSchema);
  fillWithText(db, bytes * ROW_SHARE, 1);
  db.exec("COMMIT");
  db.close();
}
