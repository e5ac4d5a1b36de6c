import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { MemoryStore } from "../../node/index.ts";
import { useReplicators } from "../replicator/fixture.ts";

/** Replicated databases, each restored elsewhere to see what came over. */
export function useReplicated() {
  const replicators = useReplicators();
  return {
    async open() {
      const store = new MemoryStore();
      const first = await replicators.create(join(replicators.folder(), "app.db"), store);
      await first.start();
      const db = first.openDatabase();
      /** All rows of a query, in a database that was restored from the replica. */
      const restored = async (sql: string) => {
        await first.waitUntilUploaded();
        const second = await replicators.create(join(replicators.folder(), "app.db"), store);
        await second.start();
        const copy: Database = second.openDatabase();
        const rows = copy.selectArrays(sql);
        copy.close();
        return rows;
      };
      return { replicator: first, db, restored };
    },
  };
}

/** Turns of the event loop, so that what is not kept apart has time to mix. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
