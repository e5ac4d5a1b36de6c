import * as nodeFs from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { crc32 } from "node:zlib";
import { assert } from "../src/assert.ts";
import { checkChain, placeBehindHead, sameEntry } from "../src/cache/check-chain.ts";
import { DamagedEntryError } from "../src/cache/damaged-entry.ts";
import type {
  CacheAppend,
  CacheEntry,
  CacheState,
  PositionRecord,
  WriteCache,
} from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import type { PutBody } from "../src/store/object-store.ts";
import { FsAppend } from "./cache-append.ts";
import { CacheDirectory, type CacheFs, type OpenFile } from "./cache-directory.ts";
import type { Placed } from "./cache-scan.ts";

/** Bytes read at a time for an upload. */
const CHUNK_BYTES = 256 * 1024;
/** A position file that still carries the object of its former entry is written anew when it is larger than this. */
const MAX_POSITION_BYTES = 64 * 1024;

/**
 * The write cache as a directory. Every file is written under a temporary name, synced, renamed and the directory
 * synced, so one rename is the durable step of entry and position together. By name, NNN being a sequence number:
 *
 * - `NNN.entry`: a segment and the position record of its commit (cache-file.ts);
 * - `NNN.position`: a position record alone; it counts if it is the newest record of all;
 * - `NNN.permit`: empty. A record names a permit and may be followed while that one exists. To delete a file is all that
 *   a full disk surely allows, so that is how `markResync` marks where it cannot write;
 * - `NNN.tmp`: unfinished, dropped by `load`.
 *
 * When the newest record sits in an entry that leaves, the entry's file becomes `NNN.position` by a rename: no step needs
 * space, and the record is never without a place.
 */
export class FsWriteCache implements WriteCache {
  readonly #directory: CacheDirectory;
  #loaded = false;
  #entries: Placed[] = [];
  /** The newest durable record and its number. */
  #newest: { readonly sequence: number; readonly position: PositionRecord } | null = null;
  /** The newest record's file, unless that is an entry. */
  #positionFile: string | null = null;
  #appending = false;
  #acking: Promise<void> | null = null;

  /** `directory` is made by `load`, for this user only. Exclusive use of it is the caller's care. */
  constructor(directory: string, fs: CacheFs = nodeFs) {
    this.#directory = new CacheDirectory(resolve(directory), fs);
  }

