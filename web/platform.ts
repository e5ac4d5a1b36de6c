import type { SAHPoolUtil, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { SideFile } from "../src/cache/side-file.ts";
import { StagedCache } from "../src/cache/staged-cache.ts";
import type { WriteCache } from "../src/cache/write-cache.ts";
import { PoolFullError, type SluiceError } from "../src/errors.ts";
import type { Codecs } from "../src/format/codecs.ts";
import { idFromBytes } from "../src/format/id.ts";
import type { DatabaseTarget, LocalFile, Platform } from "../src/platform.ts";
import { Abi } from "../src/vfs/abi.ts";
import { systemClock } from "./clock.ts";
import { IdbQueue } from "./idb-queue.ts";
import { claimDatabase, type UsedPool } from "./pool.ts";
import { PoolFile } from "./pool-file.ts";
import { finishSwap, PoolTarget } from "./restore-target.ts";

/** SQLite's header of a database file, https://www.sqlite.org/fileformat2.html#the_database_header */
const DATABASE_HEADER_SIZE = 100;
/** The smallest first page. */
const SMALLEST_PAGE = 512;

/** What a sync handle, or opfs-sahpool for a short write, says when the quota is used up. */
const NO_ROOM = /quota|no space|space available|Unknown write\(\) failure/i;

export interface PoolPlatformOptions {
  readonly use: UsedPool;
  readonly codecs: Codecs;
  readonly dbPath: string;
  /** Name of the IndexedDB database. */
  readonly cacheName: string;
  /** IndexedDB fails, and is tried again. */
  readonly onTrouble: (error: unknown) => void;
}

/** The browser's side of a replicator, for a database in an opfs-sahpool. */
export class PoolPlatform implements Platform {
  readonly sqlite3: Sqlite3Static;
  readonly codecs: Codecs;
  readonly shimName: string;
  readonly baseVfs: string;
  readonly dbPath: string;
  readonly cache: WriteCache;
  readonly clock = systemClock;
  readonly canonicalPath = canonicalPath;
  readonly #pool: SAHPoolUtil;
  readonly #abi: Abi;
  readonly #use: UsedPool;
  readonly #claim: Awaited<ReturnType<typeof claimDatabase>>;

  /** Throws DatabaseInUseError and PoolFullError; the pool stays the caller's then. */
  static async create(options: PoolPlatformOptions): Promise<PoolPlatform> {
    const dbPath = canonicalPath(options.dbPath);
    return new PoolPlatform({ ...options, dbPath }, await claimDatabase(options.use.pool, dbPath));
  }

  private constructor(
    { use, codecs, dbPath, cacheName, onTrouble }: PoolPlatformOptions,
    claim: Awaited<ReturnType<typeof claimDatabase>>,
  ) {
    const { sqlite3, pool } = use;
    this.sqlite3 = sqlite3;
    this.codecs = codecs;
    this.baseVfs = pool.vfsName;
    this.shimName = `sluice-${pool.vfsName}`;
    this.dbPath = dbPath;
    this.#use = use;
    this.#pool = pool;
    this.#abi = new Abi(sqlite3);
    this.#claim = claim;
    this.cache = new StagedCache({
      name: `in IndexedDB "${cacheName}" and ${dbPath}-sluice`,
      openSide: () =>
        new SideFile(new PoolFile(this.#abi, this.baseVfs, `${dbPath}-sluice`), (bytes) =>
          codecs.hash64(bytes),
        ),
      queue: new IdbQueue(cacheName, codecs.hash64),
      clock: this.clock,
      isFull: () => this.isFull(),
      onTrouble,
    });
  }

  /** What a restore left half done is finished first: until then nothing can be said of the file. */
  inspect(): LocalFile {
    finishSwap(this.#abi, this.#pool, this.dbPath);
    const begin = this.#begin(SMALLEST_PAGE);
    return begin === null || begin.bytes.every((byte) => byte === 0) ? "absent" : "present";
  }

  /**
   * Size, whether a WAL is there, and SQLite's header with its change counter: a pool keeps no times. In WAL mode pages change
   * while that counter does not.
   */
  fingerprint(): string | null {
    const begin = this.#begin(DATABASE_HEADER_SIZE);
    if (begin === null) return null;
    const hash = this.codecs.sha256();
    hash.update(begin.bytes);
    return `${begin.size}:${this.#has(this.#walPath) ? "wal:" : ""}${idFromBytes(hash.digest())}`;
  }

  /** An empty WAL: SQLite removes it when whoever opens the database in WAL mode closes it. */
  seal(): void {
    if (!this.#has(this.#walPath)) new PoolFile(this.#abi, this.baseVfs, this.#walPath).close();
  }

  restoreTarget(): DatabaseTarget {
    return new PoolTarget(this.#abi, this.#pool, this.dbPath);
  }

  /** A full pool answers a bare SQLITE_CANTOPEN. */
  explainOpenFailure(): SluiceError | null {
    const capacity = this.#pool.getCapacity();
    return this.#pool.getFileCount() < capacity ? null : new PoolFullError(this.dbPath, capacity);
  }

  /** A pool answers SQLITE_IOERR, and the words why. */
  isFull(): boolean {
    return NO_ROOM.test(this.#abi.lastError(this.baseVfs));
  }

  outlived(connected: () => boolean): void {
    this.#claim.hold.outlived(connected);
  }

  async release(): Promise<void> {
    try {
      await this.cache.close();
    } finally {
      this.#claim.release();
      await this.#use.release();
    }
  }

  get #walPath(): string {
    return `${this.dbPath}-wal`;
  }

  #has(path: string): boolean {
    return this.#pool.getFileNames().includes(path);
  }

  /** The main file's size and first bytes, zeros beyond its end; null where there is no file. */
  #begin(amount: number): { size: number; bytes: Uint8Array } | null {
    if (!this.#has(this.dbPath)) return null;
    const file = new PoolFile(this.#abi, this.baseVfs, this.dbPath);
    try {
      const bytes = new Uint8Array(amount);
      file.read(bytes, 0);
      return { size: file.size(), bytes };
    } finally {
      file.close();
    }
  }
}

/** As opfs-sahpool itself reads a path (`getPath`). */
export function canonicalPath(path: string): string {
  return new URL(path, "file://localhost/").pathname;
}
