// What a database holds, as SQL sees it: a hash over every table's rows, in the manner of SQLite's own dbhash. Plain JavaScript,
// since engines run it under a Node of their own.
import { createHash } from "node:crypto";

/**
 * @param {(sql: string) => unknown[][]} all the rows that a statement answers, as lists
 * @returns {{ integrity: unknown, pages: unknown, tables: number, hash: string }}
 */
export function contentOf(all) {
  const hash = createHash("sha256");
  const schema = all("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name");
  hash.update(JSON.stringify(schema));
  const tables = schema.filter(
    ([type, , , sql]) => type === "table" && !/^CREATE VIRTUAL/i.test(String(sql)),
  );
  for (const [, name] of tables) {
    const table = `"${String(name).replaceAll('"', '""')}"`;
    const columns = all(`PRAGMA table_xinfo(${table})`).map((column) => `quote("${column[1]}")`);
    for (const [row] of all(`SELECT ${columns.join(" || ',' || ")} AS row FROM ${table} ORDER BY row`))
      hash.update(`${name}:${row}\n`);
  }
  const [[integrity]] = all("PRAGMA integrity_check");
  const [[pages]] = all("PRAGMA page_count");
  return { integrity, pages, tables: tables.length, hash: hash.digest("hex") };
}