  async load(): Promise<CacheState> {
    assert(!this.#loaded, "the write cache is loaded once");
    const contents = this.#directory.open();
    this.#entries = contents.entries;
    this.#newest = contents.newest;
    this.#positionFile = contents.positionFile;
    this.#loaded = true;
    return { position: this.#newest?.position ?? null, entries: this.entries() };
  }

  append(replacing: readonly CacheEntry[] = []): CacheAppend {
    this.#assertLoaded();
    assert(!this.#appending, "one segment is open at a time");
    const replaced = replacing.map((entry) => this.#find(entry));
    placeBehindHead(this.#entries, replaced);
    this.#appending = true;
    return new FsAppend(
      this.#directory,
      (entry, crc, position) => this.#prepare(entry, crc, position, replaced),
      () => {
        this.#appending = false;
      },
    );
  }

  savePosition(record: PositionRecord): undefined {
    this.#assertLoaded();
    checkChain(this.entries(), record);
    this.#writePosition(record);
  }

  markResync(reason: string): undefined {
    this.#assertLoaded();
    const newest = this.#newest;
    if (newest === null || newest.position.resync !== undefined) return;
    const marked = { ...newest.position, resync: reason };
    try {
      this.#writePosition(marked);
    } catch {
      this.#directory.revokePermit();
      this.#newest = { ...newest, position: marked };
    }
  }

  entries(): readonly CacheEntry[] {
    return this.#entries.map((placed) => placed.entry);
  }

  read(entry: CacheEntry): PutBody {
    const placed = this.#find(entry);
    return { size: placed.entry.size, chunks: () => this.#chunks(placed) };
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    const placed = this.#find(entry);
    if (offset + length > placed.entry.size)
      throw new DamagedEntryError(placed.path, `it has no bytes up to ${offset + length}`);
    const handle = await this.#open(placed);
    try {
      return await this.#readAt(placed, handle, offset, length);
    } finally {
      await handle.close();
    }
  }

  async ack(entry: CacheEntry): Promise<void> {
    this.#assertLoaded();
    assert(this.#acking === null, "one entry is acknowledged at a time");
    const head = this.#find(entry);
    assert(head === this.#entries[0], "only the head is acknowledged");
    this.#acking = this.#ack(head);
    try {
      await this.#acking;
    } finally {
      this.#acking = null;
    }
  }

  async dropBacklog(): Promise<void> {
    this.#assertLoaded();
    assert(
      this.#newest?.position.resync !== undefined,
      "the backlog is dropped only after the mark for resync",
    );
    // Also what an earlier call, which failed, could not remove.
    this.#directory.settle();
    const dropped = this.#entries.slice(1);
    if (dropped.length === 0) return;
    for (const placed of dropped) this.#keepRecordOf(placed);
    this.#entries = this.#entries.slice(0, 1);
    const paths = dropped.map(({ path }) => path).filter((path) => path !== this.#positionFile);
    this.#directory.condemn(paths);
    if (paths.length > 0) this.#directory.settle();
    else this.#directory.sync();
    for (const placed of dropped) this.#shrinkPosition(placed);
  }

  free(): number {
    return this.#directory.free();
  }

  async close(): Promise<void> {
    await this.#acking?.catch(() => undefined);
    this.#loaded = false;
    this.#directory.close();
  }

  #prepare(
    entry: CacheEntry,
    crc: number,
    position: PositionRecord,
    replaced: readonly Placed[],
  ): (file: OpenFile) => void {
    const { from, to, size, time } = entry;
    const placed: Placed = { entry: { from, to, size, time }, crc, sequence: 0, path: "" };
    // Looked up again: since the append began, entries may have left.
    const at = placeBehindHead(this.#entries, replaced);
    checkChain(this.entries().toSpliced(at, replaced.length, placed.entry), position);
    const replaces = replaced.map(({ sequence }) => sequence);
    return (file) => {
      const record = { entry: placed.entry, crc, ...(replaces.length > 0 ? { replaces } : {}), position };
      const durable = this.#directory.publish(file, "entry", size, record);
      this.#entries = this.#entries.toSpliced(at, replaced.length, { ...placed, ...durable });
      this.#newest = { sequence: durable.sequence, position };
      this.#supersedePositionFile(null);
      this.#directory.condemn(replaced.map(({ path }) => path));
    };
  }

  #writePosition(position: PositionRecord): void {
    const file = this.#directory.create();
    const { sequence, path } = this.#directory.publish(file, "position", 0, { position });
    this.#newest = { sequence, position };
    this.#supersedePositionFile(path);
  }

  /** An older record no longer counts; if its file stays, the next load drops it. */
  #supersedePositionFile(newer: string | null): void {
    if (this.#positionFile !== null) this.#directory.tryUnlink([this.#positionFile]);
    this.#positionFile = newer;
  }

  async #ack(head: Placed): Promise<void> {
    this.#directory.settle();
    this.#keepRecordOf(head);
    if (head.path !== this.#positionFile) this.#directory.unlink(head.path);
    fault("cache:before-ack-sync");
    await this.#directory.syncLater();
    this.#entries = this.#entries.filter((placed) => placed !== head);
    this.#shrinkPosition(head);
  }

  /** Where the newest record is in this entry, its file becomes the position file. */
  #keepRecordOf(placed: Placed): void {
    if (placed.sequence !== this.#newest?.sequence || placed.path === this.#positionFile) return;
    placed.path = this.#directory.renameToPosition(placed);
    this.#positionFile = placed.path;
  }

  /** Gives back the space of an object that left a large position file behind. The record is safe also if it fails. */
  #shrinkPosition({ entry, path }: Placed): void {
    if (entry.size <= MAX_POSITION_BYTES || path !== this.#positionFile) return;
    try {
      this.#writePosition(this.#newest!.position);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
    }
  }

  /** Whoever takes them has all of them only if they are those that were written. */
  async *#chunks(placed: Placed): AsyncGenerator<Uint8Array, void, undefined> {
    const handle = await this.#open(placed);
    try {
      const { size } = placed.entry;
      let crc = 0;
      for (let at = 0; at < size; at += CHUNK_BYTES) {
        const chunk = await this.#readAt(placed, handle, at, Math.min(CHUNK_BYTES, size - at));
        crc = crc32(chunk, crc);
        if (at + chunk.length === size && crc !== placed.crc)
          throw new DamagedEntryError(placed.path, "its bytes are altered");
        yield chunk;
      }
    } finally {
      await handle.close();
    }
  }

  #open(placed: Placed): Promise<FileHandle> {
    return open(placed.path, "r").catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === "ENOENT")
        throw new DamagedEntryError(placed.path, "it is gone", { cause: error });
      throw this.#directory.error("cannot be read", error);
    });
  }

  async #readAt(placed: Placed, handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const { bytesRead } = await handle.read(bytes, at, length - at, offset + at).catch((error: unknown) => {
        throw this.#directory.error("cannot be read", error);
      });
      if (bytesRead === 0) throw new DamagedEntryError(placed.path, "it was cut");
      at += bytesRead;
    }
    return bytes;
  }

  #find(entry: CacheEntry): Placed {
    const placed = this.#entries.find((each) => sameEntry(each.entry, entry));
    assert(placed !== undefined, "the entry is in the write cache");
    return placed;
  }

  #assertLoaded(): void {
    assert(this.#loaded, "the write cache is loaded before it is used");
  }
}
