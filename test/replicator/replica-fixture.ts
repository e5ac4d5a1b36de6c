import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sqlite3InitModule, { type Database, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { expect, onTestFinished } from "vitest";
import { type ObjectStore, SqliteReplicator, type SqliteReplicatorConfig } from "../../node/index.ts";

/** Longer than any test: nothing happens by itself. */
const NEVER_MS = 2 ** 30;

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-model-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An instance of its own, which does not print the errors that random SQL is meant to run into. */
export async function quietModule(): Promise<Sqlite3Static> {
  const sqlite3 = await sqlite3InitModule();
  (sqlite3.config as { warn: () => void }).warn = () => {};
  return sqlite3;
}

/** A replicator that drains, uploads and takes snapshots only when told to, and fails the test when it raises errors. */
export async function quietReplicator(
  config: Pick<SqliteReplicatorConfig, "dbPath" | "replica" | "sqlite3"> & Partial<SqliteReplicatorConfig>,
): Promise<{ replicator: SqliteReplicator; complaints: string[] }> {
  const replicator = await SqliteReplicator.create({
    syncIntervalMs: NEVER_MS,
    uploadIntervalMs: NEVER_MS,
    snapshotIntervalSecs: 0,
    retentionSecs: 0, // every object stays
    ...config,
  });
  const complaints: string[] = [];
  replicator.addEventListener("error", ({ detail }) => complaints.push(String(detail)));
  replicator.addEventListener("fenced", ({ detail }) => complaints.push(String(detail)));
  replicator.addEventListener("resync", ({ detail }) => complaints.push(`resync: ${detail.reason}`));
  return { replicator, complaints };
}

/** A hash of each page of the state that a new transaction on `db` reads. */
export function pageHashes(sqlite3: Sqlite3Static, db: Database): string[] {
  const { capi, wasm } = sqlite3;
  const hashes: string[] = [];
  const statement = db.prepare("SELECT data FROM sqlite_dbpage('main') ORDER BY pgno");
  try {
    while (statement.step()) {
      const at = Number(capi.sqlite3_column_blob(statement, 0));
      hashes.push(hashOf(wasm.heap8u().subarray(at, at + capi.sqlite3_column_bytes(statement, 0))));
    }
  } finally {
    statement.finalize();
  }
  return hashes;
}

/** The same of a database file without a WAL. */
export function filePageHashes(path: string, pageSize: number): string[] {
  const bytes = readFileSync(path);
  const hashes: string[] = [];
  for (let at = 0; at < bytes.length; at += pageSize) hashes.push(hashOf(bytes.subarray(at, at + pageSize)));
  return hashes;
}

/** Restores a replica into a new file, checked by SQLite, and returns its pages' hashes. */
export async function restoredPages(
  sqlite3: Sqlite3Static,
  replica: ObjectStore | string,
  dbPath: string,
  pageSize: number,
): Promise<string[]> {
  const { replicator } = await quietReplicator({ dbPath, replica, sqlite3 });
  try {
    expect(await replicator.restore({ integrityCheck: "full" })).toMatchObject({ restored: true });
  } finally {
    await replicator.stop();
  }
  const hashes = filePageHashes(dbPath, pageSize);
  rmSync(dbPath);
  rmSync(`${dbPath}-sluice`, { recursive: true });
  return hashes;
}

function hashOf(page: Uint8Array): string {
  return createHash("sha1").update(page).digest("base64");
}
