import { walFrameHeaderSize, walHeaderSize } from "../wal/wal-format.ts";
import type { Abi, Pointer, ResultCode } from "./abi.ts";
import {
  SQLITE_BUSY,
  SQLITE_IOERR_DELETE,
  SQLITE_IOERR_TRUNCATE,
  SQLITE_IOERR_WRITE,
  SQLITE_LOCK_SHARED,
  SQLITE_OK,
} from "./abi.ts";
import type { Capture } from "./capture.ts";
import {
  isExclusiveRequest,
  isUnlock,
  SharedMemory,
  type ShmConnection,
  WAL_CHECKPOINT_LOCK,
  WAL_READ_LOCK_1,
  WAL_RESTART_LOCKS,
  WAL_WRITE_LOCK,
} from "./shared-memory.ts";
import { type BaseWrite, WalBuffer } from "./wal-buffer.ts";

/** What a replicator decides for its database. The methods may do input and output; none may throw. */
export interface DatabasePolicy {
  /** SQLite wants to restart the WAL. True only when everything captured is cached, now. */
  mayRestart(): boolean;
  /**
   * SQLite wants to checkpoint: `asked` by PRAGMA wal_checkpoint, or by itself after a commit. False where it could not
   * free the WAL anyway.
   */
  mayCheckpoint(asked: boolean): boolean;
  /** Something was committed, and captured unless `broken` says why not. Called with the write lock just released. */
  committed(): void;
  /** A write to the WAL found no room. The WAL itself can make some, where it may be restarted. */
  walFull(): void;
  /** The answer of `PRAGMA sluice_status`: one line of JSON. */
  statusLine(): string;
}

/**
 * One replicated database, as its connections' file methods see it. While `capture` is null (before start, after the
 * end) everything passes. While it is set, no commit can go round it:
 * - no connection gets more than a SHARED file lock, so the last one to close neither checkpoints nor deletes the WAL,
 *   the journal mode cannot change, and nothing writes to the main file but a checkpoint;
 * - the WAL is written only by a holder of the write lock, which locking_mode=exclusive does without;
 * - the WAL is not restarted, truncated or deleted while it holds a commit that is not cached.
 */
export class ShimDatabase {
  readonly shm: SharedMemory;
  capture: Capture | null = null;
  policy: DatabasePolicy | null = null;
  /** Whether connections may open the database at all. */
  admitting = false;
  /** Called when the last handle was closed. */
  onIdle: (() => void) | null = null;
  /** A checkpoint has written to the main file and not synced it (synchronous=OFF). */
  mainDirty = false;
  /** The next checkpoint is one that PRAGMA wal_checkpoint asks for. */
  checkpointAsked = false;
  readonly #buffer: WalBuffer;
  readonly #abi: Abi;
  #frameSize = 0;
  #commitFrameEnd = -1;

  constructor(
    abi: Abi,
    /** As the base VFS spells it. */
    readonly path: string,
  ) {
    this.#abi = abi;
    this.shm = new SharedMemory(abi);
    this.#buffer = new WalBuffer(abi);
  }

  get walPath(): string {
    return `${this.path}-wal`;
  }

  /** Whether a file lock on the main file is refused. */
  refusesLock(level: number): boolean {
    return this.capture !== null && level > SQLITE_LOCK_SHARED;
  }

