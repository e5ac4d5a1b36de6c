import type { SAHPoolUtil, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { CommonConfig } from "../src/config.ts";
import { load } from "../src/load.ts";
import { Replicator } from "../src/replicator.ts";
import type { ReplicationStatus } from "../src/status.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import type { ReplicaLocation } from "../src/store/replica-location.ts";
import { loadCodecs } from "./compression.ts";
import { onLifecycle } from "./lifecycle.ts";
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

/** Where a replicator in a browser stands. */
export interface WebReplicationStatus extends ReplicationStatus {
  /** What the browser grants this site; null until it has answered, or where it does not say. */
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
    const codecs = loadCodecs();
    codecs.catch(() => undefined); // Its failure is told when it is needed.
    const { open } = await load(() => import("./open.ts"));
    return new SqliteReplicator(await open(config, codecs));
  }

  override async start(options?: Parameters<Replicator["start"]>[0]): Promise<void> {
    await super.start(options);
    // Nobody waits for that: browsers may take long to add up what a site uses.
    void this.#askStorage();
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
