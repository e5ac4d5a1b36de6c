import { assert } from "../assert.ts";
import { type Abi, type Pointer, type ResultCode, SQLITE_BUSY, SQLITE_NOMEM, SQLITE_OK } from "./abi.ts";

// Flags of xShmLock, and the lock slots of SQLite's wal.c: https://www.sqlite.org/walformat.html#wal_locks
const SQLITE_SHM_UNLOCK = 1;
const SQLITE_SHM_EXCLUSIVE = 8;
export const WAL_WRITE_LOCK = 0;
export const WAL_CHECKPOINT_LOCK = 1;
export const WAL_READ_LOCK_1 = 4;
/** READ_LOCK(1) to READ_LOCK(4): what a writer that restarts the WAL asks for, and nobody else. */
export const WAL_RESTART_LOCKS = 4;

/** What one connection holds: a bit for each of the eight slots. */
export interface ShmConnection {
  shared: number;
  exclusive: number;
}

/** The part of the wal-index header that says what is committed (walformat.html §2.1), as SQLite wrote it last. */
export interface WalIndexHeader {
  readonly pageSize: number;
  /** Number of the last committed frame; 0: the WAL is empty. */
  readonly maxFrame: number;
  readonly pageCount: number;
  readonly checksum1: number;
  readonly checksum2: number;
  readonly salt1: number;
  readonly salt2: number;
}

/**
 * The wal-index of one database and its locks, on the module's own heap: all connections live in one module instance,
 * so memory that they all see is enough. WebAssembly VFSes lack these methods.
 */
export class SharedMemory {
  readonly #abi: Abi;
  readonly #connections = new Set<ShmConnection>();
  readonly #regions: Pointer[] = [];

  constructor(abi: Abi) {
    this.#abi = abi;
  }

  /** xShmMap. Gives 0 for a region that does not exist and is not to be made. */
  map(connection: ShmConnection, region: number, size: number, extend: boolean, out: Pointer): ResultCode {
    this.#connections.add(connection);
    while (extend && this.#regions.length <= region) {
      const at = this.#abi.allocate(size);
      if (at === 0) return SQLITE_NOMEM;
      this.#regions.push(at);
    }
    this.#abi.poke32(out, this.#regions[region] ?? 0);
    return SQLITE_OK;
  }

  isMapped(connection: ShmConnection): boolean {
    return this.#connections.has(connection);
  }

  unmap(connection: ShmConnection): void {
    connection.shared = 0;
    connection.exclusive = 0;
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    for (const region of this.#regions.splice(0)) this.#abi.free(region);
  }

  /** xShmLock, as SQLite's unix VFS grants it. */
  lock(connection: ShmConnection, offset: number, count: number, flags: number): ResultCode {
    const mask = ((1 << count) - 1) << offset;
    if (flags & SQLITE_SHM_UNLOCK) {
      connection.shared &= ~mask;
      connection.exclusive &= ~mask;
      return SQLITE_OK;
    }
    for (const other of this.#connections) {
      if (other === connection) continue;
      if (other.exclusive & mask) return SQLITE_BUSY;
      if (flags & SQLITE_SHM_EXCLUSIVE && other.shared & mask) return SQLITE_BUSY;
    }
    if (flags & SQLITE_SHM_EXCLUSIVE) connection.exclusive |= mask;
    else connection.shared |= mask;
    return SQLITE_OK;
  }

  /** Whether some connection holds the write lock. */
  get writing(): boolean {
    for (const connection of this.#connections) if (connection.exclusive & (1 << WAL_WRITE_LOCK)) return true;
    return false;
  }

  /** The wal-index header, or null before recovery has made one. Read it only while nobody holds the write lock. */
  header(): WalIndexHeader | null {
    const at = this.#regions[0];
    if (at === undefined) return null;
    const view = this.#abi.view;
    if (view.getUint8(at + 12) === 0) return null;
    assert(view.getUint32(at, true) === 3007000, "the wal-index has a version that Sluice does not know");
    const size = view.getUint16(at + 14, true);
    return {
      pageSize: (size & 0xfe00) + ((size & 1) << 16),
      maxFrame: view.getUint32(at + 16, true),
      pageCount: view.getUint32(at + 20, true),
      checksum1: view.getUint32(at + 24, true),
      checksum2: view.getUint32(at + 28, true),
      // Salts stand in the byte order of the WAL file.
      salt1: view.getUint32(at + 32, false),
      salt2: view.getUint32(at + 36, false),
    };
  }
}

export function isExclusiveRequest(flags: number): boolean {
  return (flags & SQLITE_SHM_EXCLUSIVE) !== 0 && (flags & SQLITE_SHM_UNLOCK) === 0;
}

export function isUnlock(flags: number): boolean {
  return (flags & SQLITE_SHM_UNLOCK) !== 0;
}
