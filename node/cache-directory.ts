import type * as nodeFs from "node:fs";
import { dirname, join } from "node:path";
import type { PositionRecord } from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import { type CacheRecord, encodeTail } from "./cache-file.ts";
import { type CacheContents, fileName, scanCache } from "./cache-scan.ts";
import { syncBeside } from "./sync-beside.ts";

/** What the write cache asks of `node:fs`; tests put failing ones here. */
export type CacheFs = Pick<
  typeof nodeFs,
  | "mkdirSync"
  | "openSync"
  | "closeSync"
  | "readSync"
  | "writeSync"
  | "fstatSync"
  | "fdatasyncSync"
  | "fsyncSync"
  | "fsync"
  | "renameSync"
  | "unlinkSync"
  | "readdirSync"
  | "statfsSync"
>;

/** A temporary file being written. */
export interface OpenFile {
  readonly fd: number;
  readonly temp: string;
  /** Bytes written since the last sync. */
  unsynced: number;
}

/** Bytes that wait for a sync at the most: one sync of a huge segment at its end would hold the event loop too long. */
const SYNC_BYTES = 4 << 20;

/** A file that counts. */
export interface DurableFile {
  readonly sequence: number;
  readonly path: string;
}

/** The files of the write cache and the steps that make them durable; what they mean is FsWriteCache's matter. */
export class CacheDirectory {
  readonly #path: string;
  readonly #fs: CacheFs;
  #fd: number | null = null;
  /** The highest number in use. */
  #sequence = 0;
  /** The permit that exists. */
  #permit: number | null = null;
  /** Must be gone, durably, before anything else becomes durable: what failed, and what was replaced or dropped. */
  #condemned: string[] = [];

  constructor(path: string, fs: CacheFs) {
    this.#path = path;
    this.#fs = fs;
  }