  lockShm(connection: ShmConnection, offset: number, count: number, flags: number): ResultCode {
    if (isUnlock(flags)) return this.#unlockShm(connection, offset, count, flags);
    const exclusive = isExclusiveRequest(flags);
    if (exclusive && this.#gateRefuses(offset, count)) return SQLITE_BUSY;
    const code = this.shm.lock(connection, offset, count, flags);
    if (code === SQLITE_OK && exclusive) {
      if (offset === WAL_WRITE_LOCK) this.#beginWrite();
      // WAL_RECOVER_LOCK, alone or in a range: the wal-index is about to be rebuilt from the file.
      if (offset <= 2 && offset + count > 2) this.capture?.forgetStaged();
    }
    return code;
  }

  /** Exactly two requests are subject to the gate; recovery's must always pass, or opening fails after a crash. */
  #gateRefuses(offset: number, count: number): boolean {
    if (this.capture === null || this.policy === null) return false;
    if (offset === WAL_READ_LOCK_1 && count === WAL_RESTART_LOCKS) return !this.policy.mayRestart();
    if (offset !== WAL_CHECKPOINT_LOCK || count !== 1) return false;
    const asked = this.checkpointAsked;
    this.checkpointAsked = false;
    return !this.policy.mayCheckpoint(asked);
  }

  #beginWrite(): void {
    this.#buffer.begin();
    const header = this.shm.header();
    if (header !== null && header.pageSize > 0) this.#frameSize = header.pageSize + walFrameHeaderSize;
  }

  #unlockShm(connection: ShmConnection, offset: number, count: number, flags: number): ResultCode {
    let committed = false;
    if (offset === WAL_WRITE_LOCK && connection.exclusive & (1 << WAL_WRITE_LOCK)) {
      // What is left in the buffer belongs to a transaction that was rolled back; a failure to write it loses nothing.
      this.#buffer.flush();
      const header = this.capture === null ? null : this.shm.header();
      if (header !== null) committed = this.capture!.take(header) || this.capture!.broken !== null;
    }
    const code = this.shm.lock(connection, offset, count, flags);
    if (committed) this.policy?.committed();
    return code;
  }

  writeWal(write: BaseWrite, from: Pointer, amount: number, offset: number): ResultCode {
    if (this.capture === null) return write(from, amount, offset);
    if (!this.shm.writing) return SQLITE_IOERR_WRITE;
    if (offset === 0) {
      if (this.capture.pending) return SQLITE_IOERR_WRITE;
      this.#noteHeader(from, amount);
    } else {
      this.#noteFrame(from, amount, offset);
    }
    const code = this.#buffer.write(write, from, amount, offset);
    if (code !== SQLITE_OK || offset + amount !== this.#commitFrameEnd) return code;
    this.#commitFrameEnd = -1;
    return this.#buffer.flush();
  }

  #noteHeader(from: Pointer, amount: number): void {
    if (amount < walHeaderSize) return;
    this.#frameSize = this.#abi.view.getUint32(from + 8, false) + walFrameHeaderSize;
  }

  /** SQLite writes a frame's header, then its page; or again a header alone, to mend its checksum. */
  #noteFrame(from: Pointer, amount: number, offset: number): void {
    const index = (offset - walHeaderSize) / this.#frameSize;
    if (amount < walFrameHeaderSize || !Number.isInteger(index)) return;
    const view = this.#abi.view;
    this.capture!.stage(index + 1, view.getUint32(from, false));
    const commits = view.getUint32(from + 4, false) !== 0;
    this.#commitFrameEnd = commits ? offset + this.#frameSize : -1;
  }

  /** Before any read, size or sync of the WAL by any connection. */
  flushWal(): ResultCode {
    return this.#buffer.flush();
  }

  syncWal(sync: () => ResultCode): ResultCode {
    return this.#buffer.flush() || sync();
  }

  truncateWal(size: number, truncate: () => ResultCode): ResultCode {
    const code = this.#buffer.flush();
    if (code !== SQLITE_OK) return code;
    if (this.capture?.pending) {
      const frames = this.capture.captured.wal?.frame ?? 0;
      if (size < walHeaderSize + frames * this.#frameSize) return SQLITE_IOERR_TRUNCATE;
    }
    return truncate();
  }

  deleteWal(remove: () => ResultCode): ResultCode {
    return this.capture === null ? remove() : SQLITE_IOERR_DELETE;
  }

  /** The last handle is closed and none will be opened any more. */
  free(): void {
    this.#buffer.free();
  }
}
