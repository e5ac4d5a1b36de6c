import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { Random } from "./random.ts";

export const pageSizes = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] as const;

/** Result codes that a random mixture of connections earns rightly. */
const SQLITE_ERROR = 1;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

/** Bytes. */
const LARGEST_BLOB = 1 << 18;

const tables = ["a", "b", "c"] as const;

/** The tables that every step may count on, made before anything else. */
export function createSchema(db: Database): void {
  db.exec(`
    CREATE TABLE IF NOT EXISTS a(id INTEGER PRIMARY KEY, k INTEGER, t TEXT, v BLOB);
    CREATE TABLE IF NOT EXISTS b(id INTEGER PRIMARY KEY, k INTEGER, t TEXT, v BLOB);
    CREATE TABLE IF NOT EXISTS c(k INTEGER, t TEXT, v BLOB, id INTEGER, PRIMARY KEY(k, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS a_k ON a(k, t);
    CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(t);
  `);
}

/** A connection, and what decides what happens on it. */
export interface Session {
  readonly sqlite3: Sqlite3Static;
  readonly db: Database;
  readonly random: Random;
  /** Bytes. */
  readonly pageSize: number;
  /** How much a step writes, as a part of what it does by itself. */
  readonly scale?: number;
}

type Step = (session: Session) => void;

/** Statements as an application might send them, and some that none would. Each has its weight. */
const steps: readonly (readonly [number, string, Step])[] = [
  [10, "insert", (s) => insert(s, 1 + s.random.below(5), 300)],
  [4, "insert many", (s) => insert(s, scaled(s, 20 + s.random.below(200)), 200)],
  [3, "insert blob", (s) => insert(s, 1, s.pageSize * (2 + scaled(s, s.random.below(30))))],
  [6, "update", update],
  [2, "update all", ({ db, random }) => db.exec(`UPDATE ${random.pick(tables)} SET k = k + 1`)],
  [
    4,
    "delete",
    ({ db, random }) => db.exec(`DELETE FROM ${random.pick(tables)} WHERE k % 7 = ${random.below(7)}`),
  ],
  [1, "delete all", ({ db, random }) => db.exec(`DELETE FROM ${random.pick(tables)}`)],
  [5, "begin", ({ db, random }) => db.exec(`BEGIN ${random.pick(["", "", "IMMEDIATE"])}`)],
  [6, "commit", ({ db }) => db.exec("COMMIT")],
  [3, "rollback", ({ db }) => db.exec("ROLLBACK")],
  [4, "savepoint", ({ db }) => db.exec("SAVEPOINT s")],
  [2, "release", ({ db }) => db.exec("RELEASE s")],
  [3, "rollback to", ({ db }) => db.exec("ROLLBACK TO s")],
  [1, "read", ({ db }) => db.exec("BEGIN; SELECT count(*) FROM a")],
  [3, "fts insert", ftsInsert],
  [1, "fts delete", ({ db, random }) => db.exec(`DELETE FROM f WHERE rowid % 3 = ${random.below(3)}`)],
  [1, "fts optimize", ({ db }) => db.exec("INSERT INTO f(f) VALUES('optimize')")],
  [
    2,
    "create",
    ({ db, random }) => db.exec(`CREATE TABLE x${random.below(4)}(id INTEGER PRIMARY KEY, v BLOB)`),
  ],
  [2, "drop", ({ db, random }) => db.exec(`DROP TABLE IF EXISTS x${random.below(4)}`)],
  [1, "index", ({ db, random }) => db.exec(`CREATE INDEX ${random.pick(["i0", "i1"])} ON b(t, k)`)],
  [1, "drop index", ({ db, random }) => db.exec(`DROP INDEX IF EXISTS ${random.pick(["i0", "i1"])}`)],
  [
    1,
    "add column",
    ({ db, random }) => db.exec(`ALTER TABLE ${random.pick(["a", "b"])} ADD COLUMN n${random.below(99)}`),
  ],
  [3, "grow and free", growAndFree],
  [2, "shrink and grow", shrinkAndGrow],
  [3, "spill and roll back", spillAndRollBack],
  [2, "spill", (s) => spill(s, "COMMIT")],
  [1, "vacuum", ({ db }) => db.exec("VACUUM")],
  [1, "switch auto_vacuum", ({ db, random }) => db.exec(`PRAGMA auto_vacuum=${random.below(3)}; VACUUM`)],
  [3, "incremental_vacuum", ({ db, random }) => incrementalVacuum(db, random.below(40))],
  [2, "cache_size", ({ db, random }) => db.exec(`PRAGMA cache_size=${random.pick([2, 2, 10, -2000])}`)],
  [1, "synchronous", ({ db, random }) => db.exec(`PRAGMA synchronous=${random.below(3)}`)],
  [
    2,
    "autocheckpoint",
    ({ db, random }) => db.exec(`PRAGMA wal_autocheckpoint=${random.pick([0, 1, 5, 50, 1000])}`),
  ],
  [
    5,
    "checkpoint",
    ({ db, random }) =>
      db.exec(`PRAGMA wal_checkpoint(${random.pick(["PASSIVE", "PASSIVE", "FULL", "RESTART", "TRUNCATE"])})`),
  ],
];

