import type { Database } from "@sqlite.org/sqlite-wasm";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import { oneAtATime } from "./transaction.ts";

/** Drizzle by transactions only: a query beside an open one would be part of it, and be rolled back with it. */
export function drizzleTransactions(db: Database) {
  const orm = drizzle(async (sql, bind, method) => {
    const rows = db.exec({ sql, bind, rowMode: "array", returnValue: "resultRows" });
    // No row is `undefined` to Drizzle's `get`, whatever its types say.
    return { rows: method === "get" ? (rows[0] as unknown[]) : rows };
  });
  const transaction = oneAtATime(db);
  return <T>(work: (query: typeof orm) => Promise<T>) => transaction(() => work(orm));
}
