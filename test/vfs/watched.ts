import nodeFs, { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { expect, onTestFinished } from "vitest";
import { canonicalPath } from "../../node/platform.ts";
import { installNodeVfs, type VfsFileSystem } from "../../node/vfs.ts";
import {
  type Pointer,
  type ResultCode,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READWRITE,
  SQLITE_OPEN_WAL,
} from "../../src/vfs/abi.ts";
import { BaseFile } from "../../src/vfs/base-file.ts";
import { Capture, walPosition } from "../../src/vfs/capture.ts";
import { ShimVfs } from "../../src/vfs/shim.ts";
import type { DatabasePolicy, ShimDatabase } from "../../src/vfs/shim-database.ts";
import { WalReader } from "../../src/wal/wal-reader.ts";
import { native, systemError, temporaryFolder } from "../node/vfs-fixture.ts";
import { quietModule } from "../replicator/replica-fixture.ts";

export interface DiskCall {
  readonly operation: "read" | "write" | "sync" | "truncate";
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** A file system that tells what was done to it, and fails where a test says so. */
export class Disk {
  readonly calls: DiskCall[] = [];
  /** True: this call fails with EIO. */
  fails: (call: DiskCall) => boolean = () => false;
  /** Whether that was for want of room, which EIO does not say. */
  full = false;
  readonly #paths = new Map<number, string>();
  readonly fs: VfsFileSystem;

  constructor() {
    const writeSync = (fd: number, from: Uint8Array, at: number, length: number, offset: number): number => {
      this.#note("write", fd, offset, length);
      return nodeFs.writeSync(fd, from, at, length, offset);
    };
    const readSync = (fd: number, to: Uint8Array, at: number, length: number, offset: number): number => {
      this.#note("read", fd, offset, length);
      return nodeFs.readSync(fd, to, at, length, offset);
    };
    this.fs = {
      ...nodeFs,
      readSync: readSync as typeof nodeFs.readSync,
      openSync: (path, flags, mode) => {
        const fd = nodeFs.openSync(path, flags, mode);
        this.#paths.set(fd, String(path));
        return fd;
      },
      writeSync: writeSync as typeof nodeFs.writeSync,
      fdatasyncSync: (fd) => {
        this.#note("sync", fd, 0, 0);
        nodeFs.fdatasyncSync(fd);
      },
      ftruncateSync: (fd, size) => {
        this.#note("truncate", fd, size ?? 0, 0);
        nodeFs.ftruncateSync(fd, size);
      },
    };
  }

  #note(operation: DiskCall["operation"], fd: number, offset: number, length: number): void {
    const call = { operation, path: this.#paths.get(fd)!, offset, length };
    this.calls.push(call);
    if (this.fails(call)) throw systemError("EIO", 5);
  }

  /** What `action` changes in the WAL. */
  walCallsOf(action: () => void): DiskCall[] {
    const before = this.calls.length;
    action();
    return this.calls
      .slice(before)
      .filter(({ path, operation }) => path.endsWith("-wal") && operation !== "read");
  }
}

/** A policy that a test sets by hand. */
export class ManualPolicy implements DatabasePolicy {
  restart: () => boolean = () => true;
  checkpoint: () => boolean = () => true;
  commits = 0;
  mayRestart = () => this.restart();
  mayCheckpoint = () => this.checkpoint();
  committed = () => void this.commits++;
  walFull = () => undefined;
  statusLine = () => "status";
}

/** A database under the shim's watch over the Node VFS, with capture on, and a replica that a test drains into. */
export class Watched {
  readonly capture: Capture;
  readonly policy = new ManualPolicy();
  readonly reader: WalReader;
  /** The pages that a restore would have. */
  readonly replica = new Map<number, Uint8Array>();
  readonly #main: BaseFile;
  readonly #connections: Database[] = [];
  readonly #pageSize: number;

  private constructor(
    readonly sqlite3: Sqlite3Static,
    readonly disk: Disk,
    readonly shim: ShimVfs,
    readonly database: ShimDatabase,
    readonly control: Database,
  ) {
    const { abi, base } = shim;
    this.#connections.push(control);
    this.#pageSize = Number(control.selectValue("PRAGMA page_size"));
    const open = (path: string, flags: number) =>
      BaseFile.open(abi, base, path, flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    this.reader = new WalReader(abi, open(database.walPath, SQLITE_OPEN_WAL));
    this.#main = open(database.path, SQLITE_OPEN_MAIN_DB);
    const { pageCount, pageSize } = this.header();
    this.capture = new Capture(
      { txid: 0, wal: walPosition(this.header()), pageCount, pageSize, time: 0 },
      () => 0,
      (first, last, each) => this.reader.scan(pageSize, first, last, each),
    );
    database.capture = this.capture;
    database.policy = this.policy;
    this.pages().forEach((page, pgno) => void this.replica.set(pgno, page));
  }

  /** `setup` is run first; what it commits is where the replica begins. */
  static async open(setup: string, pageSize = 4096): Promise<Watched> {
    const sqlite3 = await quietModule();
    const disk = new Disk();
    const vfs = installNodeVfs(sqlite3, { fs: disk.fs });
    const shim = new ShimVfs(sqlite3, "shim", vfs, canonicalPath, () => disk.full);
    const database = shim.watch(join(temporaryFolder(), "data.db"));
    database.admitting = true;
    const control = new sqlite3.oo1.DB({ filename: database.path, flags: "c", vfs: shim.name });
    control.exec(
      `PRAGMA page_size=${pageSize}; ${setup}; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0`,
    );
    control.exec("PRAGMA synchronous=NORMAL");
    control.exec("CREATE TABLE begin(x)");
    const watched = new Watched(sqlite3, disk, shim, database, control);
    onTestFinished(() => {
      watched.disk.fails = () => false;
      for (const db of watched.#connections) db.close();
    });
    return watched;
  }

  /** `parameters`: of a URI. */
  connect(parameters = ""): Database {
    const filename = parameters === "" ? this.database.path : `file:${this.database.path}?${parameters}`;
    const db = new this.sqlite3.oo1.DB({ filename, flags: "c", vfs: this.shim.name });
    db.exec("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL");
    this.#connections.push(db);
    return db;
  }

  header() {
    return this.database.shm.header()!;
  }

  /** What a new transaction reads, by page number. */
  pages(): Map<number, Uint8Array> {
    const db = this.connect();
    const pages = new Map<number, Uint8Array>();
    const rows = db.selectArrays("SELECT pgno, data FROM sqlite_dbpage") as [number, Uint8Array][];
    for (const [pgno, page] of rows) pages.set(pgno, page.slice());
    db.close();
    return pages;
  }

  /** Moves what is captured into the replica, as a drain and a restore would. Returns the page numbers. */
  drain(): number[] {
    const span = this.capture.span();
    if (span === null) return [];
    const wal = this.reader.header()!;
    const { pgnos, frames } = this.capture.pages(span);
    // A restore forgets what stood above the smallest size.
    for (const pgno of this.replica.keys()) if (pgno > span.minPageCount) this.replica.delete(pgno);
    const inWal = frames.filter((frame) => frame > 0);
    const walPgnos = pgnos.filter((_, slot) => frames[slot]! > 0);
    this.reader.read(wal, inWal, walPgnos, (i, page) => void this.replica.set(walPgnos[i]!, page.slice()));
    pgnos.forEach((pgno, slot) => {
      if (frames[slot] === 0) this.replica.set(pgno, this.#mainPage(pgno));
    });
    this.capture.confirm(span, span.to.pageCount);
    return [...pgnos];
  }

  #mainPage(pgno: number): Uint8Array {
    const { abi } = this.shim;
    const at = abi.allocate(this.#pageSize);
    this.#main.read(at, this.#pageSize, (pgno - 1) * this.#pageSize);
    const page = abi.bytes.slice(at, at + this.#pageSize);
    abi.free(at);
    return page;
  }

  /** The replica holds exactly the pages of the live database. */
  expectReplica(): void {
    const live = this.pages();
    const wrong = [...live].filter(
      ([pgno, page]) => !Buffer.from(page).equals(this.replica.get(pgno) ?? Buffer.of()),
    );
    const beyond = [...this.replica.keys()].filter((pgno) => !live.has(pgno));
    expect({ wrong: wrong.map(([pgno]) => pgno), beyond }).toEqual({ wrong: [], beyond: [] });
  }

  /** What another process finds in the files after a crash at this moment. */
  crashed(sql: string): string {
    const copy = join(temporaryFolder(), "crashed.db");
    copyFileSync(this.database.path, copy);
    if (existsSync(this.database.walPath)) copyFileSync(this.database.walPath, `${copy}-wal`);
    return native(copy, `${sql}; PRAGMA integrity_check`);
  }

  /** SQLite's handle of the main file (`FILE_POINTER`) or the WAL (`JOURNAL_POINTER`) of a connection. */
  file(db: Database, which: "main" | "wal"): Pointer {
    return this.fileControl(db, which === "main" ? 7 : 28, 0);
  }

  /** sqlite3_file_control with a pointer to an integer; answers the integer. */
  fileControl(db: Database, operation: number, value: number): number {
    const { abi } = this.shim;
    const out = abi.allocate(8);
    abi.poke32(out, value);
    const code = this.sqlite3.capi.sqlite3_file_control(db.pointer!, "main", operation as 10, out);
    const answer = abi.peek32(out);
    abi.free(out);
    expect(code).toBe(0);
    return answer;
  }

  /** Calls a method of an open file as SQLite would. */
  call(file: Pointer, method: string, ...args: (number | bigint)[]): ResultCode {
    const { abi } = this.shim;
    const xMethod = abi.callable(abi.member(abi.ioMethods, abi.peek32(file), method));
    return (xMethod as (...args: (number | bigint)[]) => ResultCode)(file, ...args);
  }

  /** Bytes in the module's memory while `use` runs. */
  withBytes<T>(bytes: Uint8Array, use: (at: Pointer) => T): T {
    const { abi } = this.shim;
    const at = abi.allocate(bytes.length);
    abi.bytes.set(bytes, at);
    try {
      return use(at);
    } finally {
      abi.free(at);
    }
  }
}
