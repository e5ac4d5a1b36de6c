import type { SyncFile } from "../src/cache/side-file.ts";
import {
  type Abi,
  type Pointer,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READWRITE,
  SQLITE_SYNC_NORMAL,
} from "../src/vfs/abi.ts";
import { BaseFile } from "../src/vfs/base-file.ts";

/** Bytes that go through module memory at once: operations on a handle count, their bytes hardly. */
const BUFFER_SIZE = 512 * 1024;

/** A file in an opfs-sahpool, made where it is missing. Its methods throw BaseFileError. */
export class PoolFile implements SyncFile {
  readonly #abi: Abi;
  readonly #file: BaseFile;
  readonly #buffer: Pointer;
  #open = true;

  constructor(abi: Abi, vfs: string, path: string) {
    // The pool keeps no file whose flags name none of the types that last.
    const flags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    this.#abi = abi;
    this.#file = BaseFile.open(abi, abi.findVfs(vfs), path, flags);
    this.#buffer = abi.allocate(BUFFER_SIZE);
  }

  size(): number {
    return this.#file.size();
  }

  read(into: Uint8Array, offset: number): boolean {
    let whole = true;
    for (let at = 0; at < into.length; at += BUFFER_SIZE) {
      const part = into.subarray(at, at + BUFFER_SIZE);
      whole = this.#file.read(this.#buffer, part.length, offset + at) && whole;
      part.set(this.#abi.bytes.subarray(this.#buffer, this.#buffer + part.length));
    }
    return whole;
  }

  write(bytes: Uint8Array, offset: number): void {
    for (let at = 0; at < bytes.length; at += BUFFER_SIZE) {
      const part = bytes.subarray(at, at + BUFFER_SIZE);
      this.#abi.bytes.set(part, this.#buffer);
      this.#file.write(this.#buffer, part.length, offset + at);
    }
  }

  truncate(size: number): void {
    this.#file.truncate(size);
  }

  sync(): void {
    this.#file.sync(SQLITE_SYNC_NORMAL);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#abi.free(this.#buffer);
    this.#file.close();
  }
}
