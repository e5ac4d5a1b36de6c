import { assert } from "../src/assert.ts";
import { acquireConnectionLock, type DatabaseLock, type LockOptions } from "./lock.ts";

/** SQLite's lock levels (SQLITE_LOCK_*). */
export const NONE = 0;
export const SHARED = 1;
export const RESERVED = 2;
export const PENDING = 3;
export const EXCLUSIVE = 4;

export type LockOutcome =
  | "granted"
  /** A connection of this thread is in the way: waiting cannot help, since it cannot go on while we wait. */
  | "busy-here"
  /** Another process or thread holds the file: waiting can help. */
  | "busy-elsewhere"
  /** The file cannot be opened for writing, so the lock that writing needs cannot be had. */
  | "read-only";

/** What a VFS asks of its locks. `file` is what `open` returned. */
export interface LockTable {
  /** `key`: the file's device and inode (fileKey). */
  open(path: string, key: string, fd: number, writable: boolean): LevelledFile;
  close(file: LevelledFile): void;
  lock(file: LevelledFile, level: number): LockOutcome;
  unlock(file: LevelledFile, level: number): void;
  /** Is there a writer? */
  isReserved(file: LevelledFile): boolean;
}

export interface LevelledFile {
  readonly path: string;
  readonly inode: { readonly key: string };
  level: number;
}

/** One open database file. Files that are one inode share the `inode`, whatever their names. */
export interface LockedFile {
  readonly path: string;
  readonly inode: Inode;
  level: number;
}

export interface Inode {
  readonly key: string;
  /** The highest level that any file holds. */
  level: number;
  /** How many files hold SHARED or more. */
  holders: number;
  /** How many files are open. */
  references: number;
  /** The operating system's lock: taken with the first SHARED, kept until the last file is closed. */
  osLock: DatabaseLock | undefined;
}

/** Which instance of sqlite-wasm has an inode. Two would have a wal-index each, and write over each other's commits. */
const owners = new Map<string, FileLocks>();

/**
 * The five lock levels among the connections of one instance of sqlite-wasm, as os_unix.c keeps them in unixInodeInfo
 * (its "unix-excl" flavour: one exclusive lock of the process instead of a system call for each level).
 */
export class FileLocks implements LockTable {
  readonly #inodes = new Map<string, Inode>();
  readonly #options: LockOptions;

  constructor(options: LockOptions) {
    this.#options = options;
  }

  open(path: string, key: string): LockedFile {
    let inode = this.#inodes.get(key);
    if (!inode) {
      inode = { key, level: NONE, holders: 0, references: 0, osLock: undefined };
      this.#inodes.set(key, inode);
    }
    inode.references++;
    return { path, inode, level: NONE };
  }

  close(file: LockedFile): void {
    const { inode } = file;
    this.unlock(file, NONE);
    if (--inode.references > 0) return;
    this.#inodes.delete(inode.key);
    if (!inode.osLock) return;
    owners.delete(inode.key);
    inode.osLock.release();
  }

  /**
   * Raises a file to SHARED, RESERVED or EXCLUSIVE. An EXCLUSIVE that is refused because of readers leaves a file that
   * had RESERVED at PENDING, which lets no new reader in, so that a writer cannot be starved.
   * @throws LockUnavailableError, LocalDatabaseError, as acquireConnectionLock does.
   */
  lock(file: LockedFile, level: number): LockOutcome {
    if (file.level >= level) return "granted";
    const { inode } = file;
    assert(level !== PENDING && (file.level !== NONE || level === SHARED), "a lock level was skipped");

    // Another file has the one writer's place, or is waiting for readers to leave.
    if (file.level !== inode.level && (inode.level >= PENDING || level > SHARED)) return "busy-here";

    if (level === SHARED) {
      if (!inode.osLock) {
        const outcome = this.#takeOsLock(file.path, inode);
        if (outcome !== "granted") return outcome;
      }
      file.level = SHARED;
      inode.holders++;
      if (inode.level === NONE) inode.level = SHARED;
      return "granted";
    }

    if (!inode.osLock?.exclusive) return "read-only";
    if (level === EXCLUSIVE) {
      if (file.level === RESERVED) file.level = inode.level = PENDING;
      if (inode.holders > 1) return "busy-here";
    }
    file.level = inode.level = level;
    return "granted";
  }

  /** Lowers a file to SHARED or NONE. */
  unlock(file: LockedFile, level: number): void {
    if (file.level <= level) return;
    const { inode } = file;
    assert(level <= SHARED, "a lock is lowered to SHARED or NONE");
    if (file.level > SHARED) inode.level = SHARED;
    if (level === NONE && --inode.holders === 0) inode.level = NONE;
    file.level = level;
  }

  /** Only among ourselves: nobody else can be one while we hold the operating system's lock. */
  isReserved(file: LockedFile): boolean {
    return file.inode.level > SHARED;
  }

  #takeOsLock(path: string, inode: Inode): LockOutcome {
    const owner = owners.get(inode.key);
    if (owner && owner !== this) return "busy-here";
    inode.osLock = acquireConnectionLock(path, inode.key, this.#options);
    if (!inode.osLock) return "busy-elsewhere";
    owners.set(inode.key, this);
    return "granted";
  }
}
