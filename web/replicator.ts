import type { SAHPoolUtil, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import {
  type CommonConfig,
  checkNumber,
  checkObject,
  checkSettings,
  checkString,
  commonFields,
  refuseUnknown,
} from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";
import { Replicator } from "../src/replicator.ts";
import type { ReplicationStatus } from "../src/status.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { locationFields, type ReplicaLocation } from "../src/store/replica-location.ts";
import { loadCodecs } from "./compression.ts";
import { onLifecycle } from "./lifecycle.ts";
import { canonicalDirectory } from "./lock.ts";
import { openStore } from "./open-store.ts";
import { canonicalPath, PoolPlatform } from "./platform.ts";
import { type UsedPool, useOwnPool } from "./pool.ts";
import { readStorage, type StorageStatus } from "./storage.ts";

/** How to replicate a database in a browser. */
export interface SqliteReplicatorConfig extends CommonConfig, ReplicaLocation {
  /** `https://host/path/` (a gateway), `s3://bucket/prefix/`, or an ObjectStore. Or `s3Bucket` and `s3Prefix`. */
  readonly replica?: string | ObjectStore;
  /** Path of the database in its pool, from "/". */
  readonly dbPath: string;
  /** Name of the IndexedDB database of the write cache. Default: made of the pool's directory and `dbPath`. */
  readonly cacheDir?: string;
  /** OPFS directory of the pool that Sluice installs. Default ".sluice". Not together with `pool`. */
  readonly directory?: string;
  /** The app's own sqlite-wasm module; default: one that all replicators of this worker share. */
  readonly sqlite3?: Sqlite3Static;
  /** A pool that the app installed with `sqlite3.installOpfsSAHPoolVfs`. Needs `sqlite3`. */
  readonly pool?: SAHPoolUtil;
  /** `waitMs`: how long to wait for another tab that has the pool, milliseconds, 5000 by default; 0: not at all. */
  readonly lock?: { readonly waitMs?: number };
  /** Seconds between snapshots; default 0, the first and by weight only: uplinks of browsers are dear. */
  readonly snapshotIntervalSecs?: number;
  /** Milliseconds between uploads, at least. Default 10000: the requests of many users add up. */
  readonly uploadIntervalMs?: number;
}

const fields = [
  ...commonFields,
  ...locationFields,
  "dbPath",
  "cacheDir",
  "directory",
  "sqlite3",
  "pool",
  "lock",
] as const satisfies readonly (keyof SqliteReplicatorConfig)[];

const DEFAULTS = { snapshotIntervalSecs: 0, uploadIntervalMs: 10_000 };
const DEFAULT_DIRECTORY = "/.sluice";
const DEFAULT_WAIT_MS = 5000;
/** Bytes. A pool has room for names of 510, and ours add up to "-sluice-new-journal". */
const MAX_PATH_SIZE = 480;

/** Where a replicator in a browser stands. */
export interface WebReplicationStatus extends ReplicationStatus {
  /** What the browser grants this site; null until it was asked, or where it does not say. */
  readonly storage: StorageStatus | null;
}

/** Continuous replication of one SQLite database in OPFS, for a dedicated worker. See `create`. */
export class SqliteReplicator extends Replicator {
  #storage: StorageStatus | null = null;
  #asking = false;
  #stopListening = () => {};

  /**
   * Takes the pool's lock, installs the pool where the app gives none, and opens the write cache. The database is not opened
   * before `start` or `restore`.
   * @throws ConfigError, OpfsUnavailableError, DatabaseInUseError (after `lock.waitMs`), LockUnavailableError,
   * PoolFullError, LocalDatabaseError, CacheError.
   */
  static async create(config: SqliteReplicatorConfig): Promise<SqliteReplicator> {
    refuseUnknown(config, fields, "SqliteReplicatorConfig");
    const settings = checkSettings(config, DEFAULTS);
    const dbPath = checkPath(config.dbPath);
    const store = await openStore(config);
    const { openPool, cacheName } = checkPlace(config, dbPath, settings.signal);
    const codecs = await loadCodecs();
    const use = await openPool();
    let platform: PoolPlatform | null = null;
    try {
      const onTrouble = (error: unknown) => settings.logger.warn?.(`sluice: ${String(error)}`);
      platform = await PoolPlatform.create({ use, codecs, dbPath, cacheName, onTrouble });
      const { position } = await platform.cache.load();
      return new SqliteReplicator(platform, store, settings, position);
    } catch (error) {
      await (platform ?? use).release();
      throw error;
    }
  }

  override async start(options?: Parameters<Replicator["start"]>[0]): Promise<void> {
    await super.start(options);
    await this.#askStorage();
    for (const type of ["wal", "upload", "snapshot"] as const)
      this.addEventListener(type, () => void this.#askStorage());
    this.#stopListening = onLifecycle((state) => {
      if (state === "resumed") this.wake();
      // What fails now is tried again as ever.
      else if (this.status().uploaded < this.status().captured) void this.flush().catch(() => undefined);
    });
  }

  override stop(): ReturnType<Replicator["stop"]> {
    this.#stopListening();
    return super.stop();
  }

  override async detach(): Promise<void> {
    await super.detach();
    this.#stopListening();
  }

  override status(): WebReplicationStatus {
    return { ...super.status(), storage: this.#storage };
  }

  async #askStorage(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    this.#storage = await readStorage();
    this.#asking = false;
  }
}

