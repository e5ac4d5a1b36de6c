import type { BindingSpec, Database } from "@sqlite.org/sqlite-wasm";
import { SqliteDialect } from "kysely";

/** One connection. Kysely runs transactions on it one after the other, and closes it with `destroy`. */
export function kyselyDialect(db: Database): SqliteDialect {
  const prepare = (sql: string) => {
    const all = (bind: unknown) =>
      db.exec({ sql, bind: bind as BindingSpec, rowMode: "object", returnValue: "resultRows" });
    return {
      reader: returnsRows(db, sql),
      all,
      run(bind: unknown) {
        const before = db.changes(true);
        all(bind);
        const changes = db.changes(true) === before ? 0 : db.changes();
        return { changes, lastInsertRowid: db.selectValue("SELECT last_insert_rowid()") as number | bigint };
      },
      iterate(): never {
        throw new Error(
          "stream() would keep all others waiting; use execute(), with limit() where it is much",
        );
      },
    };
  };
  return new SqliteDialect({ database: { prepare, close: () => db.close() } });
}

function returnsRows(db: Database, sql: string): boolean {
  const statement = db.prepare(sql);
  try {
    return statement.columnCount > 0;
  } finally {
    statement.finalize();
  }
}
