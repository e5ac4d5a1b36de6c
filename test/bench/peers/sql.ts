import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";

/** Where install.js put them; npm runs scripts in the package's root. */
export const peersFolder = resolve("test/bench/peers");

export type Value = number | string | Uint8Array;

/** What a workload needs of a connection, so that the same statements run in WebAssembly and natively. */
export interface Sql {
  exec(sql: string): void;
  prepare(sql: string): (...values: Value[]) => void;
  close(): void;
}

/** Bytes of page cache that every connection gets: what better-sqlite3 has by default. */
const setUp = "PRAGMA cache_size=-16000; PRAGMA wal_autocheckpoint=1000";

export function wasmSql(db: Database): Sql {
  db.exec(setUp);
  const statements: { finalize(): unknown }[] = [];
  return {
    exec: (sql) => void db.exec(sql),
    prepare(sql) {
      const statement = db.prepare(sql);
      statements.push(statement);
      return (...values) => {
        for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i]!);
        statement.step();
        statement.reset();
      };
    },
    close() {
      for (const statement of statements) statement.finalize();
      db.close();
    },
  };
}

interface NativeDatabase {
  exec(sql: string): void;
  prepare(sql: string): { run(...values: Value[]): void; pluck(): { get(): unknown } };
  close(): void;
}

function openNative(path: string): NativeDatabase {
  const require = createRequire(join(peersFolder, "package.json"));
  return new (require("better-sqlite3"))(path);
}

export function nativeSql(path: string): Sql {
  const db = openNative(path);
  db.exec(setUp);
  return {
    exec: (sql) => db.exec(sql),
    prepare(sql) {
      const statement = db.prepare(sql);
      return (...values) => statement.run(...values);
    },
    close: () => db.close(),
  };
}

/** One value that a query answers, natively. */
export function nativeValue(path: string, sql: string): unknown {
  const db = openNative(path);
  try {
    return db.prepare(sql).pluck().get();
  } finally {
    db.close();
  }
}
