import { join } from "node:path";
import { MemoryStore, type ObjectStore, type SqliteReplicatorConfig } from "../../node/index.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, rows, useReplicators } from "./fixture.ts";

/** Writers of one replica, whose store may lose what they uploaded. */
export function useWriters() {
  const use = useReplicators();
  async function started(dbPath: string, store: ObjectStore, config: Partial<SqliteReplicatorConfig> = {}) {
    const replicator = await use.create(dbPath, store, config);
    await replicator.start();
    const db = replicator.openDatabase();
    createTable(db);
    return { replicator, db };
  }
  return {
    use,
    started,
    async contents(dbPath: string, store: ObjectStore): Promise<unknown[]> {
      const replicator = await use.create(dbPath, store);
      await replicator.start();
      const db = replicator.openDatabase();
      const found = rows(db);
      db.close();
      await replicator.stop();
      return found;
    },
    /** A writer whose last three segments are uploaded. */
    async running() {
      const folder = use.folder();
      const path = join(folder, "a.db");
      const store = new MemoryStore();
      const network = new FaultyStore(store);
      const a = await started(path, network, { stopTimeoutMs: 0 });
      insert(a.db, "common");
      await a.replicator.snapshot();
      for (const text of ["a 1", "a 2", "a 3"]) {
        insert(a.db, text);
        await a.replicator.waitUntilUploaded();
      }
      return { folder, path, store, network, a };
    },
    /** Another writer, restored from what the store holds. */
    async goOn(
      { folder, store }: { folder: string; store: ObjectStore },
      texts: readonly string[] = ["by b"],
    ): Promise<void> {
      const b = await started(join(folder, "b.db"), store);
      for (const text of texts) {
        insert(b.db, text);
        await b.replicator.waitUntilUploaded();
      }
      b.db.close();
      await b.replicator.stop();
    },
  };
}

export async function loseEnd(store: ObjectStore): Promise<void> {
  await store.delete((await keysBelow(store, "wal/0/")).slice(-3));
}

export async function keysBelow(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}
