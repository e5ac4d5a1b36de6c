import { statSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { expect, test } from "vitest";
import type { SqliteReplicator } from "../../node/index.ts";
import { useReplicators } from "./fixture.ts";

const MiB = 2 ** 20;
const { folder, create } = useReplicators();

/** A replicator whose loop is quiet, so that only the gate drains. */
async function open(): Promise<{ replicator: SqliteReplicator; db: Database; path: string }> {
  const dir = folder();
  const path = join(dir, "app.db");
  const replicator = await create(path, `file://${dir}/replica`, { syncIntervalMs: 3_600_000 });
  await replicator.start();
  await replicator.snapshot();
  const db = replicator.openDatabase();
  db.exec("PRAGMA wal_autocheckpoint=10; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  return { replicator, db, path };
}

function commit(db: Database, bytes: number): void {
  for (let done = 0; done < bytes; done += 100_000) db.exec("INSERT INTO t(b) VALUES(randomblob(100000))");
}

test.each([
  ["NORMAL", 15, 32],
  ["FULL", 15, 32],
])(
  "commits that do not wait for the loop pay for no drain until the WAL is large: %s",
  async (mode, none, largest) => {
    const { replicator, db, path } = await open();
    db.exec(`PRAGMA synchronous=${mode}`);
    const { cached } = replicator.status();
    commit(db, none * MiB);
    expect(replicator.status().cached).toBe(cached);
    commit(db, 4 * none * MiB);
    expect(replicator.status().cached).toBeGreaterThan(cached);
    expect(statSync(`${path}-wal`).size).toBeLessThan(largest * MiB);
    db.close();
  },
);

test.each(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])(
  "PRAGMA wal_checkpoint(%s) is never refused",
  async (mode) => {
    const { replicator, db } = await open();
    commit(db, 2 * MiB);
    const [busy, frames, done] = db.selectArray(`PRAGMA wal_checkpoint(${mode})`) as number[];
    expect(busy).toBe(0);
    expect(done).toBe(frames);
    const { cached, captured } = replicator.status();
    expect(cached).toBe(captured);
    db.close();
  },
);
