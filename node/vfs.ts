import { randomFillSync } from "node:crypto";
import nodeFs from "node:fs";
import type { Sqlite3Static, sqlite3_io_methods, sqlite3_vfs } from "@sqlite.org/sqlite-wasm";
import { errorCode, LastError } from "./errno.ts";
import { fileKey } from "./file-key.ts";
import { FileLocks, type LevelledFile, type LockTable } from "./file-locks.ts";
import type { LockOptions } from "./lock.ts";
import { OsFileLocks } from "./os-locks.ts";
import { ioMethods } from "./vfs-io.ts";
import { OpenError, type OpenFile, openFile } from "./vfs-open.ts";
import { resolveSymlinks, syncParent } from "./vfs-path.ts";

const VFS_NAME = "sluice-node";
const SHARED_VFS_NAME = "sluice-node-shared";

/** A path and its terminating zero, as sqlite3_vfs.mxPathname counts it; SQLite itself leaves room for "-journal". */
const MAX_PATH_BYTES = 4095;

/** sqlite3.h: a name was resolved through symbolic links. Not among the constants that sqlite-wasm exports. */
const SQLITE_OK_SYMLINK = 512;

/** The Julian day number of 1970-01-01, in milliseconds (os_unix.c). */
const UNIX_EPOCH = 210866760000000n;

/** The part of node:fs that the VFS uses. Tests put their own in its place to make a disk fail. */
export type VfsFileSystem = Pick<
  typeof nodeFs,
  | "accessSync"
  | "closeSync"
  | "constants"
  | "fchmodSync"
  | "fchownSync"
  | "fdatasyncSync"
  | "fstatSync"
  | "fsyncSync"
  | "ftruncateSync"
  | "lstatSync"
  | "openSync"
  | "readSync"
  | "readlinkSync"
  | "statSync"
  | "unlinkSync"
  | "writeSync"
>;

export interface NodeVfsOptions extends LockOptions {
  readonly fs?: VfsFileSystem | undefined;
}

/** What the methods of one installed VFS share. */
export interface VfsState {
  readonly name: string;
  readonly sqlite3: Sqlite3Static;
  readonly fs: VfsFileSystem;
  readonly locks: LockTable;
  readonly lastError: LastError;
  readonly heap: Heap;
  /** Indexed by the handle in the sqlite3_file, behind pMethods. No Map: a commit looks here a dozen times. */
  readonly files: (OpenFile | undefined)[];
  readonly lockedFiles: (LevelledFile | undefined)[];
  /** The last SQLITE_BUSY came from another process, so that waiting can help. */
  waitCanHelp: boolean;
}

/**
 * The WebAssembly heap. Growing it detaches the old views, which have length 0 from then on: asking that is far cheaper
 * than asking the memory for its size on every call.
 */
export class Heap {
  readonly #wasm: Sqlite3Static["wasm"];
  #bytes: Uint8Array;
  #words: Int32Array;
  constructor(wasm: Sqlite3Static["wasm"]) {
    this.#wasm = wasm;
    this.#bytes = wasm.heap8u();
    this.#words = wasm.heap32();
  }
  get bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#bytes = this.#wasm.heap8u();
    return this.#bytes;
  }
  get words(): Int32Array {
    if (this.#words.length === 0) this.#words = this.#wasm.heap32();
    return this.#words;
  }
}

/**
 * Registers a VFS over node:fs with one instance of sqlite-wasm, which has none of its own that keeps anything in Node.
 * It behaves as os_unix.c does, with two differences: the process holds the file exclusively (lock.ts), and a busy
 * timeout waits only for other processes. It has no shared memory; the shim adds that. A second call for the same
 * instance changes nothing, and its options are not looked at.
 * @returns the name, for `vfs` in `new sqlite3.oo1.DB({ filename, vfs })`. It is not made the default.
 */
export function installNodeVfs(sqlite3: Sqlite3Static, options: NodeVfsOptions = {}): string {
  const makeLocks = () => new FileLocks({ unsafeNoLock: options.unsafeNoLock });
  return install(sqlite3, VFS_NAME, makeLocks, options.fs ?? nodeFs);
}

/** The same for databases in rollback mode that other processes have open too: it locks level by level (os-locks.ts). */
export function installSharedNodeVfs(sqlite3: Sqlite3Static): string {
  return install(sqlite3, SHARED_VFS_NAME, () => new OsFileLocks(), nodeFs);
}

function install(
  sqlite3: Sqlite3Static,
  name: string,
  makeLocks: () => LockTable,
  fs: VfsFileSystem,
): string {
  const { capi, wasm } = sqlite3;
  if (capi.sqlite3_vfs_find(name)) return name;
  const state: VfsState = {
    name,
    sqlite3,
    fs,
    locks: makeLocks(),
    lastError: new LastError(),
    heap: new Heap(wasm),
    files: [],
    lockedFiles: [],
    waitCanHelp: false,
  };
  const io = new capi.sqlite3_io_methods();
  (io as unknown as { $iVersion: number }).$iVersion = 1; // declared without its $
  const vfs = new capi.sqlite3_vfs();
  vfs.$iVersion = 2;
  // struct sqlite3_file { const sqlite3_io_methods *pMethods; } and our handle behind it.
  vfs.$szOsFile = 8;
  vfs.$mxPathname = MAX_PATH_BYTES;
  vfs.$zName = wasm.allocCString(name, false);
  // The declared types have i64 arguments as numbers; they come as BigInt.
  sqlite3.vfs.installVfs({
    io: { struct: io, methods: ioMethods(state) as unknown as Methods<sqlite3_io_methods> },
    vfs: { struct: vfs, methods: vfsMethods(state, io.pointer!) as unknown as Methods<sqlite3_vfs> },
  });
  return name;
}

