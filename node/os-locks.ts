import { assert } from "../src/assert.ts";
import { type LockOutcome, type LockTable, NONE, PENDING, RESERVED, SHARED } from "./file-locks.ts";
import { nativeLocks } from "./lock.ts";

/** An open database file that shares its levels with other processes. */
export interface OsLockedFile {
  readonly path: string;
  readonly inode: { readonly key: string };
  readonly fd: number;
  readonly writable: boolean;
  level: number;
}

/** What each of SQLite's levels is to the operating system. The locks are those of `fd`, and go with it. */
interface LevelLocks {
  shared(fd: number): boolean;
  reserved(fd: number): boolean;
  /** From SHARED or RESERVED: lets no new reader in. */
  pending(fd: number): boolean;
  /** From PENDING. Leaves PENDING where it is refused. */
  exclusive(fd: number): boolean;
  /** Back to SHARED, or to nothing, from any level. */
  lower(fd: number, level: number): void;
  /** Whether another file may write. */
  reservedElsewhere(fd: number): boolean;
}

/**
 * The five levels against every other process, as os_unix.c and os_win.c take them, for a database that native readers
 * have open while it changes. Since each file's locks belong to its own descriptor (Linux F_OFD_SETLK, Windows
 * LockFileEx), the connections of this thread meet each other there like those of strangers.
 */
export class OsFileLocks implements LockTable {
  readonly #files = new Set<OsLockedFile>();
  readonly #os: LevelLocks = process.platform === "darwin" ? wholeFile : byteRanges;

  open(path: string, key: string, fd: number, writable: boolean): OsLockedFile {
    const file = { path, inode: { key }, fd, writable, level: NONE };
    this.#files.add(file);
    return file;
  }

  /** The descriptor was closed, and its locks with it. */
  close(file: OsLockedFile): void {
    this.#files.delete(file);
  }

  /** See FileLocks.lock. */
  lock(file: OsLockedFile, level: number): LockOutcome {
    if (file.level >= level) return "granted";
    assert(level !== PENDING && (file.level !== NONE || level === SHARED), "a lock level was skipped");
    if (level > SHARED && !file.writable) return "read-only";
    if (this.#raise(file, level)) {
      file.level = level;
      return "granted";
    }
    return this.#isOurs(file, level) ? "busy-here" : "busy-elsewhere";
  }

  #raise(file: OsLockedFile, level: number): boolean {
    const { fd } = file;
    if (level === SHARED) return this.#os.shared(fd);
    if (level === RESERVED) return this.#os.reserved(fd);
    if (file.level < PENDING && !this.#os.pending(fd)) return false;
    if (file.level === RESERVED) file.level = PENDING;
    if (this.#os.exclusive(fd)) return true;
    if (file.level === SHARED) this.#os.lower(fd, SHARED); // rolling back a hot journal: others may be about to, too
    return false;
  }

  unlock(file: OsLockedFile, level: number): void {
    if (file.level <= level) return;
    assert(level <= SHARED, "a lock is lowered to SHARED or NONE");
    this.#os.lower(file.fd, level);
    file.level = level;
  }

  isReserved(file: OsLockedFile): boolean {
    return file.level > SHARED || this.#os.reservedElsewhere(file.fd);
  }

  /** Whether a connection of this thread, which cannot go on while we wait, is in the way. */
  #isOurs(file: OsLockedFile, level: number): boolean {
    const conflicting = level === SHARED ? PENDING : level === RESERVED ? RESERVED : SHARED;
    return [...this.#files].some(
      (other) => other !== file && other.inode.key === file.inode.key && other.level >= conflicting,
    );
  }
}

/** SQLite's lock bytes (os.h: PENDING_BYTE, RESERVED_BYTE, SHARED_FIRST, SHARED_SIZE). */
const PENDING_BYTE = 0x40000000;
const RESERVED_BYTE = PENDING_BYTE + 1;
const SHARED_FIRST = PENDING_BYTE + 2;
const SHARED_SIZE = 510;

const reading = { shared: true };

const byteRanges: LevelLocks = {
  shared(fd) {
    const os = nativeLocks();
    // Through PENDING, so that a writer who waits there keeps new readers out.
    if (!os.tryLock(fd, PENDING_BYTE, 1, reading)) return false;
    try {
      return os.tryLock(fd, SHARED_FIRST, SHARED_SIZE, reading);
    } finally {
      os.unlock(fd, PENDING_BYTE, 1);
    }
  },
  reserved: (fd) => nativeLocks().tryLock(fd, RESERVED_BYTE, 1),
  pending: (fd) => nativeLocks().tryLock(fd, PENDING_BYTE, 1),
  exclusive(fd) {
    const os = nativeLocks();
    if (os.tryUpgradeLock(fd, SHARED_FIRST, SHARED_SIZE)) return true;
    // Windows gave up the reader's lock for that. Nobody can have written since: PENDING is ours.
    assert(os.tryLock(fd, SHARED_FIRST, SHARED_SIZE, reading), "a reader's lock can be had again");
    return false;
  },
  lower(fd, level) {
    const os = nativeLocks();
    if (level === SHARED) assert(os.tryDowngradeLock(fd, SHARED_FIRST, SHARED_SIZE), "a lock can be lowered");
    // Windows unlocks only what is locked, each range as it was locked; elsewhere there is no harm in more.
    else unlockQuietly(fd, SHARED_FIRST, SHARED_SIZE);
    unlockQuietly(fd, RESERVED_BYTE, 1);
    unlockQuietly(fd, PENDING_BYTE, 1);
  },
  reservedElsewhere(fd) {
    const os = nativeLocks();
    if (!os.tryLock(fd, RESERVED_BYTE, 1, reading)) return true;
    os.unlock(fd, RESERVED_BYTE, 1);
    return false;
  },
};

function unlockQuietly(fd: number, offset: number, length: number): void {
  try {
    nativeLocks().unlock(fd, offset, length);
  } catch (error) {
    if (process.platform !== "win32") throw error;
  }
}

/**
 * macOS: the native library has flock() only, for whole files, which XNU holds against byte-range locks. So whoever
 * writes has all of the file from RESERVED on, and readers wait a little longer.
 */
const wholeFile: LevelLocks = {
  shared: (fd) => nativeLocks().tryLock(fd, 0, 0, reading),
  reserved: takeWhole,
  pending: takeWhole,
  exclusive: takeWhole,
  lower(fd, level) {
    if (level === SHARED) nativeLocks().tryDowngradeLock(fd, 0, 0);
    else nativeLocks().unlock(fd, 0, 0);
  },
  reservedElsewhere(fd) {
    // Asked by a file that holds SHARED: then nobody has more.
    return !nativeLocks().tryLock(fd, 0, 0, reading);
  },
};

function takeWhole(fd: number): boolean {
  const os = nativeLocks();
  if (os.tryUpgradeLock(fd, 0, 0)) return true;
  // flock(2): the shared lock may have been given up for the attempt.
  assert(os.tryLock(fd, 0, 0, reading), "a reader's lock can be had again");
  return false;
}
