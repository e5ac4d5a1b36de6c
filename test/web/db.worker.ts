// A replicated database in a dedicated worker, driven by its page.
import init, { type Database, type SAHPoolUtil, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { RestoreOptions } from "../../src/config.ts";
import type { DatabaseInUseError } from "../../src/errors.ts";
import { armFaults } from "../../src/faults.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { SqliteReplicator, type SqliteReplicatorConfig } from "../../web/index.ts";
import { freshIndexedDb } from "./fresh-indexed-db.ts";
import { rebuildError, received, type SentStore } from "./page-store.ts";
import { type Port, Remote } from "./remote.ts";

let replicator: SqliteReplicator;
let db: Database | null = null;
let sqlite3: Sqlite3Static | null = null;
let pool: SAHPoolUtil | null = null;

/** What the page calls, by name. */
const calls = {
  async openPool(ownPool: { directory: string }) {
    sqlite3 ??= await init();
    const options = {
      ...ownPool,
      name: ownPool.directory,
      initialCapacity: 12,
      preserveOnInitFailure: true,
      forceReinitIfPreviouslyFailed: true,
    };
    pool = await sqlite3.installOpfsSAHPoolVfs(options);
  },
  async create(config: SqliteReplicatorConfig, store: SentStore | null, ownPool?: { directory: string }) {
    if (ownPool !== undefined) {
      await calls.openPool(ownPool);
      Object.assign(config, { sqlite3, pool });
    }
    replicator = await SqliteReplicator.create({ ...config, ...(store && { replica: received(store) }) });
  },
  /** A file of the app's pool, as a restore that was cut short could have left it, and the replicator made anew. */
  async leaveBehind(name: string, config: SqliteReplicatorConfig, store: SentStore) {
    new pool!.OpfsSAHPoolDb(name).close();
    replicator = await SqliteReplicator.create({
      ...config,
      sqlite3: sqlite3!,
      pool: pool!,
      replica: received(store),
    });
  },
  /** Who creates it anew while a connection outlives `stop` is told of that; then, as it is closed, one more. */
  async createAsClosed(config: SqliteReplicatorConfig, store: SentStore) {
    await replicator.stop();
    const again = () => SqliteReplicator.create({ ...config, replica: received(store) });
    const holder = await again().then(String, (error: DatabaseInUseError) => error.holder);
    db!.close();
    db = null;
    replicator = await again();
    return holder;
  },
  /** The app without Sluice, in WAL mode as it was left. */
  besides(name: string, sql: string) {
    const other = new pool!.OpfsSAHPoolDb(name);
    other.exec(`PRAGMA locking_mode=exclusive; ${sql}`);
    other.close();
  },
  /** Several databases, all created before the first is started. */
  async runMany(config: SqliteReplicatorConfig, names: readonly string[]) {
    const all: SqliteReplicator[] = [];
    for (const dbPath of names)
      all.push(await SqliteReplicator.create({ ...config, dbPath, replica: new MemoryStore() }));
    for (const each of all) {
      await each.start();
      each.openDatabase().exec("CREATE TABLE t(a)");
    }
  },
  async useFreshIndexedDb() {
    Object.defineProperty(globalThis, "indexedDB", { value: await freshIndexedDb() });
  },
  start: (onProgress?: RestoreOptions["onProgress"]) => replicator.start(onProgress && { onProgress }),
  listen(types: readonly string[], heard: (type: string, detail: unknown) => void) {
    for (const type of types)
      replicator.addEventListener(type as "wal", ({ detail }) =>
        heard(type, JSON.parse(JSON.stringify(detail))),
      );
  },
  /** At the point the worker stands still for ever, and its page ends it there. */
  standStillAt(point: string, passes: number) {
    let left = passes;
    armFaults((reached) => {
      if (reached !== point || left-- > 1) return;
      postMessage({ reached });
      for (;;);
    });
  },
  /** The operation under way fails there, each time. */
  throwAt(point: string | null) {
    armFaults(
      point === null
        ? null
        : (reached) => {
            if (reached === point) throw new Error(`fault at ${point}`);
          },
    );
  },
  open() {
    db = replicator.openDatabase();
  },
  exec: (sql: string) => void connection().exec(sql),
  /** Many statements in a row, without a turn of the event loop. */
  repeat(sql: string, times: number) {
    for (let i = 0; i < times; i++) connection().exec(sql);
  },
  value: (sql: string) => connection().selectValue(sql),
  close() {
    db?.close();
    db = null;
  },
  status: () => JSON.parse(JSON.stringify(replicator.status())),
  flush: () => replicator.flush(),
  waitUntilUploaded: () => replicator.waitUntilUploaded(),
  verify: () => replicator.verify(),
  snapshot: () => replicator.snapshot(),
  restore: (options: RestoreOptions) => replicator.restore(options),
  stop: () => replicator.stop(),
  detach: () => replicator.detach(),
  files: () => pool!.getFileNames().sort(),
  exportFile: (name: string) => pool!.exportFile(name),
  unlink: (name: string) => pool!.unlink(name),
  reduceCapacity: () => pool!.reduceCapacity(100),
};
export type DbCalls = typeof calls;

function connection(): Database {
  db ??= replicator.openDatabase();
  return db;
}

const call = (name: keyof DbCalls, ...args: unknown[]) =>
  (calls[name] as (...all: unknown[]) => unknown)(...args);
new Remote(globalThis as unknown as Port, call as never, rebuildError);