type Methods<T> = { [K in keyof T as K extends `x${string}` ? K : never]?: T[K] };

/** JavaScript errors must not reach C: every method that may meet one catches it and answers a result code. */
function vfsMethods(state: VfsState, pIoMethods: number) {
  const { sqlite3, fs, heap, lastError } = state;
  const { capi, wasm } = sqlite3;
  return {
    xOpen(_pVfs: number, zName: number, pFile: number, flags: number, pOutFlags: number): number {
      heap.words[pFile >> 2] = 0;
      try {
        const file = openFile(fs, capi, zName ? wasm.cstrToJs(zName) : null, flags);
        const handle = register(state, file);
        if (flags & capi.SQLITE_OPEN_MAIN_DB)
          file.powersafeOverwrite = capi.sqlite3_uri_boolean(zName, "psow", 1) !== 0;
        const { words } = heap;
        words[(pFile >> 2) + 1] = handle;
        words[pFile >> 2] = pIoMethods;
        if (pOutFlags) words[pOutFlags >> 2] = file.flags;
        return 0;
      } catch (error) {
        const known = error instanceof OpenError;
        return lastError.record(known ? error.cause : error, known ? error.resultCode : capi.SQLITE_CANTOPEN);
      }
    },

    xDelete(_pVfs: number, zName: number, syncFolder: number): number {
      const path = wasm.cstrToJs(zName)!;
      try {
        fs.unlinkSync(path);
      } catch (error) {
        const gone = errorCode(error) === "ENOENT";
        return lastError.record(error, gone ? capi.SQLITE_IOERR_DELETE_NOENT : capi.SQLITE_IOERR_DELETE);
      }
      try {
        if (syncFolder & 1) syncParent(fs, path);
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_DIR_FSYNC);
      }
    },

    xAccess(_pVfs: number, zName: number, flags: number, pOut: number): number {
      let answer = false;
      try {
        const path = wasm.cstrToJs(zName)!;
        if (flags === capi.SQLITE_ACCESS_EXISTS) {
          // An empty journal or WAL counts as none (os_unix.c). statSync answers undefined without the cost of an error.
          const stat = fs.statSync(path, { throwIfNoEntry: false });
          answer = stat !== undefined && (!stat.isFile() || stat.size > 0);
        } else {
          fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK);
          answer = true;
        }
      } catch (error) {
        // "No" because the disk failed would make SQLite overlook a hot journal.
        if (errorCode(error) === "EIO") return lastError.record(error, capi.SQLITE_IOERR_ACCESS);
      }
      heap.words[pOut >> 2] = answer ? 1 : 0;
      return 0;
    },

    xFullPathname(_pVfs: number, zName: number, nOut: number, zOut: number): number {
      try {
        const { path, symlink } = resolveSymlinks(fs, wasm.cstrToJs(zName)!);
        return writeCString(heap.bytes, zOut, nOut, path)
          ? symlink
            ? SQLITE_OK_SYMLINK
            : 0
          : capi.SQLITE_CANTOPEN;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_CANTOPEN);
      }
    },

    xRandomness(_pVfs: number, n: number, pOut: number): number {
      try {
        randomFillSync(heap.bytes, pOut, n);
        return n;
      } catch (error) {
        return lastError.record(error, 0);
      }
    },

    /**
     * Called by the busy handler between attempts. Connections of this thread cannot give way while it sleeps, so it
     * sleeps only if the last refusal came from another process. SQLite counts the attempts, not the time, so in the
     * other case the busy timeout is over after some dozens of attempts.
     */
    xSleep(_pVfs: number, microseconds: number): number {
      if (!state.waitCanHelp) return microseconds;
      try {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.ceil(microseconds / 1000));
      } catch (error) {
        lastError.record(error, 0);
      }
      return microseconds;
    },

    xCurrentTimeInt64(_pVfs: number, pOut: number): number {
      wasm.poke64(pOut, UNIX_EPOCH + BigInt(Date.now()));
      return 0;
    },

    /** SQLite keeps the number (sqlite3_system_errno) and asks for no text; with a buffer, the text goes there. */
    xGetLastError(_pVfs: number, nOut: number, zOut: number): number {
      if (nOut > 0 && zOut && !writeCString(heap.bytes, zOut, nOut, lastError.message)) heap.bytes[zOut] = 0;
      return lastError.errno;
    },
  };
}

/** Gives an open file its handle, and a main database its locks; where that fails, closes it. */
function register(state: VfsState, file: OpenFile): number {
  const { capi } = state.sqlite3;
  let locked: LevelledFile | undefined;
  if (file.flags & capi.SQLITE_OPEN_MAIN_DB) {
    try {
      const stat = state.fs.fstatSync(file.fd, { bigint: true });
      if (stat.isDirectory()) throw Object.assign(new Error(`EISDIR: ${file.path}`), { code: "EISDIR" });
      locked = state.locks.open(
        file.path,
        fileKey(stat),
        file.fd,
        (file.flags & capi.SQLITE_OPEN_READWRITE) !== 0,
      );
    } catch (error) {
      state.fs.closeSync(file.fd);
      throw error;
    }
  }
  let handle = state.files.indexOf(undefined);
  if (handle < 0) handle = state.files.length;
  state.files[handle] = file;
  state.lockedFiles[handle] = locked;
  return handle;
}

/** False where the text and its zero do not fit; then nothing is written. */
function writeCString(heap: Uint8Array, at: number, size: number, text: string): boolean {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.length + 1 > size) return false;
  heap.set(bytes, at);
  heap[at + bytes.length] = 0;
  return true;
}
