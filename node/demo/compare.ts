import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import init, { type Database } from "@sqlite.org/sqlite-wasm";
import { installNodeVfs } from "../vfs.ts";
import { ACCOUNTS, OPENING_BALANCE } from "./workload.ts";

/** All that can be said about a database that nobody has open. */
export interface Inspection {
  /** Bytes. */
  readonly size: number;
  /** SHA-256 over the file: over every page. */
  readonly pagesHash: string;
  /** SHA-256 over the schema and every row of every table. */
  readonly rowsHash: string;
  readonly rows: number;
  readonly tables: number;
  /** The answer of `PRAGMA integrity_check`. */
  readonly integrity: string;
  /** The workload's last transaction, if all before it are there and the ledger's sum is what it always is. */
  readonly last: number | null;
}

export async function inspect(path: string): Promise<Inspection> {
  const { size } = statSync(path);
  const pagesHash = await hashFile(path);
  const sqlite3 = await init();
  const db = new sqlite3.oo1.DB({
    filename: path,
    flags: "w",
    vfs: installNodeVfs(sqlite3, { unsafeNoLock: false }),
  });
  try {
    // So that a database in WAL mode needs no shared memory: https://www.sqlite.org/wal.html#noshm
    db.exec("PRAGMA locking_mode=exclusive");
    const integrity = String(db.selectValue("PRAGMA integrity_check"));
    return { size, pagesHash, ...hashRows(db), integrity, last: lastTransaction(db) };
  } finally {
    db.close();
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Each value goes in with its type and length. */
function hashRows(db: Database): { rowsHash: string; rows: number; tables: number } {
  const hash = createHash("sha256");
  const schema = db.selectArrays("SELECT type, name, sql FROM sqlite_schema ORDER BY name");
  hash.update(JSON.stringify(schema));
  const tables = schema.filter(([type, , sql]) => type === "table" && !/^CREATE VIRTUAL/i.test(String(sql)));
  let rows = 0;
  for (const [, name] of tables) {
    hash.update(`\ntable ${name}\n`);
    const statement = db.prepare(`SELECT * FROM "${name}"`);
    try {
      for (; statement.step(); rows++)
        for (const value of statement.get([])) {
          const bytes = value instanceof Uint8Array ? value : Buffer.from(String(value));
          hash.update(`${value === null ? "null" : typeof value} ${bytes.length}:`).update(bytes);
        }
    } finally {
      statement.finalize();
    }
  }
  return { rowsHash: hash.digest("hex"), rows, tables: tables.length };
}

function lastTransaction(db: Database): number | null {
  const [count, last] = db.selectArray("SELECT count(*), max(n) FROM commits") as [number, number];
  const sum = db.selectValue("SELECT sum(balance) FROM accounts");
  return count === last && sum === ACCOUNTS * OPENING_BALANCE ? last : null;
}
