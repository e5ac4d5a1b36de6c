import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { assert } from "../assert.ts";
import {
  Abi,
  type Pointer,
  type ResultCode,
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_FULL,
  SQLITE_IOERR,
  SQLITE_OK,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_WAL,
} from "./abi.ts";
import { type BaseMethods, resolveMethods } from "./base-file.ts";
import { answerFileControl } from "./file-control.ts";
import type { ShmConnection } from "./shared-memory.ts";
import { ShimDatabase } from "./shim-database.ts";
import type { BaseWrite } from "./wal-buffer.ts";

/** https://www.sqlite.org/c3ref/c_iocap_atomic.html: a write does not damage bytes beside it when power is lost. */
const SQLITE_IOCAP_POWERSAFE_OVERWRITE = 0x1000;

/** A handle whose methods are ours. */
interface ShimFile {
  readonly database: ShimDatabase;
  readonly main: boolean;
  readonly base: BaseMethods;
  readonly connection: ShmConnection;
  readonly write: BaseWrite;
}

/** A base's io_methods struct and our two copies of it, in which only the intercepted methods differ. */
interface MethodTables {
  readonly base: BaseMethods;
  readonly main: Pointer;
  readonly wal: Pointer;
}

/**
 * An SQLite VFS over any registered base VFS. Files of databases that are not replicated keep the base's methods, and so
 * do reads and writes of a replicated main file: they cost nothing extra. This class moves pointers; what is allowed, and
 * when, is ShimDatabase's and its policy's to say.
 */
