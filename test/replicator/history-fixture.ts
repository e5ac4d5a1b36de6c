/** A replica with a snapshot and segments of one transaction each, and another that parted from it on the way. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { SqliteReplicator, type SqliteReplicatorConfig } from "../../node/index.ts";

const NEVER_MS = 2 ** 30;
const COMMON = 3;
const SEGMENTS = 7;

export interface ForkedHistory {
  readonly folder: string;
  readonly replica: string;
  /** The same up to transaction 3, then another. */
  readonly fork: string;
  /** The database at the end of `replica`. */
  readonly content: Buffer;
}

export function createQuietly(
  config: Pick<SqliteReplicatorConfig, "dbPath" | "replica"> & Partial<SqliteReplicatorConfig>,
): Promise<SqliteReplicator> {
  return SqliteReplicator.create({
    syncIntervalMs: NEVER_MS,
    uploadIntervalMs: NEVER_MS,
    snapshotIntervalSecs: 0,
    retentionSecs: 0, // every object stays
    ...config,
  });
}

/** The folder is the caller's to remove. */
export async function forkedHistory(): Promise<ForkedHistory> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-restore-"));
  const [one, two] = [join(folder, "one"), join(folder, "two")];
  execFileSync("mkdir", [one]);
  await extend(one, 1, COMMON, "common");
  execFileSync("cp", ["-a", one, two]);
  await extend(one, COMMON + 1, SEGMENTS, "one");
  await extend(two, COMMON + 1, SEGMENTS, "two");
  return {
    folder,
    replica: join(one, "replica"),
    fork: join(two, "replica"),
    content: readFileSync(join(one, "live.db")),
  };
}

async function extend(folder: string, first: number, last: number, word: string): Promise<void> {
  const replicator = await createQuietly({
    dbPath: join(folder, "live.db"),
    replica: `file://${folder}/replica`,
  });
  await replicator.start();
  await replicator.flush();
  if (first === 1) await replicator.snapshot();
  const db = replicator.openDatabase();
  for (let txid = first; txid <= last; txid++) {
    commit(db, txid, word);
    await replicator.flush();
  }
  db.close();
  await replicator.stop();
}

/** The first one is large: its segment has a block of 256 KiB. */
function commit(db: Database, txid: number, word: string): void {
  db.exec("BEGIN");
  db.exec("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, word, body)");
  const rows = txid === 1 ? 500 : 5;
  for (let i = 0; i < rows; i++)
    db.exec({ sql: "INSERT INTO t(word, body) VALUES(?, randomblob(1000))", bind: [`${word} ${txid}`] });
  db.exec("COMMIT");
}

/** Every file below a folder, by a hash of its contents; folders, by their names. */
export function hashFolder(folder: string): Record<string, string> {
  const hashes: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const path = join(folder, name);
    hashes[name] = statSync(path).isFile()
      ? createHash("sha256").update(readFileSync(path)).digest("hex")
      : "folder";
  }
  return hashes;
}

export function objectKeys(replica: string, prefix: string): string[] {
  return readdirSync(join(replica, prefix))
    .sort()
    .map((name) => join(prefix, name));
}
