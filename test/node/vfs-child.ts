/** What the tests run in other processes. Each prints a line when it stands where it should, and then stays. */
import sqlite3InitModule from "@sqlite.org/sqlite-wasm";
import { acquireDatabaseLock, acquireFileLock } from "../../node/lock.ts";
import { installNodeVfs, installSharedNodeVfs } from "../../node/vfs.ts";

/** Stands in the middle of a transaction, with a synced journal and half-written pages in the database file. */
export async function writeHalf(filename: string, install = installNodeVfs): Promise<void> {
  const sqlite3 = await sqlite3InitModule();
  const db = new sqlite3.oo1.DB({ filename, flags: "w", vfs: install(sqlite3) });
  db.exec("PRAGMA cache_size=5; BEGIN; UPDATE t SET b = zeroblob(2000) WHERE a % 2");
  ready();
}

export function writeHalfShared(filename: string): Promise<void> {
  return writeHalf(filename, installSharedNodeVfs);
}

export function holdDatabase(path: string): void {
  acquireDatabaseLock(path);
  ready();
}

export function holdFile(path: string): void {
  acquireFileLock(path);
  ready();
}

function ready(): void {
  process.stdout.write("ready\n");
  setInterval(() => {}, 1 << 30);
}