export class ShimVfs {
  readonly abi: Abi;
  readonly base: Pointer;
  readonly #databases = new Map<string, ShimDatabase>();
  readonly #files = new Map<Pointer, ShimFile>();
  readonly #tables = new Map<Pointer, MethodTables>();
  readonly #canonical: (path: string) => string;
  readonly #xOpen: (
    vfs: Pointer,
    name: Pointer,
    file: Pointer,
    flags: number,
    outFlags: Pointer,
  ) => ResultCode;
  readonly #xDelete: (vfs: Pointer, name: Pointer, syncDirectory: number) => ResultCode;

  /**
   * Registers the shim as `name` over the VFS `baseName`, which must keep file locks among its connections.
   * `canonical` gives every spelling of a path that the base takes for the same file one form. `isFull` tells whether a
   * write that just failed did for want of room, where the base does not answer SQLITE_FULL itself.
   */
  constructor(
    sqlite3: Sqlite3Static,
    readonly name: string,
    readonly baseName: string,
    canonical: (path: string) => string,
    readonly isFull: () => boolean = () => false,
  ) {
    this.abi = new Abi(sqlite3);
    this.base = this.abi.findVfs(baseName);
    assert(this.base !== 0, `there is no VFS ${baseName}`);
    assert(this.abi.findVfs(name) === 0, `there is a VFS ${name} already`);
    this.#canonical = canonical;
    this.#xOpen = this.#baseMethod("xOpen");
    this.#xDelete = this.#baseMethod("xDelete");
    this.#register();
  }

  /** Puts a database under the shim's watch. `path` is any spelling that the base takes. */
  watch(path: string): ShimDatabase {
    const canonical = this.#canonical(path);
    const before = this.#databases.get(canonical);
    assert(before === undefined || !this.inUse(before), `${canonical} is watched already`);
    const database = new ShimDatabase(this.abi, canonical);
    this.#databases.set(canonical, database);
    return database;
  }

  unwatch(database: ShimDatabase): void {
    assert(!this.inUse(database), `${database.path} has open connections`);
    this.#databases.delete(database.path);
    database.free();
  }

  /** Whether a connection has the database or its WAL open. */
  inUse(database: ShimDatabase): boolean {
    for (const file of this.#files.values()) if (file.database === database) return true;
    return false;
  }

  /** How many connections have the database open. */
  connections(database: ShimDatabase): number {
    let count = 0;
    for (const file of this.#files.values()) if (file.database === database && file.main) count += 1;
    return count;
  }

  #baseMethod<T>(method: string): T {
    return this.abi.callable(this.abi.member(this.abi.vfs, this.base, method)) as T;
  }

  /** Our sqlite3_vfs: the base's methods called with the base's own pVfs, but for xOpen and xDelete. */
  #register(): void {
    const { abi } = this;
    const capi = abi.sqlite3.capi;
    const vfs = abi.allocate(abi.vfs.sizeof);
    abi.bytes.copyWithin(vfs, this.base, this.base + abi.vfs.sizeof);
    const set = (member: string, value: number) => abi.poke32(vfs + abi.vfs.members[member]!.offset, value);
    set("pNext", 0);
    set("zName", abi.cstring(this.name));
    for (const [method, { signature }] of Object.entries(abi.vfs.members)) {
      if (!method.startsWith("x") || abi.member(abi.vfs, this.base, method) === 0) continue;
      const implementation = this.#vfsMethod(method);
      set(method, abi.pointerTo(implementation as (...args: never[]) => unknown, signature));
    }
    const code = capi.sqlite3_vfs_register(vfs as never, 0);
    assert(code === SQLITE_OK, `sqlite3_vfs_register answered ${code}`);
  }

  #vfsMethod(method: string): (...args: number[]) => unknown {
    if (method === "xOpen")
      return (_vfs, name, file, flags, outFlags) => this.#open(name!, file!, flags!, outFlags!);
    if (method === "xDelete") return (_vfs, name, syncDirectory) => this.#delete(name!, syncDirectory!);
    const base = this.#baseMethod<(...args: number[]) => unknown>(method);
    return (_vfs, ...rest) => base(this.base, ...rest);
  }

  #open(name: Pointer, file: Pointer, flags: number, outFlags: Pointer): ResultCode {
    const database = name === 0 ? undefined : this.#databaseOf(this.abi.string(name), flags);
    if (database !== undefined && flags & SQLITE_OPEN_MAIN_DB && !database.admitting) {
      this.abi.poke32(file, 0);
      return SQLITE_CANTOPEN;
    }
    const code = this.#xOpen(this.base, name, file, flags, outFlags);
    if (code !== SQLITE_OK || database === undefined) return code;
    const tables = this.#tablesOf(this.abi.peek32(file));
    this.abi.poke32(file, flags & SQLITE_OPEN_MAIN_DB ? tables.main : tables.wal);
    this.#files.set(file, {
      database,
      main: (flags & SQLITE_OPEN_MAIN_DB) !== 0,
      base: tables.base,
      connection: { shared: 0, exclusive: 0 },
      write: (from, amount, offset) => {
        const code = this.#writtenCode(tables.base.xWrite(file, from, amount, BigInt(offset)));
        if (code === SQLITE_FULL) database.policy?.walFull();
        return code;
      },
    });
    return SQLITE_OK;
  }

  #databaseOf(path: string, flags: number): ShimDatabase | undefined {
    if (flags & SQLITE_OPEN_MAIN_DB) return this.#databases.get(this.#canonical(path));
    if (flags & SQLITE_OPEN_WAL && path.endsWith("-wal"))
      return this.#databases.get(this.#canonical(path.slice(0, -"-wal".length)));
    return undefined;
  }

  #delete(name: Pointer, syncDirectory: number): ResultCode {
    const database = this.#databaseOf(this.abi.string(name), SQLITE_OPEN_WAL);
    const remove = () => this.#xDelete(this.base, name, syncDirectory);
    return database === undefined ? remove() : database.deleteWal(remove);
  }

  #tablesOf(methods: Pointer): MethodTables {
    const known = this.#tables.get(methods);
    if (known !== undefined) return known;
    const base = resolveMethods(this.abi, methods);
    const common = { xClose: this.#xClose, xFileControl: this.#xFileControl };
    const tables = {
      base,
      main: this.#copyMethods(methods, {
        ...common,
        xLock: this.#xLock,
        xWrite: this.#xWriteMain,
        xSync: this.#xSyncMain,
        xDeviceCharacteristics: this.#xDeviceCharacteristics,
        xShmMap: this.#xShmMap,
        xShmLock: this.#xShmLock,
        xShmBarrier: () => undefined,
        xShmUnmap: this.#xShmUnmap,
      }),
      wal: this.#copyMethods(methods, {
        ...common,
        xRead: this.#xReadWal,
        xWrite: this.#xWriteWal,
        xTruncate: this.#xTruncateWal,
        xSync: this.#xSyncWal,
        xFileSize: this.#xFileSizeWal,
      }),
    };
    this.#tables.set(methods, tables);
    return tables;
  }

  #copyMethods(methods: Pointer, replaced: Record<string, (...args: never[]) => unknown>): Pointer {
    const { abi } = this;
    const copy = abi.allocate(abi.ioMethods.sizeof);
    abi.bytes.copyWithin(copy, methods, methods + abi.ioMethods.members.xShmMap!.offset);
    abi.poke32(copy, 2); // iVersion: with shared memory, without memory-mapped reads
    for (const [name, method] of Object.entries(replaced)) {
      const { offset, signature } = abi.ioMethods.members[name]!;
      abi.poke32(copy + offset, abi.pointerTo(method, signature));
    }
    return copy;
  }

  #file(pointer: Pointer): ShimFile {
    const file = this.#files.get(pointer);
    assert(file, "a method of the shim was called for a file that it did not open");
    return file;
  }

  readonly #xClose = (pointer: Pointer): ResultCode => {
    const { database, base, connection } = this.#file(pointer);
    const code = database.flushWal();
    database.shm.unmap(connection);
    this.#files.delete(pointer);
    const closed = base.xClose(pointer);
    if (database.onIdle !== null && !this.inUse(database)) database.onIdle();
    return closed || code;
  };

  readonly #xFileControl = (pointer: Pointer, op: number, arg: Pointer): ResultCode => {
    const { database, base } = this.#file(pointer);
    return answerFileControl(this.abi, database, op, arg) ?? base.xFileControl(pointer, op, arg);
  };

  readonly #xLock = (pointer: Pointer, level: number): ResultCode => {
    const { database, base } = this.#file(pointer);
    return database.refusesLock(level) ? SQLITE_BUSY : base.xLock(pointer, level);
  };

  readonly #xWriteMain = (pointer: Pointer, from: Pointer, amount: number, offset: bigint): ResultCode =>
    this.#writtenCode(this.#file(pointer).base.xWrite(pointer, from, amount, offset));

  /** The code of a write, with SQLITE_FULL where the base has a less exact one for it. */
  #writtenCode(code: ResultCode): ResultCode {
    return (code & 0xff) === SQLITE_IOERR && this.isFull() ? SQLITE_FULL : code;
  }

  readonly #xSyncMain = (pointer: Pointer, flags: number): ResultCode => {
    const { database, base } = this.#file(pointer);
    const code = base.xSync(pointer, flags);
    if (code === SQLITE_OK) database.mainDirty = false;
    return code;
  };

  /**
   * What the base says, and of the frames of a transaction none is written twice to fill a sector. Not before capture: as long
   * as the database may have a rollback journal, as in its change to WAL mode, that has to be one of the base's sectors. SQLite
   * does not take a shorter one for a journal, so who opens the database without us would leave it there, to be rolled back
   * over whatever was committed since.
   */
  readonly #xDeviceCharacteristics = (pointer: Pointer): number => {
    const { database, base } = this.#file(pointer);
    const psow = database.capture === null ? 0 : SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    return base.xDeviceCharacteristics(pointer) | psow;
  };

  readonly #xShmMap = (
    pointer: Pointer,
    region: number,
    size: number,
    extend: number,
    out: Pointer,
  ): ResultCode => {
    const { database, connection } = this.#file(pointer);
    return database.shm.map(connection, region, size, extend !== 0, out);
  };

  readonly #xShmLock = (pointer: Pointer, offset: number, count: number, flags: number): ResultCode => {
    const { database, connection } = this.#file(pointer);
    try {
      return database.lockShm(connection, offset, count, flags);
    } catch (error) {
      return this.#internalError(error);
    }
  };

  readonly #xShmUnmap = (pointer: Pointer): ResultCode => {
    const { database, connection } = this.#file(pointer);
    database.shm.unmap(connection);
    return SQLITE_OK;
  };

  readonly #xReadWal = (pointer: Pointer, into: Pointer, amount: number, offset: bigint): ResultCode => {
    const { database, base } = this.#file(pointer);
    return database.flushWal() || base.xRead(pointer, into, amount, offset);
  };

  readonly #xWriteWal = (pointer: Pointer, from: Pointer, amount: number, offset: bigint): ResultCode => {
    const { database, write } = this.#file(pointer);
    return database.writeWal(write, from, amount, Number(offset));
  };

  readonly #xTruncateWal = (pointer: Pointer, size: bigint): ResultCode => {
    const { database, base } = this.#file(pointer);
    return database.truncateWal(Number(size), () => base.xTruncate(pointer, size));
  };

  readonly #xSyncWal = (pointer: Pointer, flags: number): ResultCode => {
    const { database, base } = this.#file(pointer);
    return database.syncWal(() => base.xSync(pointer, flags));
  };

  readonly #xFileSizeWal = (pointer: Pointer, out: Pointer): ResultCode => {
    const { database, base } = this.#file(pointer);
    return database.flushWal() || base.xFileSize(pointer, out);
  };

  /** C cannot take an exception. The last one is kept for the replicator to raise. */
  #internalError(error: unknown): ResultCode {
    this.lastError = error;
    return SQLITE_IOERR;
  }

  lastError: unknown = null;
}
