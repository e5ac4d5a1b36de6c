import { commitSchema, randomNumbers, textPool } from "../rows.ts";
import type { Sql } from "./sql.ts";

/** What applications do, each a schema and transactions over it; the same in every engine and run. */
export interface Workload {
  readonly synchronous: "NORMAL" | "FULL";
  /** Transactions of one run. */
  readonly count: number;
  /** Tables, and the rows that were there before; about `bytes` of them where the workload works on a large database. */
  fill(sql: Sql, bytes: number): void;
  /** Makes ready what is not to be measured. What it returns commits transaction `i`, from 0, and never yields. */
  begin(sql: Sql): (i: number) => void;
}

function transactions(sql: Sql): { readonly begin: () => void; readonly commit: () => void } {
  return { begin: sql.prepare("BEGIN IMMEDIATE"), commit: sql.prepare("COMMIT") };
}

/** Rows of one-row commits with a random key: each changes two or three pages. */
const smallCommits = {
  fill: (sql: Sql) => sql.exec(commitSchema),
  begin(sql: Sql) {
    const random = randomNumbers(7);
    const insert = sql.prepare("INSERT INTO events(key, body) VALUES(?, ?)");
    return (i: number) => {
      insert(Math.floor(random() * 2 ** 31), `event ${i} of a small application`);
    };
  },
};

/** Large enough that zstd finds no row again. */
const TEXT_BYTES = 8 << 20;
const ITEM_BYTES = 330;

/** An order of one or two lines: written, the stock taken, the district's total kept, as TPC-C has it. Four or five pages. */
const orders = {
  fill(sql: Sql, bytes: number) {
    sql.exec(`
      CREATE TABLE district(id INTEGER PRIMARY KEY, next_order INTEGER NOT NULL, total INTEGER NOT NULL);
      CREATE TABLE stock(id INTEGER PRIMARY KEY, quantity INTEGER NOT NULL, sold INTEGER NOT NULL, about TEXT NOT NULL);
      CREATE TABLE orders(id INTEGER PRIMARY KEY, district INTEGER NOT NULL, customer INTEGER NOT NULL, at TEXT NOT NULL);
      CREATE TABLE line(order_id INTEGER, number INTEGER, item INTEGER, quantity INTEGER, amount INTEGER,
        PRIMARY KEY(order_id, number)) WITHOUT ROWID;`);
    for (let id = 1; id <= 10; id++) sql.exec(`INSERT INTO district VALUES(${id}, 1, 0)`);
    const random = randomNumbers(11);
    const text = textPool(random, TEXT_BYTES);
    const insert = sql.prepare("INSERT INTO stock(quantity, sold, about) VALUES(?, 0, ?)");
    for (let i = 0; i < bytes / ITEM_BYTES; i++) {
      const at = Math.floor(random() * (text.length - 300));
      insert(100, text.slice(at, at + 300));
    }
  },
  begin(sql: Sql) {
    const random = randomNumbers(13);
    const { begin, commit } = transactions(sql);
    const order = sql.prepare("INSERT INTO orders(district, customer, at) VALUES(?, ?, ?)");
    const line = sql.prepare("INSERT INTO line VALUES((SELECT max(id) FROM orders), ?, ?, ?, ?)");
    // A few goods sell most, and rowids were given in order: the power keeps to the first of them.
    const take = sql.prepare(`UPDATE stock SET quantity = quantity - ?, sold = sold + ?
      WHERE id = 1 + CAST(? * (SELECT max(id) - 1 FROM stock) AS INTEGER)`);
    const total = sql.prepare(
      "UPDATE district SET next_order = next_order + 1, total = total + ? WHERE id = ?",
    );
    return (i: number) => {
      const district = 1 + Math.floor(random() * 10);
      begin();
      order(district, Math.floor(random() * 30_000), `2026-01-01 ${i}`);
      for (let number = 1; number <= 1 + (i % 2); number++) {
        const item = random() ** 4;
        take(1 + (i % 5), 1 + (i % 5), item);
        line(number, Math.floor(item * 1e6), 1 + (i % 5), 100 + number);
      }
      total(500, district);
      commit();
    };
  },
};

const BULK_ROWS = 20_000;

/** Rows by the ten thousands in one transaction. */
const bulk = {
  fill: (sql: Sql) => sql.exec("CREATE TABLE import(id INTEGER PRIMARY KEY, title TEXT, body TEXT)"),
  begin(sql: Sql) {
    const random = randomNumbers(17);
    const text = textPool(random, TEXT_BYTES);
    const { begin, commit } = transactions(sql);
    const insert = sql.prepare("INSERT INTO import(title, body) VALUES(?, ?)");
    return () => {
      begin();
      for (let row = 0; row < BULK_ROWS; row++) {
        const at = Math.floor(random() * (text.length - 700));
        insert(text.slice(at, at + 40), text.slice(at, at + 200 + Math.floor(random() * 400)));
      }
      commit();
    };
  },
};

/** A megabyte of noise in each row, as pictures are. */
const blobs = {
  fill: (sql: Sql) => sql.exec("CREATE TABLE picture(id INTEGER PRIMARY KEY, data BLOB)"),
  begin(sql: Sql) {
    const insert = sql.prepare("INSERT INTO picture(data) VALUES(?)");
    const random = randomNumbers(19);
    const noise = Uint32Array.from({ length: (2 << 20) / 4 }, () => random() * 2 ** 32);
    return (i: number) => {
      insert(new Uint8Array(noise.buffer, (i * 4099) % (1 << 20), 1 << 20));
    };
  },
};

/** Documents into a full-text index, ten at a time. */
const fullText = {
  fill: (sql: Sql) => sql.exec("CREATE VIRTUAL TABLE document USING fts5(title, body)"),
  begin(sql: Sql) {
    const random = randomNumbers(23);
    const text = textPool(random, TEXT_BYTES);
    const { begin, commit } = transactions(sql);
    const insert = sql.prepare("INSERT INTO document VALUES(?, ?)");
    return () => {
      begin();
      for (let row = 0; row < 10; row++) {
        const at = Math.floor(random() * (text.length - 2000));
        insert(text.slice(at, at + 40), text.slice(at, at + 1500));
      }
      commit();
    };
  },
};

/** One counter, so that page is written again and again. */
const hotPage = {
  fill: (sql: Sql) => sql.exec("CREATE TABLE counter(n INTEGER); INSERT INTO counter VALUES(0)"),
  begin(sql: Sql) {
    return sql.prepare("UPDATE counter SET n = n + ?");
  },
};

export const workloads = {
  "one row, NORMAL": { ...smallCommits, synchronous: "NORMAL", count: 20_000 },
  "one row, FULL": { ...smallCommits, synchronous: "FULL", count: 10_000 },
  orders: { ...orders, synchronous: "NORMAL", count: 20_000 },
  "bulk load": { ...bulk, synchronous: "NORMAL", count: 8 },
  "1 MiB blobs": { ...blobs, synchronous: "NORMAL", count: 60 },
  "FTS5 indexing": { ...fullText, synchronous: "NORMAL", count: 500 },
  "hot page": { ...hotPage, synchronous: "NORMAL", count: 100_000 },
} as const satisfies Record<string, Workload>;

export type WorkloadName = keyof typeof workloads;