  open(): CacheContents {
    const contents = this.#try("cannot be opened", () => {
      this.#make();
      return scanCache(this.#fs, this.#path);
    });
    this.#try("cannot be tidied up", () => {
      // What was found becomes durable before what it stands for goes.
      this.#sync();
      const { renamedFrom, positionFile, dropped } = contents;
      if (renamedFrom !== undefined) this.#fs.renameSync(renamedFrom, positionFile!);
      for (const name of dropped) this.#fs.unlinkSync(join(this.#path, name));
      if (renamedFrom !== undefined || dropped.length > 0) this.#sync();
    });
    this.#sequence = contents.sequence;
    this.#permit = contents.permit;
    return contents;
  }

  /** Bytes; Infinity where the file system does not say. */
  free(): number {
    try {
      const { bavail, bsize } = this.#fs.statfsSync(this.#path);
      return bavail * bsize;
    } catch {
      return Number.POSITIVE_INFINITY;
    }
  }

  close(): void {
    if (this.#fd !== null) this.#fs.closeSync(this.#fd);
    this.#fd = null;
  }

  create(): OpenFile {
    this.#sequence += 1;
    const temp = join(this.#path, fileName(this.#sequence, "tmp"));
    const fd = this.#try("cannot be written", () => this.#fs.openSync(temp, "wx", 0o600));
    return { fd, temp, unsynced: 0 };
  }

  write(file: OpenFile, bytes: Uint8Array): void {
    this.#try("cannot be written", () => {
      for (let at = 0; at < bytes.length; ) at += this.#fs.writeSync(file.fd, bytes, at, bytes.length - at);
      file.unsynced += bytes.length;
      if (file.unsynced < SYNC_BYTES) return;
      this.#fs.fdatasyncSync(file.fd);
      file.unsynced = 0;
    });
  }

  /** Leaves little of the sync in `publish` to do. */
  syncBeside({ temp }: OpenFile): Promise<void> {
    return syncBeside(temp);
  }

  discard({ fd, temp }: OpenFile): void {
    try {
      this.#fs.closeSync(fd);
    } catch {
      // Its bytes are not wanted.
    }
    this.tryUnlink([temp]);
  }

  /**
   * Ends a temporary file with its record and lets it count: one sync of the file, one rename, one sync of the directory.
   * When it throws, the file is gone or condemned.
   */
  publish(
    file: OpenFile,
    kind: "entry" | "position",
    objectLength: number,
    record: Omit<CacheRecord, "permit">,
  ): DurableFile {
    let closed = false;
    let renaming = false;
    let path = "";
    try {
      this.settle();
      const permit = this.#permitFor(record.position);
      this.#sequence += 1;
      const sequence = this.#sequence;
      path = join(this.#path, fileName(sequence, kind));
      this.write(file, encodeTail(objectLength, sequence, { ...record, permit }));
      this.#try("cannot be made durable", () => {
        this.#fs.fdatasyncSync(file.fd);
        closed = true;
        this.#fs.closeSync(file.fd);
        renaming = true;
        fault("cache:before-rename");
        this.#fs.renameSync(file.temp, path);
        fault("cache:after-rename");
        this.#sync();
      });
      return { sequence, path };
    } catch (error) {
      if (closed) this.tryUnlink([file.temp]);
      else this.discard(file);
      // Whether it was renamed is not known, and after a failed sync nothing is: it must never count.
      if (renaming) this.condemn([path]);
      throw error;
    }
  }

  /** These files count no more. They go at once where that works, and for good before the next durable step. */
  condemn(paths: readonly string[]): void {
    this.#condemned.push(...paths);
    this.tryUnlink(paths);
  }

  /** Makes sure that what is condemned is gone. Throws CacheError where it is not. */
  settle(): void {
    if (this.#condemned.length === 0) return;
    this.#try("cannot be cleared of what does not count", () => {
      for (const path of this.#condemned) this.#unlink(path);
      this.#sync();
    });
    this.#condemned = [];
  }

  /** Lets a file count as the position file of its number; once more is no error. Not durable before `sync` or `syncLater`. */
  renameToPosition({ sequence, path }: DurableFile): string {
    const renamed = join(this.#path, fileName(sequence, "position"));
    this.#try("cannot be changed", () => {
      try {
        this.#fs.renameSync(path, renamed);
      } catch (error) {
        // It may have happened the last time, although it was reported as failed.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        this.#fs.closeSync(this.#fs.openSync(renamed, "r"));
      }
    });
    return renamed;
  }

  /** Not durable before `sync` or `syncLater`. A file that is gone is no error. */
  unlink(path: string): void {
    this.#try("cannot be changed", () => this.#unlink(path));
  }

  /** For files that count no more and that the next `open` would drop. */
  tryUnlink(paths: readonly string[]): void {
    for (const path of paths) {
      try {
        this.#fs.unlinkSync(path);
      } catch {
        // The next `settle` or `open` removes it.
      }
    }
  }

  /** Withdraws the permit that all records so far name: from now on they are marked for resync. Needs no space. */
  revokePermit(): void {
    this.#try("cannot be marked for resync", () => {
      if (this.#permit !== null) this.#unlink(join(this.#path, fileName(this.#permit, "permit")));
      this.#permit = null;
      this.#sync();
    });
  }

  sync(): void {
    this.#try("cannot be synced", () => this.#sync());
  }

  async syncLater(): Promise<void> {
    const fd = this.#fd;
    if (fd === null) return;
    await new Promise<void>((done, failed) => {
      this.#fs.fsync(fd, (error) =>
        error === null ? done() : failed(this.error("cannot be synced", error)),
      );
    });
  }

  /** A CacheError of a system error; anything else is a defect and stays what it is. */
  error(what: string, cause: unknown): unknown {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof CacheError || typeof code !== "string") return cause;
    const full = code === "ENOSPC" || code === "EDQUOT";
    return new CacheError(`the write cache ${this.#path} ${what}: ${message}`, full, { cause });
  }

  #make(): void {
    const first = this.#fs.mkdirSync(this.#path, { recursive: true, mode: 0o700 }) ?? this.#path;
    // Windows cannot sync directories.
    if (process.platform === "win32") return;
    for (let at = this.#path; ; at = dirname(at)) {
      const fd = this.#fs.openSync(dirname(at), "r");
      try {
        this.#fs.fsyncSync(fd);
      } finally {
        this.#fs.closeSync(fd);
      }
      if (at === first || at === dirname(at)) break;
    }
    this.#fd ??= this.#fs.openSync(this.#path, "r");
  }

  /** The permit that a record is to name, durable before it: made when there is none and the record needs one. */
  #permitFor(position: PositionRecord): number {
    if (this.#permit !== null) return this.#permit;
    if (position.resync !== undefined) return 0;
    this.#sequence += 1;
    const permit = this.#sequence;
    this.#try("cannot be written", () => {
      const path = join(this.#path, fileName(permit, "permit"));
      this.#fs.closeSync(this.#fs.openSync(path, "wx", 0o600));
      this.#sync();
    });
    this.#permit = permit;
    return permit;
  }

  #unlink(path: string): void {
    try {
      this.#fs.unlinkSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  #sync(): void {
    if (this.#fd !== null) this.#fs.fsyncSync(this.#fd);
  }

  #try<T>(what: string, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.error(what, error);
    }
  }
}
