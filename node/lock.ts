import fs from "node:fs";
import { createRequire } from "node:module";
import { DatabaseInUseError, LocalDatabaseError, LockUnavailableError } from "../src/errors.ts";
import { fileKey } from "./file-key.ts";
import { describeHolder } from "./lock-holder.ts";

/** SQLite's lock bytes (os.h: PENDING_BYTE, RESERVED_BYTE, SHARED_FIRST + SHARED_SIZE). No page holds data there. */
const LOCK_OFFSET = 0x40000000;
const LOCK_LENGTH = 512;

/**
 * A lock held by this process. Holders of one file share one lock on the operating system's side, which goes with the
 * last `release`, or with the process, however it ends.
 */
export interface DatabaseLock {
  /** False where the file cannot be opened for writing, and the lock therefore keeps writers out but not readers. */
  readonly exclusive: boolean;
  /** Gives this holder's share back; a second call does nothing. */
  release(): void;
}

/** A lock on a file that is there for this purpose only. */
export interface FileLock {
  /** Whether the file is still where it was, and what lies beside it ours: others may delete it, and take their own. */
  stands(): boolean;
  release(): void;
}

export interface LockOptions {
  /** Go on without a lock where the operating system's locks are not available. Then nothing keeps others out. */
  readonly unsafeNoLock?: boolean | undefined;
}

/**
 * Takes the exclusive lock of a database, on the bytes that every SQLite locks before it reads or writes, so that other
 * processes get SQLITE_BUSY while it is held. Creates the file, empty, where it is missing. The lock belongs to the file,
 * not to its name: it survives a rename of the file and does not cover another file that is renamed over it.
 * @throws DatabaseInUseError another process, or another thread of this one, holds a lock on the file.
 * @throws LockUnavailableError there are no locks here, and `unsafeNoLock` is not set.
 * @throws LocalDatabaseError the file cannot be opened for writing.
 */
export function acquireDatabaseLock(path: string, options: LockOptions = {}): DatabaseLock {
  let fd: number;
  try {
    // To open a pipe or a device may do something; they have size 0, and a restore would take their place.
    if (fs.statSync(path, { throwIfNoEntry: false })?.isFile() === false)
      throw new LocalDatabaseError(path, "is not a file");
    fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
  } catch (error) {
    if (error instanceof LocalDatabaseError) throw error;
    throw new LocalDatabaseError(
      path,
      `cannot be opened for writing (${(error as NodeJS.ErrnoException).code})`,
      { cause: error },
    );
  }
  const key = fileKeyOf(fd);
  const shared = share(key);
  if (shared) fs.closeSync(fd);
  const lock = shared ?? takeDatabaseLock(fd, path, key, true, options);
  if (!lock) throw new DatabaseInUseError(path, describeHolder(key));
  if (!lock.exclusive) {
    lock.release();
    throw new LocalDatabaseError(path, "this process has opened it read-only; close it there first");
  }
  return lock;
}

/**
 * The same for a connection: `key` is the file it has open as `path`. A file that cannot be opened for writing gets a
 * shared lock: native processes may read it too, and cannot write it (a rollback-mode writer needs the bytes exclusively).
 * @returns undefined where another process, or another thread of this one, holds the file.
 * @throws LockUnavailableError as above. @throws LocalDatabaseError `path` does not name that file any more.
 */
export function acquireConnectionLock(
  path: string,
  key: string,
  options: LockOptions = {},
): DatabaseLock | undefined {
  const shared = share(key);
  if (shared) return shared;
  const { fd, writable } = openExisting(path);
  if (fileKeyOf(fd) !== key) {
    fs.closeSync(fd);
    throw new LocalDatabaseError(path, "another file was moved here since it was opened");
  }
  return takeDatabaseLock(fd, path, key, writable, options);
}

/**
 * Takes an exclusive lock on a whole file that is there for this purpose only. Creates it where it is missing, and writes
 * this process's id into it for people.
 * @throws DatabaseInUseError this or another process holds it. @throws LockUnavailableError as above.
 * @throws NodeJS.ErrnoException the file cannot be opened for writing.
 */
