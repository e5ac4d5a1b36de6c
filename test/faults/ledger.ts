import type { Database } from "@sqlite.org/sqlite-wasm";
import type { Random } from "./random.ts";

/** Rows that only ever come, numbered without a gap, and the sum of their bytes: half a transaction shows. */
export function checkLedger(db: Database, lastRow: number): void {
  requireThat(db.selectValue("PRAGMA integrity_check") === "ok", "integrity");
  if (db.selectValue("SELECT count(*) FROM sqlite_schema WHERE name = 't'") === 0)
    db.exec(`
      BEGIN;
      CREATE TABLE t(n INTEGER PRIMARY KEY, body BLOB);
      CREATE INDEX t_size ON t(length(body), n);
      CREATE TABLE total(bytes INTEGER);
      INSERT INTO total VALUES(0);
      COMMIT`);
  const [count, last, bytes, total] = db.selectArray(
    "SELECT count(*), ifnull(max(n), 0), ifnull(sum(length(body)), 0), (SELECT bytes FROM total) FROM t",
  ) as number[];
  requireThat(count === last, `${count} rows up to ${last}`);
  requireThat(last! >= lastRow, `row ${last}, acknowledged were ${lastRow}`);
  requireThat(bytes === total, `half of a transaction: ${bytes} bytes of ${total}`);
}

export function requireThat(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

/** Adds rows and changes some. Returns the last row's number. */
export function transaction(db: Database, random: Random): number {
  db.exec("BEGIN IMMEDIATE");
  let row = Number(db.selectValue("SELECT ifnull(max(n), 0) FROM t"));
  let grown = 0;
  for (let i = random.spread(12); i > 0; i--) {
    const body = random.bytes(someSize(random));
    db.exec({ sql: "INSERT INTO t VALUES(?, ?)", bind: [++row, body] });
    grown += body.length;
  }
  for (let i = random.integer(0, 3); i > 0; i--) {
    const at = random.integer(1, row);
    const body = random.bytes(random.chance(0.5) ? 0 : someSize(random));
    grown += body.length - Number(db.selectValue("SELECT length(body) FROM t WHERE n = ?", [at]));
    db.exec({ sql: "UPDATE t SET body = ? WHERE n = ?", bind: [body, at] });
  }
  db.exec({ sql: "UPDATE total SET bytes = bytes + ?", bind: [grown] });
  db.exec("COMMIT");
  return row;
}

export function spillAndRollBack(db: Database): void {
  db.exec("BEGIN IMMEDIATE; UPDATE t SET body = zeroblob(length(body) + 1000)");
  db.exec("ROLLBACK");
}

function someSize(random: Random): number {
  return random.chance(0.05) ? random.integer(5_000, 40_000) : random.integer(0, 600);
}
