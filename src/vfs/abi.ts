import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { assert } from "../assert.ts";

/** A pointer into the module's memory; 0 is NULL. */
export type Pointer = number;
/** An SQLite result code. */
export type ResultCode = number;

// Result codes, flags and lock levels: https://www.sqlite.org/rescode.html and sqlite3.h.
export const SQLITE_OK = 0;
export const SQLITE_ERROR = 1;
export const SQLITE_BUSY = 5;
export const SQLITE_NOMEM = 7;
export const SQLITE_IOERR = 10;
export const SQLITE_NOTFOUND = 12;
export const SQLITE_FULL = 13;
export const SQLITE_CANTOPEN = 14;
export const SQLITE_IOERR_SHORT_READ = SQLITE_IOERR | (2 << 8);
export const SQLITE_IOERR_WRITE = SQLITE_IOERR | (3 << 8);
export const SQLITE_IOERR_TRUNCATE = SQLITE_IOERR | (6 << 8);
export const SQLITE_IOERR_DELETE = SQLITE_IOERR | (10 << 8);
export const SQLITE_IOERR_SHMLOCK = SQLITE_IOERR | (20 << 8);

export const SQLITE_OPEN_READWRITE = 0x2;
export const SQLITE_OPEN_CREATE = 0x4;
export const SQLITE_OPEN_MAIN_DB = 0x100;
export const SQLITE_OPEN_WAL = 0x80000;

export const SQLITE_LOCK_SHARED = 1;
export const SQLITE_LOCK_EXCLUSIVE = 4;

export const SQLITE_SYNC_NORMAL = 2;

/** The `sqlite3_io_methods` and `sqlite3_vfs` slots that Sluice calls or replaces. */
type StructInfo = {
  readonly sizeof: number;
  readonly members: Record<string, { offset: number; signature: string }>;
};

/**
 * The pointers' side of SQLite: memory, functions and structs of one WebAssembly module instance. What is done with
 * them, and why, is decided elsewhere.
 */
export class Abi {
  readonly sqlite3: Sqlite3Static;
  readonly ioMethods: StructInfo;
  readonly vfs: StructInfo;
  readonly #memory: { readonly buffer: ArrayBufferLike };
  #bytes: Uint8Array;
  #view: DataView;

  constructor(sqlite3: Sqlite3Static) {
    this.sqlite3 = sqlite3;
    const wasm = sqlite3.wasm as unknown as {
      memory: { readonly buffer: ArrayBufferLike };
      ptr: { size: number };
    };
    assert(wasm.ptr.size === 4, "64-bit WebAssembly builds of SQLite are not supported");
    assert(wasm.memory.buffer instanceof ArrayBuffer, "builds of SQLite with threads are not supported");
    this.#memory = wasm.memory;
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
    const capi = sqlite3.capi as unknown as Record<string, { structInfo: StructInfo }>;
    this.ioMethods = capi.sqlite3_io_methods!.structInfo;
    this.vfs = capi.sqlite3_vfs!.structInfo;
  }

  /**
   * The module's memory. Never keep it: the memory moves when it grows, and a view of the old one has length 0. Asking
   * for that is far cheaper than asking the memory for its buffer on every call.
   */
  get bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#look();
    return this.#bytes;
  }

  get view(): DataView {
    if (this.#bytes.length === 0) this.#look();
    return this.#view;
  }

  #look(): void {
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
  }

  peek32(at: Pointer): number {
    return this.view.getUint32(at, true);
  }

  poke32(at: Pointer, value: number): void {
    this.view.setUint32(at, value, true);
  }

  peek64(at: Pointer): number {
    return Number(this.view.getBigInt64(at, true));
  }

  string(at: Pointer): string {
    return this.sqlite3.wasm.cstrToJs(at) ?? "";
  }

  /** A callable for a function pointer. */
  callable(pointer: Pointer): (...args: never[]) => unknown {
    const entry = this.sqlite3.wasm.functionEntry(pointer);
    assert(entry, `no function at ${pointer}`);
    return entry as (...args: never[]) => unknown;
  }

  /** A pointer for a function, for as long as the module lives. It must not throw. */
  pointerTo(method: (...args: never[]) => unknown, signature: string): Pointer {
    return Number(this.sqlite3.wasm.installFunction(signature, method as () => unknown));
  }

  /** Zeroed memory, or 0 when there is none left. */
  allocate(size: number): Pointer {
    const at = Number(this.sqlite3.wasm.alloc.impl(size));
    if (at !== 0) this.bytes.fill(0, at, at + size);
    return at;
  }

  free(at: Pointer): void {
    this.sqlite3.wasm.dealloc(at);
  }

  /** A zero-terminated copy; the caller frees it. */
  cstring(text: string): Pointer {
    return Number(this.sqlite3.wasm.allocCString(text, false));
  }

  findVfs(name: string): Pointer {
    return Number(this.sqlite3.capi.sqlite3_vfs_find(name));
  }

  /** The words that a VFS has for what failed last; it may forget them with that. */
  lastError(vfs: string): string {
    const at = this.findVfs(vfs);
    const method = at === 0 ? 0 : this.member(this.vfs, at, "xGetLastError");
    if (method === 0) return "";
    const size = 256;
    const out = this.allocate(size);
    try {
      (this.callable(method) as (...args: number[]) => ResultCode)(at, size - 1, out);
      return this.string(out);
    } finally {
      this.free(out);
    }
  }

  /** The pointer stored in a struct's member. */
  member(struct: StructInfo, at: Pointer, name: string): Pointer {
    return this.peek32(at + struct.members[name]!.offset);
  }
}

/** Whether SQLite failed for want of room. */
export function saysDiskFull(error: unknown): boolean {
  const { resultCode = 0 } = error as { resultCode?: number };
  return (resultCode & 0xff) === SQLITE_FULL;
}
