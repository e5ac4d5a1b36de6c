import type { Database, PreparedStatement } from "@sqlite.org/sqlite-wasm";

/** Numbers in [0, 1), the same in every run (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A table with a secondary index over a random key: each one-row commit changes two or three pages. */
export const commitSchema = `
  CREATE TABLE events(id INTEGER PRIMARY KEY, key INTEGER NOT NULL, body TEXT NOT NULL);
  CREATE INDEX events_by_key ON events(key);`;

/** Commits `count` rows one by one and never yields. Returns milliseconds. */
export function commitRows(db: Database, count: number, seed: number): number {
  const writer = new RowWriter(db, seed);
  const ms = writer.commit(count);
  writer.end();
  return ms;
}

/** Commits rows one by one, some now and more later. */
export class RowWriter {
  readonly #random: () => number;
  readonly #insert: PreparedStatement;
  #count = 0;

  constructor(db: Database, seed: number) {
    this.#random = randomNumbers(seed);
    this.#insert = db.prepare("INSERT INTO events(key, body) VALUES(?, ?)");
  }

  /** Never yields. Returns milliseconds. */
  commit(count: number): number {
    const insert = this.#insert;
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      insert.bind(1, Math.floor(this.#random() * 2 ** 31));
      insert.bind(2, `event ${this.#count++} of a small application`);
      insert.step();
      insert.reset();
    }
    return performance.now() - began;
  }

  end(): void {
    this.#insert.finalize();
  }
}

const TEXT_POOL = 32 << 20;

/** Words by a skewed frequency, as language has them: zstd packs pages of it about two and a half times. */
export function textPool(random: () => number, bytes: number): string {
  const vocabulary = Array.from({ length: 30_000 }, () => {
    let word = "";
    const length = 2 + Math.floor(random() * 9);
    for (let i = 0; i < length; i++) word += String.fromCharCode(97 + Math.floor(random() * random() * 26));
    return word;
  });
  const words: string[] = [];
  for (let size = 0; size < bytes; ) {
    const word = vocabulary[Math.floor(random() ** 3 * vocabulary.length)]!;
    words.push(word);
    size += word.length + 1;
  }
  return words.join(" ");
}

/** Inserts rows of text until the database has grown by `bytes`. In one transaction; the caller's to commit. */
export function fillWithText(db: Database, bytes: number, seed: number): void {
  const random = randomNumbers(seed);
  const text = textPool(random, TEXT_POOL);
  db.exec("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT)");
  const insert = db.prepare("INSERT INTO notes(title, body) VALUES(?, ?)");
  for (let size = 0; size < bytes; ) {
    const length = 300 + Math.floor(random() * 1800);
    const at = Math.floor(random() * (TEXT_POOL - length - 100));
    insert.bind(1, text.slice(at, at + 40));
    insert.bind(2, text.slice(at, at + length));
    insert.step();
    insert.reset();
    size += length + 60;
  }
  insert.finalize();
}
