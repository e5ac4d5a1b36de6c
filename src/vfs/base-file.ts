import { type Abi, type Pointer, type ResultCode, SQLITE_IOERR_SHORT_READ, SQLITE_OK } from "./abi.ts";

/** The functions of one `sqlite3_io_methods` struct of the base VFS, resolved once. */
export interface BaseMethods {
  readonly xClose: (file: Pointer) => ResultCode;
  readonly xRead: (file: Pointer, into: Pointer, amount: number, offset: bigint) => ResultCode;
  readonly xWrite: (file: Pointer, from: Pointer, amount: number, offset: bigint) => ResultCode;
  readonly xTruncate: (file: Pointer, size: bigint) => ResultCode;
  readonly xSync: (file: Pointer, flags: number) => ResultCode;
  readonly xFileSize: (file: Pointer, out: Pointer) => ResultCode;
  readonly xLock: (file: Pointer, level: number) => ResultCode;
  readonly xFileControl: (file: Pointer, op: number, arg: Pointer) => ResultCode;
  readonly xDeviceCharacteristics: (file: Pointer) => number;
}

export function resolveMethods(abi: Abi, struct: Pointer): BaseMethods {
  const method = (name: string) => abi.callable(abi.member(abi.ioMethods, struct, name));
  return {
    xClose: method("xClose"),
    xRead: method("xRead"),
    xWrite: method("xWrite"),
    xTruncate: method("xTruncate"),
    xSync: method("xSync"),
    xFileSize: method("xFileSize"),
    xLock: method("xLock"),
    xFileControl: method("xFileControl"),
    xDeviceCharacteristics: method("xDeviceCharacteristics"),
  } as BaseMethods;
}

/** A base VFS call failed. `code` is SQLite's result code. */
export class BaseFileError extends Error {
  constructor(
    readonly operation: string,
    readonly path: string,
    readonly resultCode: ResultCode,
  ) {
    super(`${operation} of ${path} failed with SQLite result code ${resultCode}`);
  }
}

/**
 * A file of the base VFS, opened by Sluice itself beside the connections' own handles: to read the WAL for a drain, to
 * write a restored database. Takes no locks.
 */
export class BaseFile {
  readonly #abi: Abi;
  readonly #file: Pointer;
  readonly #name: Pointer;
  readonly #methods: BaseMethods;

  private constructor(
    abi: Abi,
    file: Pointer,
    name: Pointer,
    readonly path: string,
  ) {
    this.#abi = abi;
    this.#file = file;
    this.#name = name;
    this.#methods = resolveMethods(abi, abi.peek32(file));
  }

  /** Opens `path` (in the base VFS's own spelling). Throws BaseFileError. */
  static open(abi: Abi, vfs: Pointer, path: string, flags: number): BaseFile {
    const name = abi.allocate(path.length * 4 + 4); // the name and, as SQLite lays it out, an empty list of URI parameters
    const encoded = new TextEncoder().encode(path);
    abi.bytes.set(encoded, name);
    const file = abi.allocate(abi.member(abi.vfs, vfs, "szOsFile"));
    const outFlags = abi.allocate(4);
    const xOpen = abi.callable(abi.member(abi.vfs, vfs, "xOpen")) as (...args: number[]) => ResultCode;
    const code = xOpen(vfs, name, file, flags, outFlags);
    abi.free(outFlags);
    if (code !== SQLITE_OK) {
      abi.free(file);
      abi.free(name);
      throw new BaseFileError("open", path, code);
    }
    return new BaseFile(abi, file, name, path);
  }

  /** Reads into module memory. Returns false, with the rest zeroed, when the file ends before. Throws BaseFileError. */
  read(into: Pointer, amount: number, offset: number): boolean {
    const code = this.#methods.xRead(this.#file, into, amount, BigInt(offset));
    if (code === SQLITE_IOERR_SHORT_READ) return false;
    this.#check("read", code);
    return true;
  }

  write(from: Pointer, amount: number, offset: number): void {
    this.#check("write", this.#methods.xWrite(this.#file, from, amount, BigInt(offset)));
  }

  truncate(size: number): void {
    this.#check("truncate", this.#methods.xTruncate(this.#file, BigInt(size)));
  }

  sync(flags: number): void {
    this.#check("sync", this.#methods.xSync(this.#file, flags));
  }

  size(): number {
    const out = this.#abi.allocate(8);
    const code = this.#methods.xFileSize(this.#file, out);
    const size = this.#abi.peek64(out);
    this.#abi.free(out);
    this.#check("size", code);
    return size;
  }

  close(): void {
    this.#methods.xClose(this.#file);
    this.#abi.free(this.#file);
    this.#abi.free(this.#name);
  }

  #check(operation: string, code: ResultCode): void {
    if (code !== SQLITE_OK) throw new BaseFileError(operation, this.path, code);
  }
}
