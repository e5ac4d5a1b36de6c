import type { Database } from "@sqlite.org/sqlite-wasm";
import { assert } from "./assert.ts";
import { LocalDatabaseError } from "./errors.ts";
import type { Platform } from "./platform.ts";
import {
  type Pointer,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READWRITE,
  SQLITE_OPEN_WAL,
  SQLITE_SYNC_NORMAL,
} from "./vfs/abi.ts";
import { BaseFile } from "./vfs/base-file.ts";
import type { WalIndexHeader } from "./vfs/shared-memory.ts";
import type { ShimVfs } from "./vfs/shim.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";
import { WalReader } from "./wal/wal-reader.ts";

/** SQLite's largest page. */
const MAX_PAGE_SIZE = 65536;

/**
 * The replicated database as the replicator itself uses it: a control connection that stays open, so that the wal-index
 * and the SHARED file lock stay, and handles of its own for reading the WAL and the main file.
 */
export class LocalDatabase {
  readonly control: Database;
  readonly wal: WalReader;
  readonly pageSize: number;
  readonly #platform: Platform;
  readonly #shim: ShimVfs;
  readonly #shimDatabase: ShimDatabase;
  readonly #main: BaseFile;
  readonly #page: Pointer;
  /** Connections that Sluice itself has open. */
  connections = 1;

  /** Opens or creates the database in WAL mode, recovering it. Throws LocalDatabaseError. */
  constructor(platform: Platform, shim: ShimVfs, database: ShimDatabase) {
    this.#platform = platform;
    this.#shim = shim;
    this.#shimDatabase = database;
    this.control = this.connect();
    try {
      if (this.control.selectValue("PRAGMA journal_mode") !== "wal") this.#convert();
      this.control.selectValue("SELECT count(*) FROM sqlite_schema");
      this.pageSize = Number(this.control.selectValue("PRAGMA page_size"));
    } catch (cause) {
      this.control.close();
      if (cause instanceof LocalDatabaseError) throw cause;
      throw new LocalDatabaseError(platform.dbPath, `cannot be opened: ${messageOf(cause)}`, { cause });
    }
    const open = (path: string, flags: number) =>
      BaseFile.open(shim.abi, shim.base, path, flags | SQLITE_OPEN_READWRITE);
    this.#main = open(database.path, SQLITE_OPEN_MAIN_DB);
    const wal = open(database.walPath, SQLITE_OPEN_WAL | SQLITE_OPEN_CREATE);
    this.wal = new WalReader(shim.abi, wal, platform.syncBeside?.bind(platform, wal.path));
    this.#page = shim.abi.allocate(MAX_PAGE_SIZE);
    assert(this.#page !== 0, "no memory for a page");
  }

  #convert(): void {
    const mode = this.control.selectValue("PRAGMA journal_mode=wal");
    if (mode !== "wal")
      throw new LocalDatabaseError(
        this.#platform.dbPath,
        `stays in journal mode ${mode}; is it read-only or open elsewhere?`,
      );
  }

  /** Another connection through the shim. */
  connect(): Database {
    const { sqlite3, dbPath } = this.#platform;
    const wasAdmitting = this.#shimDatabase.admitting;
    this.#shimDatabase.admitting = true;
    try {
      return new sqlite3.oo1.DB({ filename: dbPath, flags: "c", vfs: this.#shim.name });
    } catch (cause) {
      throw (
        this.#platform.explainOpenFailure?.() ??
        new LocalDatabaseError(dbPath, `cannot be opened: ${messageOf(cause)}`, { cause })
      );
    } finally {
      this.#shimDatabase.admitting = wasAdmitting;
    }
  }

  /** Another connection, in a read transaction that pins what is committed now until `endRead`. */
  beginRead(): { db: Database; pageCount: number } {
    const db = this.connect();
    this.connections += 1;
    try {
      db.exec("BEGIN");
      db.selectValue("SELECT count(*) FROM sqlite_schema");
      return { db, pageCount: Number(db.selectValue("PRAGMA page_count")) };
    } catch (error) {
      this.endRead(db);
      throw error;
    }
  }

  endRead(db: Database): void {
    db.close();
    this.connections -= 1;
  }

  /** What SQLite says is committed. */
  header(): WalIndexHeader {
    const header = this.#shimDatabase.shm.header();
    assert(header !== null, "the control connection has read the database");
    return header;
  }

  pageCount(): number {
    return Number(this.control.selectValue("PRAGMA page_count"));
  }

  /** A page of the main file, zeros beyond its end. Valid until the next call. */
  mainPage(pgno: number, pageSize: number): Uint8Array {
    this.#main.read(this.#page, pageSize, (pgno - 1) * pageSize);
    return this.#shim.abi.bytes.subarray(this.#page, this.#page + pageSize);
  }

  syncMain(): void {
    this.#main.sync(SQLITE_SYNC_NORMAL);
    this.#shimDatabase.mainDirty = false;
  }

  /** Moves frames into the main file. Returns whether all of them went and, for TRUNCATE, the WAL is empty. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): boolean {
    const row = this.control.selectArray(`PRAGMA wal_checkpoint(${mode})`);
    const [busy, frames, done] = row as [number, number, number];
    return busy === 0 && frames === done;
  }

  /**
   * Closes what Sluice itself holds. The last connection to close moves the WAL into the main file and removes it, where
   * capture no longer forbids it; not with `keepWal`.
   */
  close({ keepWal = false } = {}): void {
    const { capi } = this.#platform.sqlite3;
    if (keepWal) capi.sqlite3_db_config(this.control, capi.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, 0);
    this.wal.close();
    this.#main.close();
    this.#shim.abi.free(this.#page);
    this.control.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
