import fs from "node:fs";
import { join } from "node:path";
import type { Database, PreparedStatement, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { assert } from "../src/assert.ts";
import type { Awaitable } from "../src/cache/write-cache.ts";
import { DatabaseInUseError, FollowError, LocalDatabaseError, SluiceError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import type { CopyState, FollowedCopy } from "../src/follow-copy.ts";
import { type CopyRecord, headerDigest, type RecordedState, readRecord, writeRecord } from "./copy-record.ts";
import { errorCode } from "./errno.ts";
import { acquireFileLock, type FileLock } from "./lock.ts";
import { FilePageStage } from "./page-stage.ts";
import { beginsWithZeros, FileTarget } from "./restore-target.ts";
import { installSharedNodeVfs } from "./vfs.ts";

/** KiB of pages that SQLite keeps in memory; what a transaction changes beyond that goes to the file before it commits. */
const CACHE_KIB = 8192;
/** Milliseconds that SQLite waits for readers of other processes, with the event loop held up; and between two tries. */
const BUSY_MS = 250;
const PAUSE_MS = 100;
/** Tries before readers that never leave are an error. */
const TRIES = 30;

/** Offsets in SQLite's header (fileformat2.html#the_database_header). */
const WRITE_VERSION = 18;
const READ_VERSION = 19;
const CHANGE_COUNTER = 24;
const VERSION_VALID_FOR = 92;
const SQLITE_VERSION_NUMBER = 96;
/** Value of the first two: rollback journal. */
const ROLLBACK = 1;

/**
 * A copy in rollback mode, which every SQLite can read beside us: a WAL would need memory shared between processes. Pages
 * go in by one transaction of SQLite's own, through `sqlite_dbpage`, so that its journal makes each change whole or void,
 * its locks keep readers out for that moment, and its change counter makes them drop what they have cached.
 */
export class FollowedCopyFile implements FollowedCopy {
  readonly #sqlite3: Sqlite3Static;
  readonly #vfs: string;
  readonly #folder: string;
  readonly #lock: FileLock;
  /** Open while the copy is followed: to close a file gives up the locks that native SQLite has on it in this process. */
  #db: Database | null = null;
  #readPage: PreparedStatement | null = null;
  #now: RecordedState | null = null;

  /** Takes the lock that keeps other followers away. Throws DatabaseInUseError, LockUnavailableError, LocalDatabaseError. */
  constructor(
    sqlite3: Sqlite3Static,
    readonly path: string,
  ) {
    this.#sqlite3 = sqlite3;
    this.#vfs = installSharedNodeVfs(sqlite3);
    this.#folder = `${path}-follow`;
    this.#lock = this.#local(() => {
      try {
        return this.#lockFolder();
      } catch (error) {
        // Another follower ends at this moment, without a copy, and removes the folder.
        if (errorCode(error) !== "ENOENT") throw error;
        return this.#lockFolder();
      }
    });
  }

  get #lockPath(): string {
    return join(this.#folder, "lock");
  }

  #lockFolder(): FileLock {
    fs.mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    return acquireFileLock(this.#lockPath);
  }

  open(): CopyState | null {
    const stat = this.#local(() => fs.statSync(this.path, { throwIfNoEntry: false }));
    if (stat === undefined) return null;
    // Before its size, which is 0 for a pipe, a socket, a device: a copy would take its place.
    if (!stat.isFile()) throw new LocalDatabaseError(this.path, "is not a file");
    if (stat.size === 0 || beginsWithZeros(this.path)) return null;
    const record = readRecord(this.#recordPath);
    if (record === null)
      throw new FollowError(
        "not-a-copy",
        `${this.path} is a database that was not made by following. Name another file, or move it away.`,
      );
    this.#openConnection();
    this.#now = this.#local(() => this.#whichOf(record));
    return this.#now;
  }

  get #recordPath(): string {
    return join(this.#folder, "copy.json");
  }

  #openConnection(): void {
    this.#local(() => {
      const db = new this.#sqlite3.oo1.DB({ filename: this.path, flags: "w", vfs: this.#vfs });
      this.#db = db;
      db.exec(`PRAGMA busy_timeout=${BUSY_MS}; PRAGMA cache_size=-${CACHE_KIB}; PRAGMA synchronous=FULL`);
    });
  }

  /** Reading rolls a hot journal back first, so that the header is that of a whole state. */
  #whichOf({ before, after }: CopyRecord): RecordedState {
    const header = headerDigest(this.#header());
    for (const state of [after, before]) if (state !== null && state.header === header) return state;
    throw this.#changed();
  }

  #changed(): FollowError {
    return new FollowError(
      "changed",
      `${this.path} was changed by something else than its follower, so that nothing is known of its state. ` +
        `Delete it and ${this.#folder}, and follow anew; what was written there is not in the replica.`,
    );
  }

  restoreTarget(): RollbackTarget {
    return new RollbackTarget(this.path, this.#sqlite3, this.#vfs);
  }

  async make(target: RollbackTarget, state: CopyState): Promise<void> {
    this.#check(target.path);
    const made = { ...state, header: target.header! };
    this.#local(() => writeRecord(this.#recordPath, { version: 1, before: null, after: made }));
    fault("follow:before-finish");
    await target.finish(state.pageCount * state.pageSize);
    this.#now = made;
    this.#openConnection();
  }

  #check(path: string): void {
    this.#local(() => {
      const db = new this.#sqlite3.oo1.DB({ filename: path, flags: "r", vfs: this.#vfs });
      try {
        const answer = db.selectValue("PRAGMA quick_check(1)");
        if (answer !== "ok") throw new LocalDatabaseError(path, `the restored file is damaged: ${answer}`);
      } finally {
        db.close();
      }
    });
  }

  page(pgno: number): Uint8Array | null {
    return this.#local(() => {
      this.#readPage ??= this.#db!.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?");
      try {
        return this.#readPage.bind(pgno).step() ? this.#readPage.getBlob(0) : null;
      } finally {
        this.#readPage.reset();
      }
    });
  }

  #header(): Uint8Array {
    const page = this.page(1);
    assert(page !== null, "a database has a page 1");
    return page;
  }

  stage(): FilePageStage {
    return this.#local(() => new FilePageStage(join(this.#folder, "pages")));
  }

  async apply(stage: FilePageStage, next: CopyState, signal: AbortSignal): Promise<void> {
    const before = this.#now!;
    const pageOne = stage.pageOne === null ? null : inRollbackMode(stage.pageOne);
    const after = { ...next, header: headerDigest(this.#headerAfter(pageOne)) };
    this.#local(() => writeRecord(this.#recordPath, { version: 1, before, after }));
    fault("follow:after-record");
    await this.#begin(signal);
    this.#local(() => {
      try {
        if (headerDigest(this.#header()) !== before.header) throw this.#changed();
        this.#writePages(stage, pageOne, before, next);
        fault("follow:before-commit");
        this.#db!.exec("COMMIT");
      } catch (error) {
        if (!this.#sqlite3.capi.sqlite3_get_autocommit(this.#db!)) this.#db!.exec("ROLLBACK");
        throw error;
      }
    });
    fault("follow:after-commit");
    this.#now = after;
    this.#forgetCached();
    assert(
      this.#local(() => headerDigest(this.#header())) === after.header,
      "the header after a change is known before",
    );
  }

  /** What SQLite makes of the header when it commits (pager.c, pager_write_changecounter). */
  #headerAfter(pageOne: Uint8Array | null): Uint8Array {
    const present = this.#header();
    const header = Buffer.from(pageOne ?? present);
    const counter = (Buffer.from(present).readUInt32BE(CHANGE_COUNTER) + 1) >>> 0;
    header.writeUInt32BE(counter, CHANGE_COUNTER);
    header.writeUInt32BE(counter, VERSION_VALID_FOR);
    header.writeUInt32BE(this.#sqlite3.capi.sqlite3_libversion_number(), SQLITE_VERSION_NUMBER);
    return header;
  }

  /**
   * Exclusive from the beginning, so that pages may spill to the file: then readers are kept out as long as local files
   * take. While SQLite waits, it lets no new reader in.
   */
  async #begin(signal: AbortSignal): Promise<void> {
    // Pages that SQLite has parsed would be taken for parsed after they were exchanged beneath it.
    this.#forgetCached();
    const { capi } = this.#sqlite3;
    const db = this.#db!;
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      // Not by `exec`, which prints what fails.
      const rc = capi.sqlite3_exec(db, "BEGIN EXCLUSIVE", 0, 0, 0);
      if (rc === 0) return;
      if ((rc & 0xff) !== capi.SQLITE_BUSY || attempt === TRIES) this.#local(() => db.checkRc(rc));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /**
   * Page 1 last, since from then on SQLite may read the schema anew. Cutting comes behind it: any further page would undo
   * it. One statement a page: at the end of one that wrote several SQLite takes the size from the new page 1, and would
   * find nothing to cut.
   */
  #writePages(stage: FilePageStage, pageOne: Uint8Array | null, before: CopyState, next: CopyState): void {
    const insert = this.#db!.prepare("INSERT INTO sqlite_dbpage(pgno, data) VALUES(?, ?)");
    try {
      for (const { pgno, page } of stage.pages()) insert.bind([pgno, page]).stepReset();
      if (pageOne !== null) insert.bind([1, pageOne]).stepReset();
      if (next.pageCount < before.pageCount) insert.bind([next.pageCount + 1, null]).stepReset();
    } finally {
      insert.finalize();
    }
  }

  #forgetCached(): void {
    this.#local(() => this.#db!.exec("PRAGMA shrink_memory"));
  }

  /** A connection for reading. */
  openDatabase(): Database {
    const db = new this.#sqlite3.oo1.DB({ filename: this.path, flags: "r", vfs: this.#vfs });
    db.exec("PRAGMA busy_timeout=5000");
    return db;
  }

  release(): void {
    this.#readPage?.finalize();
    this.#readPage = null;
    this.#db?.close();
    this.#db = null;
    if (this.#lock.stands() && !fs.existsSync(this.#recordPath)) this.#removeFolder();
    this.#lock.release();
  }

  /** No copy came about, and nothing is known. Whoever waits for the lock finds that its file is gone, and makes another. */
  #removeFolder(): void {
    try {
      fs.unlinkSync(this.#lockPath);
      fs.rmdirSync(this.#folder);
    } catch {
      // Something else is in there, or the system keeps open files: it may stay.
    }
  }

  /** Errors of SQLite and of the file system, as ours. */
  #local<T>(operation: () => T): T {
    try {
      return operation();
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause;
      const resultCode = (cause as { resultCode?: number }).resultCode;
      if (resultCode !== undefined && (resultCode & 0xff) === this.#sqlite3.capi.SQLITE_BUSY)
        throw new DatabaseInUseError(this.path, "a connection that reads or writes it");
      if (resultCode === undefined && errorCode(cause) === "") throw cause;
      throw new LocalDatabaseError(this.path, `cannot be used as a copy: ${cause}`, { cause });
    }
  }
}

/** A restore into a file of its own, which is a database in rollback mode when it is put in place. */
class RollbackTarget extends FileTarget {
  header: string | null = null;

  constructor(path: string, sqlite3: Sqlite3Static, vfs: string) {
    super(path, sqlite3, vfs, (rename) => rename());
  }

  override write(bytes: Uint8Array, offset: number): Awaitable {
    if (offset !== 0) return super.write(bytes, offset);
    const pageOne = inRollbackMode(bytes);
    this.header = headerDigest(pageOne);
    return super.write(pageOne, offset);
  }
}

function inRollbackMode(pageOne: Uint8Array): Uint8Array {
  const page = pageOne.slice();
  page[WRITE_VERSION] = ROLLBACK;
  page[READ_VERSION] = ROLLBACK;
  return page;
}
