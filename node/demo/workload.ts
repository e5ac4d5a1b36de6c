import type { Database } from "@sqlite.org/sqlite-wasm";
import type { InputFile } from "./input.ts";

/** Accounts of the ledger; transfers keep their sum. */
export const ACCOUNTS = 1000;
export const OPENING_BALANCE = 1000;

const SCHEMA = `
  CREATE TABLE commits(n INTEGER PRIMARY KEY, what TEXT NOT NULL);
  CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, package TEXT NOT NULL, size INTEGER NOT NULL,
    content BLOB NOT NULL);
  CREATE INDEX files_by_package ON files(package, size);
  CREATE VIRTUAL TABLE search USING fts5(path, content, content='', contentless_delete=1);
  CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
  CREATE TABLE transfers(id INTEGER PRIMARY KEY, source INTEGER NOT NULL, target INTEGER NOT NULL, amount INTEGER NOT NULL,
    note TEXT NOT NULL);
  CREATE INDEX transfers_by_account ON transfers(source, target);
  CREATE TABLE uploads(name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
`;

/**
 * The demo's application: files with a full-text index, a ledger whose sum never changes, binary uploads. Each transaction
 * inserts its number into `commits`, so what is missing after a crash shows as a gap or an early end.
 */
export class Workload {
  readonly #db: Database;
  #random = 1;
  /** The last number that was committed. */
  n: number;

  constructor(db: Database) {
    this.#db = db;
    if (db.selectValue("SELECT count(*) FROM sqlite_schema") === 0) {
      db.exec("PRAGMA cache_size=-8000");
      db.transaction(() => {
        db.exec(SCHEMA);
        for (let id = 1; id <= ACCOUNTS; id++)
          db.exec({ sql: "INSERT INTO accounts VALUES(?, ?)", bind: [id, OPENING_BALANCE] });
      });
    }
    this.n = Number(db.selectValue("SELECT coalesce(max(n), 0) FROM commits"));
    this.#random += this.n;
  }

  addFile(file: InputFile): void {
    const { path, content } = file;
    this.#commit(`add ${path}`, (db) => {
      db.exec({
        sql: "INSERT INTO files(path, package, size, content) VALUES(?, ?, ?, ?)",
        bind: [path, file.package, content.length, content],
      });
      if (typeof content === "string")
        db.exec({
          sql: "INSERT INTO search(rowid, path, content) VALUES(last_insert_rowid(), ?, ?)",
          bind: [path, content],
        });
    });
  }

  /** One transaction of the mix: mostly transfers, sometimes an upload, a change to a file, a deletion. */
  step(): void {
    const kind = this.#below(20);
    if (kind < 15) this.#transfer();
    else if (kind < 17) this.#upload();
    else if (kind < 19) this.#edit();
    else this.#remove();
  }

  /** One large transaction, for a crash in its middle; `between` is called now and then. */
  bulk(rows: number, between: () => void): void {
    this.#commit("bulk", (db) => {
      for (let i = 0; i < rows; i++) {
        db.exec({ sql: "INSERT INTO uploads VALUES(?, randomblob(2000))", bind: [`bulk ${this.n} ${i}`] });
        if (i % 500 === 0) between();
      }
    });
  }

  #transfer(): void {
    const [source, target, amount] = [1 + this.#below(ACCOUNTS), 1 + this.#below(ACCOUNTS), this.#below(50)];
    this.#commit("transfer", (db) => {
      db.exec({ sql: "UPDATE accounts SET balance = balance - ? WHERE id = ?", bind: [amount, source] });
      db.exec({ sql: "UPDATE accounts SET balance = balance + ? WHERE id = ?", bind: [amount, target] });
      db.exec({
        sql: "INSERT INTO transfers(source, target, amount, note) VALUES(?, ?, ?, ?)",
        bind: [source, target, amount, `transfer of ${amount} from ${source} to ${target}`],
      });
    });
  }

  #upload(): void {
    const name = `upload ${this.#below(100)}`;
    this.#commit(name, (db) => {
      db.exec({
        sql: "INSERT OR REPLACE INTO uploads VALUES(?, randomblob(?))",
        bind: [name, this.#below(60_000)],
      });
    });
  }

  #edit(): void {
    this.#withFile((id, path) => {
      const text = `edited in transaction ${this.n + 1}: ${path}`;
      this.#commit("edit", (db) => {
        db.exec({
          sql: "UPDATE files SET content = ?, size = ? WHERE id = ?",
          bind: [text, text.length, id],
        });
        db.exec({ sql: "DELETE FROM search WHERE rowid = ?", bind: [id] });
        db.exec({ sql: "INSERT INTO search(rowid, path, content) VALUES(?, ?, ?)", bind: [id, path, text] });
      });
    });
  }

  #remove(): void {
    this.#withFile((id) => {
      this.#commit("remove", (db) => {
        db.exec({ sql: "DELETE FROM files WHERE id = ?", bind: [id] });
        db.exec({ sql: "DELETE FROM search WHERE rowid = ?", bind: [id] });
      });
    });
  }

  #withFile(change: (id: number, path: string) => void): void {
    const last = Number(this.#db.selectValue("SELECT max(id) FROM files"));
    const row = this.#db.selectArray(
      "SELECT id, path FROM files WHERE id >= ? AND typeof(content) = 'text' LIMIT 1",
      [this.#below(last)],
    );
    if (row !== undefined) change(Number(row[0]), String(row[1]));
  }

  #commit(what: string, change: (db: Database) => void): void {
    this.#db.transaction((db) => {
      change(db);
      db.exec({ sql: "INSERT INTO commits VALUES(?, ?)", bind: [this.n + 1, what] });
    });
    this.n += 1;
  }

  /** A whole number below `limit`, the same in every run (a linear congruential generator, Numerical Recipes). */
  #below(limit: number): number {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#random / 2 ** 32) * limit);
  }
}
