import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { Database } from "@sqlite.org/sqlite-wasm";
import type { Found, Note } from "./messages.ts";

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL, time INTEGER NOT NULL);
  CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content=notes, content_rowid=id);
  CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON notes BEGIN
    INSERT INTO words(rowid, text) VALUES (new.id, new.text);
  END;
  CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON notes BEGIN
    INSERT INTO words(words, rowid, text) VALUES ('delete', old.id, old.text);
  END;`;

/** Notes that a search shows at most. */
const SHOWN = 50;
/** Stands before and after a word that was found; no keyboard has it. */
const MARK = "\u0001";

/** Notes in SQLite, with full-text search. */
export class Notebook {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
    db.exec(SCHEMA);
  }

  get rows(): number {
    return this.#number("SELECT count(*) FROM notes");
  }

  /** One commit. */
  add(text: string): void {
    this.#db.exec("INSERT INTO notes(text, time) VALUES (?, ?)", { bind: [text, Date.now()] });
  }

  remove(id: number): void {
    this.#db.exec("DELETE FROM notes WHERE id = ?", { bind: [id] });
  }

  /** Notes with all of the words, or words that begin so. */
  search(text: string): Found {
    const words = text.match(/[\p{L}\p{N}]+/gu) ?? [];
    const { rows } = this;
    if (words.length === 0) {
      const notes = this.#select(`SELECT id, time, text FROM notes ORDER BY id DESC LIMIT ${SHOWN}`);
      return { notes, matches: rows, rows };
    }
    const query = words.map((word) => `"${word}"*`).join(" ");
    const notes = this.#select(
      `SELECT rowid, (SELECT time FROM notes WHERE id = words.rowid), highlight(words, 0, ?1, ?1)
       FROM words WHERE words MATCH ?2 ORDER BY rowid DESC LIMIT ${SHOWN}`,
      [MARK, query],
    );
    return { notes, matches: this.#number("SELECT count(*) FROM words WHERE words MATCH ?", [query]), rows };
  }

  /** SHA-256 over all rows, a line each. Two notebooks with one fingerprint hold the same. */
  fingerprint(): string {
    const hash = sha256.create();
    const text = new TextEncoder();
    this.#db.exec("SELECT id || '|' || text || '|' || time || char(10) FROM notes ORDER BY id", {
      rowMode: 0,
      callback: (line) => void hash.update(text.encode(String(line))),
    });
    return bytesToHex(hash.digest());
  }

  #select(sql: string, bind?: string[]): Note[] {
    const found = this.#db.exec(sql, { ...(bind && { bind }), rowMode: "array", returnValue: "resultRows" });
    return found.map(([id, time, text]) => ({
      id: Number(id),
      time: Number(time),
      pieces: String(text).split(MARK),
    }));
  }

  #number(sql: string, bind?: string[]): number {
    return Number(this.#db.selectValue(sql, bind));
  }
}
