import type { SAHPoolUtil } from "@sqlite.org/sqlite-wasm";
import { LocalDatabaseError } from "../src/errors.ts";
import type { DatabaseTarget } from "../src/platform.ts";
import {
  type Abi,
  type Pointer,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_MAIN_DB,
  SQLITE_OPEN_READWRITE,
  SQLITE_SYNC_NORMAL,
} from "../src/vfs/abi.ts";
import { BaseFile } from "../src/vfs/base-file.ts";

/** Bytes that go through module memory at once. */
const BUFFER_SIZE = 256 * 1024;

/**
 * A database restored where none is. A pool cannot rename, so it grows at its final place, and the first page comes last,
 * when all others are flushed: until then the file begins with zeros, which counts as no database.
 */
export class PoolTarget implements DatabaseTarget {
  readonly #abi: Abi;
  readonly #pool: SAHPoolUtil;
  readonly #file: BaseFile;
  readonly #buffer: Pointer;
  #open = true;

  /** Throws LocalDatabaseError when there is no room in the pool, or a database already. */
  constructor(
    abi: Abi,
    vfs: string,
    pool: SAHPoolUtil,
    readonly path: string,
  ) {
    this.#abi = abi;
    this.#pool = pool;
    this.#file = this.#local(() =>
      BaseFile.open(
        abi,
        abi.findVfs(vfs),
        path,
        SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
      ),
    );
    this.#buffer = abi.allocate(BUFFER_SIZE);
    try {
      this.#requireAbsent();
      this.#local(() => this.#file.truncate(0));
      this.#removeBeside();
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  /** What an interrupted restore left is no database; anything else is not ours to truncate. */
  #requireAbsent(): void {
    this.#local(() => this.#file.read(this.#buffer, 512, 0));
    const begin = this.#abi.bytes.subarray(this.#buffer, this.#buffer + 512);
    if (begin.some((byte) => byte !== 0))
      throw new LocalDatabaseError(this.path, "is a database, which a restore into a pool does not replace");
  }

  write(bytes: Uint8Array, offset: number): undefined {
    this.#local(() => {
      if (offset === 0) this.#file.sync(SQLITE_SYNC_NORMAL);
      for (let at = 0; at < bytes.length; at += BUFFER_SIZE) {
        const part = bytes.subarray(at, at + BUFFER_SIZE);
        this.#abi.bytes.set(part, this.#buffer);
        this.#file.write(this.#buffer, part.length, offset + at);
      }
    });
  }

  async finish(size: number): Promise<void> {
    this.#local(() => {
      this.#file.truncate(size);
      this.#file.sync(SQLITE_SYNC_NORMAL);
    });
    this.#close();
  }

  async abort(): Promise<void> {
    if (!this.#open) return;
    this.#close();
    this.#pool.unlink(this.path);
    this.#removeBeside();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#abi.free(this.#buffer);
    this.#file.close();
  }

  /** A -wal or -journal of an earlier database would be taken for the new one's, and spoil it. */
  #removeBeside(): void {
    for (const suffix of ["-wal", "-journal"]) this.#pool.unlink(this.path + suffix);
  }

  #local<T>(operation: () => T): T {
    try {
      return operation();
    } catch (cause) {
      throw new LocalDatabaseError(this.path, `cannot be restored: ${cause}`, { cause });
    }
  }
}