/** A path that means the same file however often opfs-sahpool reads it: "user:1.db" would be a URL, "a?b" the file "a". */
function checkPath(value: unknown): string {
  const path = checkString("dbPath", value);
  const read = canonicalPath(path);
  if (/[?#]/.test(path) || read.endsWith("/") || canonicalPath(read) !== read)
    throw new ConfigError(
      "dbPath",
      'must be the path of a file, such as "/data.db", without ":", "?" and "#"',
    );
  if (read.length > MAX_PATH_SIZE)
    throw new ConfigError("dbPath", `must have at most ${MAX_PATH_SIZE} bytes, percent-encoded as in a URL`);
  return path;
}

/** Where the database is to be, checked; nothing is done yet. */
function checkPlace(
  config: SqliteReplicatorConfig,
  dbPath: string,
  signal: AbortSignal | undefined,
): { openPool: () => Promise<UsedPool>; cacheName: string } {
  const sqlite3 = checkObject("sqlite3", config.sqlite3);
  if (sqlite3 !== undefined && typeof sqlite3.installOpfsSAHPoolVfs !== "function")
    throw new ConfigError("sqlite3", "must be what sqlite-wasm's init function resolves to, in a worker");
  const pool = checkObject("pool", config.pool);
  const lock = checkObject("lock", config.lock) ?? {};
  refuseUnknown(lock, ["waitMs"], "lock");
  const name = (place: string) =>
    config.cacheDir === undefined
      ? `sluice:${place}:${canonicalPath(dbPath)}`
      : checkString("cacheDir", config.cacheDir);
  if (pool === undefined) {
    const directory =
      config.directory === undefined
        ? DEFAULT_DIRECTORY
        : canonicalDirectory(checkString("directory", config.directory));
    const waitMs = checkNumber("lock.waitMs", lock.waitMs, DEFAULT_WAIT_MS, 0, 2 ** 31 - 1);
    return { openPool: () => useOwnPool(directory, sqlite3, { waitMs, signal }), cacheName: name(directory) };
  }
  if (sqlite3 === undefined)
    throw new ConfigError("pool", "needs sqlite3, the module that it was installed in");
  for (const field of ["directory", "lock"] as const)
    if (config[field] !== undefined)
      throw new ConfigError(field, "is for a pool that Sluice installs; the one in `pool` is yours");
  const given = { sqlite3, pool, release: async () => {} };
  return { openPool: async () => given, cacheName: name(pool.vfsName) };
}
