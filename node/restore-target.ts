import * as fs from "node:fs";
import { dirname } from "node:path";
import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { BlockThreads } from "../src/block-threads.ts";
import type { Awaitable } from "../src/cache/write-cache.ts";
import { LocalDatabaseError, StoreError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import type { OldDatabase } from "../src/page-writer.ts";
import type { DatabaseTarget } from "../src/platform.ts";
import { settleDatabase } from "../src/settle.ts";
import { openThreads } from "./block-threads.ts";
import { fileKey } from "./file-key.ts";

/** Bytes written between two syncs in the background, which leave little to do for the one that counts. */
const SYNC_BYTES = 64 << 20;
/** From this size on a write is left to another thread, while this one unpacks. Handing over less costs more than doing it. */
const HAND_OVER_BYTES = 64 << 10;

/**
 * A restored database grows in a file of its own beside the old one and replaces it by one rename. Whatever happens
 * before leaves the old database as it was.
 */
export class FileTarget implements DatabaseTarget {
  readonly path: string;
  readonly #dbPath: string;
  readonly #sqlite3: Sqlite3Static;
  readonly #vfs: string;
  readonly #replace: (rename: () => void, path: string) => void;
  readonly #fd: number;
  readonly old: OldFile | null;
  #open = true;
  #unsynced = 0;
  /** Writes under way on other threads. */
  readonly #writing = new Set<Promise<void>>();
  /** Resolves with what the sync in the background threw, or null. */
  #syncing: Promise<unknown> | null = null;

  /** `replace` runs the rename while the lock moves from the old file to the new one. */
  constructor(
    dbPath: string,
    sqlite3: Sqlite3Static,
    vfs: string,
    replace: (rename: () => void, path: string) => void,
  ) {
    this.path = `${dbPath}.sluice-restore`;
    this.#dbPath = dbPath;
    this.#sqlite3 = sqlite3;
    this.#vfs = vfs;
    this.#replace = replace;
    this.#removeTemporary();
    this.old = this.#local(() => OldFile.open(dbPath));
    try {
      this.#fd = this.#local(() => fs.openSync(this.path, "wx+", modeOf(dbPath)));
    } catch (error) {
      this.old?.close();
      throw error;
    }
  }

  write(bytes: Uint8Array, offset: number): Awaitable {
    this.#syncSometimes(bytes.length);
    if (bytes.length >= HAND_OVER_BYTES) return this.#writeBeside(bytes, offset);
    this.#local(() => {
      for (let at = 0; at < bytes.length; )
        at += fs.writeSync(this.#fd, bytes, at, bytes.length - at, offset + at);
    });
  }

  openThreads(bytes: number): BlockThreads | null {
    return openThreads(bytes, this.#fd, (wrote) => this.#syncSometimes(wrote));
  }

  #writeBeside(bytes: Uint8Array, offset: number): Promise<void> {
    const writing = this.#writeAll(bytes, offset).finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
    return writing;
  }

  async #writeAll(bytes: Uint8Array, offset: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      try {
        at += await this.#writeSome(bytes.subarray(at), offset + at);
      } catch (error) {
        this.#local(() => {
          throw error;
        });
      }
    }
  }

  #writeSome(bytes: Uint8Array, offset: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.write(this.#fd, bytes, 0, bytes.length, offset, (error, wrote) =>
        error === null ? resolve(wrote) : reject(error),
      );
    });
  }

  #syncSometimes(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < SYNC_BYTES || this.#syncing !== null) return;
    this.#unsynced = 0;
    this.#syncing = new Promise((resolve) => fs.fdatasync(this.#fd, resolve));
    this.#syncing.then((error) => {
      if (error === null) this.#syncing = null;
    });
  }

  async finish(size: number): Promise<void> {
    const error = await this.#syncing;
    this.#local(() => {
      if (error) throw error;
      fs.ftruncateSync(this.#fd, size);
      fs.fsyncSync(this.#fd);
    });
    this.#local(() => this.#retireOld());
    fault("restore:before-rename");
    this.#local(() => {
      this.#replace(() => this.#rename(), this.path);
      fault("restore:after-rename");
      syncDirectory(dirname(this.#dbPath));
    });
    this.#close();
  }

  /** Whatever else bears the name by now is not what was restored: whoever locked it may have made it, empty. */
  #rename(): void {
    const written = fs.fstatSync(this.#fd, { bigint: true });
    if (fileKey(fs.statSync(this.path, { bigint: true })) !== fileKey(written))
      throw new LocalDatabaseError(this.path, "was removed or replaced while it was written");
    fs.renameSync(this.path, this.#dbPath);
  }

  /** A -wal or -journal of the old database would be taken for the new one's, and spoil it. */
  #retireOld(): void {
    const main = fs.statSync(this.#dbPath, { throwIfNoEntry: false });
    if (main !== undefined && main.size > 0 && !beginsWithZeros(this.#dbPath))
      settleDatabase(this.#sqlite3, this.#vfs, this.#dbPath);
    for (const suffix of ["-wal", "-journal"]) {
      const path = this.#dbPath + suffix;
      const size = fs.statSync(path, { throwIfNoEntry: false })?.size;
      // Settling leaves none with content, so one that has any belongs to a main file that is gone: kept, out of the way.
      if (size === 0) fs.unlinkSync(path);
      else if (size !== undefined) fs.renameSync(path, `${path}.orphaned`);
    }
    syncDirectory(dirname(this.#dbPath));
  }

  async abort(): Promise<void> {
    // Its descriptor may be another file's as soon as it is closed.
    await Promise.allSettled(this.#writing);
    await this.old?.reads();
    await this.#syncing;
    this.#close();
    this.#removeTemporary();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    fs.closeSync(this.#fd);
    this.old?.close();
  }

  #removeTemporary(): void {
    this.#local(() => {
      for (const suffix of ["", "-wal", "-journal"]) fs.rmSync(this.path + suffix, { force: true });
    });
  }

  #local<T>(operation: () => T): T {
    try {
      return operation();
    } catch (cause) {
      if (cause instanceof LocalDatabaseError || cause instanceof StoreError) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      throw new LocalDatabaseError(this.#dbPath, `cannot be restored: ${code ?? cause}`, { cause });
    }
  }
}

/** The main file of the database that is replaced. */
class OldFile implements OldDatabase {
  readonly #reading = new Set<Promise<void>>();

  private constructor(
    readonly path: string,
    readonly fd: number,
    readonly size: number,
  ) {}

  static open(path: string): OldFile | null {
    const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return size === 0 ? null : new OldFile(path, fs.openSync(path, "r"), size);
  }

  read(into: Uint8Array, offset: number): Promise<void> {
    const reading = this.#readAll(into, offset).finally(() => this.#reading.delete(reading));
    this.#reading.add(reading);
    return reading;
  }

  async #readAll(into: Uint8Array, offset: number): Promise<void> {
    for (let at = 0; at < into.length; ) {
      const read = await this.#readSome(into, at, offset + at);
      if (read === 0) throw new LocalDatabaseError(this.path, "became shorter while it was read");
      at += read;
    }
  }

  #readSome(into: Uint8Array, at: number, offset: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.fd, into, at, into.length - at, offset, (error, read) =>
        error === null
          ? resolve(read)
          : reject(new LocalDatabaseError(this.path, `cannot be read: ${error.code}`, { cause: error })),
      );
    });
  }

  /** Resolves when no read is under way. */
  async reads(): Promise<void> {
    await Promise.allSettled(this.#reading);
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

function modeOf(path: string): number {
  const mode = fs.statSync(path, { throwIfNoEntry: false })?.mode;
  return mode === undefined ? 0o644 : mode & 0o777;
}

/** An interrupted restore in a place where files cannot be renamed leaves the first page for last. */
export function beginsWithZeros(path: string): boolean {
  const fd = fs.openSync(path, "r");
  try {
    const bytes = new Uint8Array(512);
    const read = fs.readSync(fd, bytes, 0, bytes.length, 0);
    return bytes.subarray(0, read).every((byte) => byte === 0);
  } finally {
    fs.closeSync(fd);
  }
}

function syncDirectory(path: string): void {
  const fd = fs.openSync(path, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
