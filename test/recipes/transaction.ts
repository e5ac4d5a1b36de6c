import type { Database } from "@sqlite.org/sqlite-wasm";

/**
 * Runs transactions on one connection, one after the other, so that what one does between two awaits is not mixed with
 * another. All statements have to come by it, and a transaction within a transaction would wait for ever.
 */
export function oneAtATime(db: Database) {
  let last: Promise<unknown> = Promise.resolve();
  return function transaction<T>(work: (db: Database) => T | Promise<T>): Promise<T> {
    const result = last.then(async () => {
      db.exec("BEGIN IMMEDIATE");
      try {
        const result = await work(db);
        db.exec("COMMIT");
        return result;
      } catch (error) {
        rollBack(db);
        throw error;
      }
    });
    last = result.catch(() => undefined);
    return result;
  };
}

function rollBack(db: Database): void {
  try {
    db.exec("ROLLBACK");
  } catch {
    // SQLite has done so itself. Otherwise the next BEGIN fails.
  }
}