export function acquireFileLock(path: string, options: LockOptions = {}): FileLock {
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
  const key = fileKeyOf(fd);
  if (held.has(key)) {
    fs.closeSync(fd);
    throw new DatabaseInUseError(path, "this process");
  }
  const lock = take(fd, key, true, 0, 0, path, options);
  if (!lock) throw new DatabaseInUseError(path, describeHolder(key));
  // Who held it may have deleted it between our opening and our locking: then it keeps nobody out.
  if (!names(path, key)) {
    lock.release();
    return acquireFileLock(path, options);
  }
  try {
    fs.ftruncateSync(fd);
    fs.writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // The id is a courtesy: a full disk must not keep anybody from working.
  }
  return { release: () => lock.release(), stands: () => names(path, key) };
}

function names(path: string, key: string): boolean {
  const stat = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat !== undefined && fileKey(stat) === key;
}

interface HeldLock {
  readonly exclusive: boolean;
  readonly fd: number;
  references: number;
}

/** What this thread holds. The operating system arbitrates between threads, as it does between processes. */
const held = new Map<string, HeldLock>();

function share(key: string): DatabaseLock | undefined {
  const lock = held.get(key);
  return lock && reference(lock, key);
}

function reference(lock: HeldLock, key: string): DatabaseLock {
  lock.references++;
  let released = false;
  return {
    exclusive: lock.exclusive,
    release() {
      if (released) return;
      released = true;
      if (--lock.references > 0) return;
      held.delete(key);
      fs.closeSync(lock.fd);
    },
  };
}

function takeDatabaseLock(
  fd: number,
  path: string,
  key: string,
  exclusive: boolean,
  options: LockOptions,
): DatabaseLock | undefined {
  // macOS: the native library has flock() only, for whole files. XNU keeps it in the list of the byte-range locks, so
  // that it excludes native SQLite there too.
  const whole = process.platform === "darwin";
  return take(fd, key, exclusive, whole ? 0 : LOCK_OFFSET, whole ? 0 : LOCK_LENGTH, path, options);
}

/** Takes the lock on `fd`, which is the lock's from here on: it is closed on release and on every failure. */
function take(
  fd: number,
  key: string,
  exclusive: boolean,
  offset: number,
  length: number,
  path: string,
  options: LockOptions,
): DatabaseLock | undefined {
  try {
    if (!tryLock(fd, offset, length, { shared: !exclusive })) {
      fs.closeSync(fd);
      return undefined;
    }
  } catch (error) {
    if (!options.unsafeNoLock) {
      fs.closeSync(fd);
      throw new LockUnavailableError(
        `${path} cannot be locked here: ${error instanceof Error ? error.message : error}. ` +
          "Only if nothing else ever opens this file, set unsafeNoLock.",
        { cause: error },
      );
    }
  }
  const lock: HeldLock = { exclusive, fd, references: 0 };
  held.set(key, lock);
  return reference(lock, key);
}

/**
 * Locks that belong to the open file description (Linux F_OFD_SETLK, macOS flock, Windows LockFileEx): unlike POSIX locks
 * they stay when another descriptor of the same file is closed, and they conflict within one process too.
 * The library is loaded here, at first use: where it has no binary, everything that takes no lock still works.
 */
export function nativeLocks(): NativeLocks {
  return createRequire(import.meta.url)("fs-native-extensions") as NativeLocks;
}

/** False where somebody holds a lock that conflicts. */
export interface NativeLocks {
  tryLock(fd: number, offset: number, length: number, options?: { readonly shared: boolean }): boolean;
  /** From shared to exclusive; some systems lose the shared lock when it is refused. */
  tryUpgradeLock(fd: number, offset: number, length: number): boolean;
  tryDowngradeLock(fd: number, offset: number, length: number): boolean;
  unlock(fd: number, offset: number, length: number): void;
}

function tryLock(fd: number, offset: number, length: number, options: { shared: boolean }): boolean {
  try {
    return nativeLocks().tryLock(fd, offset, length, options);
  } catch (error) {
    // fcntl(2): a conflict is EAGAIN, which the library answers with false, or EACCES on some systems.
    if ((error as NodeJS.ErrnoException).code === "EACCES") return false;
    throw error;
  }
}

function openExisting(path: string): { fd: number; writable: boolean } {
  try {
    return { fd: fs.openSync(path, fs.constants.O_RDWR), writable: true };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EACCES" && code !== "EPERM" && code !== "EROFS") throw error;
    return { fd: fs.openSync(path, fs.constants.O_RDONLY), writable: false };
  }
}

function fileKeyOf(fd: number): string {
  return fileKey(fs.fstatSync(fd, { bigint: true }));
}