const total = steps.reduce((sum, [weight]) => sum + weight, 0);

/** Does one random thing on a connection. Returns its name; throws what SQLite would not answer to a healthy database. */
export function randomStep(session: Session): string {
  const { sqlite3, random } = session;
  let left = random.below(total);
  const [, name, step] = steps.find(([weight]) => {
    left -= weight;
    return left < 0;
  })!;
  try {
    step(session);
    return name;
  } catch (error) {
    if (!(error instanceof sqlite3.SQLite3Error)) throw error;
    const code = error.resultCode! & 0xff;
    if (code === SQLITE_BUSY || code === SQLITE_LOCKED) return `${name} (busy)`;
    if (code !== SQLITE_ERROR) throw new Error(`${name}: ${error.message}`, { cause: error });
    return `${name} (refused)`;
  }
}

function scaled({ scale = 1 }: Session, count: number): number {
  return Math.ceil(count * scale);
}

function insert(session: Session, rows: number, size: number): void {
  const { db, random } = session;
  const table = random.pick(tables);
  const own = !inTransaction(session) && random.chance(0.8);
  if (own) db.exec("BEGIN IMMEDIATE");
  try {
    for (let i = 0; i < rows; i++)
      db.exec({
        sql: `INSERT OR REPLACE INTO ${table}(id, k, t, v) VALUES(?, ?, ?, ?)`,
        bind: [
          random.below(1 << 20),
          random.below(1000),
          `text ${random.below(1e6)}`,
          random.bytes(random.below(Math.min(size, LARGEST_BLOB))),
        ],
      });
    if (own) db.exec("COMMIT");
  } catch (error) {
    if (own && inTransaction(session)) db.exec("ROLLBACK");
    throw error;
  }
}

function update({ db, random }: Session): void {
  const k = random.below(1000);
  db.exec({
    sql: `UPDATE ${random.pick(tables)} SET v = ? WHERE k BETWEEN ? AND ?`,
    bind: [random.bytes(random.below(600)), k, k + random.below(100)],
  });
}

function ftsInsert({ db, random }: Session): void {
  const words = Array.from({ length: 1 + random.below(60) }, () => `w${random.below(500)}`);
  db.exec({ sql: "INSERT INTO f(t) VALUES(?)", bind: [words.join(" ")] });
}

/** Pages that are allocated and freed in one transaction without savepoints count, yet SQLite does not write them. */
function growAndFree(session: Session): void {
  const { db, random, pageSize } = session;
  if (inTransaction(session)) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    db.exec({
      sql: "INSERT OR REPLACE INTO a(id, v) VALUES(-1, ?)",
      bind: [random.bytes(pageSize * scaled(session, random.below(40)))],
    });
    if (random.chance(0.5)) insert(session, 3, 300);
    db.exec("DELETE FROM a WHERE id = -1; COMMIT");
  } finally {
    if (inTransaction(session)) db.exec("ROLLBACK");
  }
}

/** Pages that a smaller size cut off come back, and SQLite does not write all of them. */
function shrinkAndGrow(session: Session): void {
  const { db, random } = session;
  if (inTransaction(session)) return;
  db.exec(`DELETE FROM ${random.pick(tables)} WHERE k % 2; VACUUM`);
  growAndFree(session);
}

/** `pages` at the most; 0: all that are free. */
export function incrementalVacuum(db: Database, pages = 0): void {
  // It answers a row without columns for each page, and stops where nobody asks for the next.
  const statement = db.prepare(`PRAGMA incremental_vacuum(${pages})`);
  try {
    while (statement.step());
  } finally {
    statement.finalize();
  }
}

/** The pages that a small cache spills stand in the WAL, and the next commit of anybody overwrites them there. */
function spillAndRollBack(session: Session): void {
  spill(session, "ROLLBACK");
}

function spill(session: Session, end: string): void {
  const { db, random, pageSize } = session;
  if (inTransaction(session)) return;
  db.exec("PRAGMA cache_size=2; BEGIN IMMEDIATE");
  try {
    for (let i = 0; i < 4; i++) {
      insert(session, scaled(session, 10), pageSize);
      update(session);
      if (random.chance(0.3)) {
        db.exec("SAVEPOINT p");
        insert(session, scaled(session, 5), pageSize * 2);
        db.exec(random.pick(["ROLLBACK TO p", "RELEASE p"]));
      }
    }
    db.exec(end);
  } finally {
    if (inTransaction(session)) db.exec("ROLLBACK");
  }
}

function inTransaction({ sqlite3, db }: Session): boolean {
  return sqlite3.capi.sqlite3_get_autocommit(db.pointer!) === 0;
}
