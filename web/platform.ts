import type { SAHPoolUtil, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { WriteCache } from "../src/cache/write-cache.ts";
import type { Codecs } from "../src/format/codecs.ts";
import { idFromBytes } from "../src/format/id.ts";
import type { DatabaseTarget, LocalFile, Platform } from "../src/platform.ts";
import { Abi, SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_READWRITE } from "../src/vfs/abi.ts";
import { BaseFile } from "../src/vfs/base-file.ts";
import { systemClock } from "./clock.ts";
import { PoolTarget } from "./restore-target.ts";

/** SQLite's header of a database file, https://www.sqlite.org/fileformat2.html#the_database_header */
const DATABASE_HEADER_SIZE = 100;
/** The smallest first page. */
const SMALLEST_PAGE = 512;

/**
 * The browser's side of a replicator, for a database in an opfs-sahpool. Whoever took the pool holds its lock, and gives
 * it up after `release`.
 */
export class PoolPlatform implements Platform {
  readonly shimName: string;
  readonly baseVfs: string;
  readonly dbPath: string;
  readonly clock = systemClock;
  readonly canonicalPath = canonicalPath;
  readonly #abi: Abi;

  constructor(
    readonly sqlite3: Sqlite3Static,
    readonly pool: SAHPoolUtil,
    readonly codecs: Codecs,
    readonly cache: WriteCache,
    dbPath: string,
  ) {
    this.baseVfs = pool.vfsName;
    this.shimName = `sluice-${pool.vfsName}`;
    this.dbPath = canonicalPath(dbPath);
    this.#abi = new Abi(sqlite3);
  }

  inspect(): LocalFile {
    const begin = this.#begin(SMALLEST_PAGE);
    return begin === null || begin.bytes.every((byte) => byte === 0) ? "absent" : "present";
  }

  /** Size, and SQLite's header with its change counter: a pool keeps no times. */
  fingerprint(): string | null {
    const begin = this.#begin(DATABASE_HEADER_SIZE);
    if (begin === null) return null;
    const hash = this.codecs.sha256();
    hash.update(begin.bytes);
    return `${begin.size}:${idFromBytes(hash.digest())}`;
  }

  restoreTarget(): DatabaseTarget {
    return new PoolTarget(this.#abi, this.baseVfs, this.pool, this.dbPath);
  }

  async release(): Promise<void> {
    await this.cache.close();
  }

  /** The main file's size and first bytes, zeros beyond its end; null where there is no file. */
  #begin(amount: number): { size: number; bytes: Uint8Array } | null {
    if (!this.pool.getFileNames().includes(this.dbPath)) return null;
    const abi = this.#abi;
    const file = BaseFile.open(
      abi,
      abi.findVfs(this.baseVfs),
      this.dbPath,
      SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE,
    );
    const into = abi.allocate(amount);
    try {
      file.read(into, amount, 0);
      return { size: file.size(), bytes: abi.bytes.slice(into, into + amount) };
    } finally {
      abi.free(into);
      file.close();
    }
  }
}

/** As opfs-sahpool itself reads a path (`getPath`). */
export function canonicalPath(path: string): string {
  return new URL(path, "file://localhost/").pathname;
}
