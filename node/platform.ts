import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join, resolve } from "node:path";
import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { DatabaseHold } from "../src/database-hold.ts";
import { CacheError, DatabaseInUseError, LocalDatabaseError, SluiceError } from "../src/errors.ts";
import type { Codecs } from "../src/format/codecs.ts";
import type { DatabaseTarget, LocalFile, Platform } from "../src/platform.ts";
import { systemClock } from "./clock.ts";
import { acquireDatabaseLock, acquireFileLock, type DatabaseLock } from "./lock.ts";
import { beginsWithZeros, FileTarget } from "./restore-target.ts";
import { syncBeside } from "./sync-beside.ts";
import { installNodeVfs } from "./vfs.ts";
import { resolveSymlinks } from "./vfs-path.ts";
import { FsWriteCache } from "./write-cache.ts";

/** Node's side of a replicator: files, fsync, OS locks. */
export class NodePlatform implements Platform {
  readonly shimName = "sluice";
  readonly baseVfs: string;
  readonly cache: FsWriteCache;
  readonly clock = systemClock;
  readonly canonicalPath = canonicalPath;
  #lock: DatabaseLock;
  /** The lock made the file, since a lock needs one. */
  readonly #madeEmpty: boolean;
  readonly #cacheLock: { release(): void };
  readonly #lockOptions: { readonly unsafeNoLock: boolean };
  readonly #hold = new DatabaseHold("process");

  /**
   * Waits for a replicator of this process that is letting go of the database: its last connection was closed just now.
   * @throws DatabaseInUseError one that is not.
   */
  static async whenFree(dbPath: string): Promise<void> {
    await replicated.get(dbPath)?.whenFree(dbPath);
  }

  /** Takes the locks. Throws DatabaseInUseError, LockUnavailableError, LocalDatabaseError, CacheError. */
  constructor(
    readonly sqlite3: Sqlite3Static,
    readonly codecs: Codecs,
    readonly dbPath: string,
    cacheDir: string,
    unsafeNoLock: boolean,
  ) {
    this.#lockOptions = { unsafeNoLock };
    const holder = replicated.get(dbPath);
    if (holder !== undefined) throw holder.inUse(dbPath);
    this.baseVfs = installNodeVfs(sqlite3, this.#lockOptions);
    this.#cacheLock = lockCache(cacheDir, this.#lockOptions);
    this.#madeEmpty = !fs.existsSync(dbPath);
    try {
      this.#lock = acquireDatabaseLock(dbPath, this.#lockOptions);
    } catch (error) {
      this.#cacheLock.release();
      throw error;
    }
    this.cache = new FsWriteCache(cacheDir);
    replicated.set(dbPath, this.#hold);
  }

  inspect(): LocalFile {
    const stat = fs.statSync(this.dbPath, { throwIfNoEntry: false });
    if (stat === undefined || stat.size === 0) return "absent";
    if (!stat.isFile()) throw new LocalDatabaseError(this.dbPath, "is not a file");
    return beginsWithZeros(this.dbPath) ? "absent" : "present";
  }

  /** Size, time of the last write, and SQLite's header with its change counter. */
  fingerprint(): string | null {
    let fd: number;
    try {
      fd = fs.openSync(this.dbPath, "r");
    } catch {
      return null;
    }
    try {
      const { size, mtimeNs } = fs.fstatSync(fd, { bigint: true });
      const header = new Uint8Array(100);
      fs.readSync(fd, header, 0, header.length, 0);
      return `${size}:${mtimeNs}:${createHash("sha256").update(header).digest("hex").slice(0, 16)}`;
    } finally {
      fs.closeSync(fd);
    }
  }

  restoreTarget(): DatabaseTarget {
    return new FileTarget(this.dbPath, this.sqlite3, this.baseVfs, (rename, path) => {
      const next = acquireDatabaseLock(path, this.#lockOptions);
      try {
        rename();
      } catch (error) {
        next.release();
        throw error;
      }
      this.#lock.release();
      this.#lock = next;
    });
  }

  syncBeside(path: string): Promise<void> {
    return syncBeside(path);
  }

  outlived(connected: () => boolean): void {
    this.#hold.outlived(connected);
  }

  async release(): Promise<void> {
    try {
      await this.cache.close();
      if (this.#madeEmpty && fs.statSync(this.dbPath, { throwIfNoEntry: false })?.size === 0)
        fs.unlinkSync(this.dbPath);
      this.#lock.release();
      this.#cacheLock.release();
      replicated.delete(this.dbPath);
    } finally {
      this.#hold.release();
    }
  }
}

/** What the replicators of this process have: among themselves they share the database's lock. */
const replicated = new Map<string, DatabaseHold>();

function lockCache(directory: string, options: { unsafeNoLock: boolean }): { release(): void } {
  try {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    return acquireFileLock(join(directory, "lock"), options);
  } catch (cause) {
    if (cause instanceof DatabaseInUseError) throw cause;
    if (cause instanceof SluiceError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new CacheError(`${directory} cannot be used as cacheDir: ${message}`, code === "ENOSPC", { cause });
  }
}

/** Absolute, with all links resolved as the VFS resolves them: also one that points to a file not made yet. */
export function canonicalPath(path: string): string {
  const absolute = resolve(path);
  try {
    return resolveSymlinks(fs, absolute).path;
  } catch {
    return absolute;
  }
}
