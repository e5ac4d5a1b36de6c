import type { SAHPoolUtil } from "@sqlite.org/sqlite-wasm";
import { LocalDatabaseError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import type { OldDatabase } from "../src/page-writer.ts";
import type { DatabaseTarget } from "../src/platform.ts";
import type { Abi } from "../src/vfs/abi.ts";
import { systemClock } from "./clock.ts";
import { PoolFile } from "./pool-file.ts";

/** The smallest first page. */
const SMALLEST_PAGE = 512;
const COPY_SIZE = 512 * 1024;
const BESIDE = ["-wal", "-journal"];

/**
 * Where a pool restores a database to. A pool cannot rename. Where no database is it grows at its final place, and the
 * first page comes last, when all others are flushed: until then the file begins with zeros, which counts as none.
 *
 * Over an existing database it is first completed under another name, and checked. Then an empty file, the marker, says
 * that it counts, and it is copied over the old one. A crash in the middle of that is made good by `finishSwap`.
 */
export class PoolTarget implements DatabaseTarget {
  readonly path: string;
  readonly #files: PoolFiles;
  readonly #final: string;
  readonly #file: PoolFile;
  readonly old: OldPoolFile | null;

  /** Throws LocalDatabaseError when there is no room in the pool, or for what an earlier restore left half done. */
  constructor(abi: Abi, pool: SAHPoolUtil, path: string) {
    finishSwap(abi, pool, path);
    this.#files = new PoolFiles(abi, pool);
    this.#final = path;
    this.path = this.#files.holdsDatabase(path) ? replacementOf(path) : path;
    this.#file = this.#local(() => this.#files.open(this.path));
    this.old = this.path === path ? null : new OldPoolFile(this.#files.open(path));
    try {
      this.#local(() => {
        this.#file.truncate(0);
        this.#files.removeBeside(this.path);
      });
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  #close(): void {
    this.#file.close();
    this.old?.close();
  }

  write(bytes: Uint8Array, offset: number): undefined {
    this.#local(() => {
      if (offset === 0) this.#file.sync();
      this.#file.write(bytes, offset);
    });
  }

  async finish(size: number): Promise<void> {
    this.#local(() => {
      this.#file.truncate(size);
      this.#file.sync();
      this.#close();
      if (this.path === this.#final) return;
      this.#files.removeBeside(this.path);
      this.#files.open(markerOf(this.#final)).close();
      fault("restore:marked");
      this.#files.swap(this.#final);
    });
  }

  async abort(): Promise<void> {
    this.#close();
    // Once the marker is there the new database counts.
    if (this.#files.has(markerOf(this.#final))) return;
    this.#files.remove(this.path);
    this.#files.removeBeside(this.path);
  }

  #local<T>(operation: () => T): T {
    try {
      return operation();
    } catch (cause) {
      throw new LocalDatabaseError(this.#final, `cannot be restored: ${cause}`, { cause });
    }
  }
}

/** The main file of the database that is replaced. */
class OldPoolFile implements OldDatabase {
  readonly size: number;
  readonly #file: PoolFile;
  #open = true;

  constructor(file: PoolFile) {
    this.#file = file;
    this.size = file.size();
  }

  /** Reads are synchronous; between them the worker hears its messages. */
  async read(into: Uint8Array, offset: number): Promise<void> {
    await systemClock.turn();
    if (!this.#open) throw new Error("the restore that asked for this has ended");
    this.#file.read(into, offset);
  }

  close(): void {
    this.#open = false;
    this.#file.close();
  }
}

/**
 * What a crash or a failure left of a restore over an existing database: puts the new one in its place if it counts, or
 * removes it. Nothing may read or write the database before that. Throws LocalDatabaseError.
 */
export function finishSwap(abi: Abi, pool: SAHPoolUtil, path: string): void {
  const files = new PoolFiles(abi, pool);
  try {
    if (files.has(markerOf(path))) files.swap(path);
    else if (files.has(replacementOf(path))) {
      files.remove(replacementOf(path));
      files.removeBeside(replacementOf(path));
    }
  } catch (cause) {
    throw new LocalDatabaseError(path, `a restore that was cut short cannot be finished: ${cause}`, {
      cause,
    });
  }
}

function replacementOf(path: string): string {
  return `${path}-sluice-new`;
}

function markerOf(path: string): string {
  return `${path}-sluice-swap`;
}

class PoolFiles {
  readonly #abi: Abi;
  readonly #pool: SAHPoolUtil;

  constructor(abi: Abi, pool: SAHPoolUtil) {
    this.#abi = abi;
    this.#pool = pool;
  }

  open(path: string): PoolFile {
    return new PoolFile(this.#abi, this.#pool.vfsName, path);
  }

  has(path: string): boolean {
    return this.#pool.getFileNames().includes(path);
  }

  remove(path: string): void {
    this.#pool.unlink(path);
  }

  /** A -wal or -journal of an earlier database would be taken for the new one's, and spoil it. */
  removeBeside(path: string): void {
    for (const suffix of BESIDE) this.remove(path + suffix);
  }

  /** What an interrupted restore left is none. */
  holdsDatabase(path: string): boolean {
    if (!this.has(path)) return false;
    const file = this.open(path);
    try {
      const begin = new Uint8Array(SMALLEST_PAGE);
      file.read(begin, 0);
      return begin.some((byte) => byte !== 0);
    } finally {
      file.close();
    }
  }

  /** Again and again the same until the marker goes, which is when the copy is durable. */
  swap(path: string): void {
    // To open it would make it, empty, and the old database would be gone for nothing.
    if (!this.has(replacementOf(path))) throw new Error(`${replacementOf(path)} is missing`);
    this.removeBeside(path);
    const from = this.open(replacementOf(path));
    const to = this.open(path);
    try {
      const size = from.size();
      for (let at = 0; at < size; at += COPY_SIZE) {
        const bytes = new Uint8Array(Math.min(COPY_SIZE, size - at));
        from.read(bytes, at);
        to.write(bytes, at);
        fault("restore:copying");
      }
      to.truncate(size);
      to.sync();
    } finally {
      from.close();
      to.close();
    }
    this.remove(markerOf(path));
    this.remove(replacementOf(path));
  }
}
