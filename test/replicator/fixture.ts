import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { afterEach } from "vitest";
import { type ObjectStore, SqliteReplicator, type SqliteReplicatorConfig } from "../../node/index.ts";

/** A folder that is gone after the test, and replicators that are stopped. */
export function useReplicators() {
  const folders: string[] = [];
  const running: SqliteReplicator[] = [];
  afterEach(async () => {
    for (const replicator of running.splice(0)) await replicator.stop().catch(() => undefined);
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder(): string {
      const folder = mkdtempSync(join(tmpdir(), "sluice-test-"));
      folders.push(folder);
      return folder;
    },
    /** Short intervals, so that events and not timers decide how long a test takes. */
    async create(
      dbPath: string,
      replica: string | ObjectStore | undefined,
      config: Partial<SqliteReplicatorConfig> = {},
    ) {
      const replicator = await SqliteReplicator.create({
        dbPath,
        ...(replica !== undefined && { replica }),
        syncIntervalMs: 5,
        uploadIntervalMs: 0,
        stopTimeoutMs: 5000,
        ...config,
      });
      running.push(replicator);
      return replicator;
    },
  };
}

/** Resolves with the detail of the next event of a kind. */
export function next<K extends Parameters<SqliteReplicator["addEventListener"]>[0]>(
  replicator: SqliteReplicator,
  type: K,
): Promise<unknown> {
  return new Promise((resolve) =>
    replicator.addEventListener(type, (event) => resolve(event.detail), { once: true }),
  );
}

/** Everything in the table `t`, in order. */
export function rows(db: Database): unknown[] {
  return db.selectValues("SELECT b FROM t ORDER BY a");
}

export function insert(db: Database, text: string): void {
  db.exec({ sql: "INSERT INTO t(b) VALUES (?)", bind: [text] });
}

export function createTable(db: Database): void {
  db.exec("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)");
}
