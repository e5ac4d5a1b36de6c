import { set, type UseStore } from "idb-keyval";
import { assert } from "../src/assert.ts";
import type { CacheEntry, PositionRecord, QueueAppend } from "../src/cache/write-cache.ts";
import { CHUNK_BYTES, chunkKey } from "./idb-records.ts";

/** What an open segment asks of its cache. */
export interface AppendHost {
  readonly store: UseStore;
  /** xxh64. */
  readonly hash64: (bytes: Uint8Array) => bigint;
  /**
   * Makes the entry durable; `beside` puts what belongs into the same transaction. `hashes` are those of its chunks.
   * `onAllowed`: no refusal any more.
   */
  publish(
    entry: CacheEntry,
    hashes: readonly bigint[],
    position: PositionRecord,
    beside: (store: IDBObjectStore) => void,
    onAllowed: () => void,
  ): Promise<void>;
  /** Another segment may be opened. */
  end(): void;
  /** Removes the chunks that were written, now or later. */
  discard(): Promise<void>;
}

/**
 * One segment being written. Full chunks go into the database at once, each in a transaction of its own, so that memory
 * does not grow with the segment; the last one goes with the commit. A failed write or commit forgets the segment, a
 * refused commit leaves it to `abort`.
 */
export class IdbAppend implements QueueAppend {
  readonly #host: AppendHost;
  readonly #sequence: number;
  #buffer: Uint8Array | null = null;
  #filled = 0;
  readonly #hashes: bigint[] = [];
  #writing: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(sequence: number, host: AppendHost) {
    this.#sequence = sequence;
    this.#host = host;
  }

  async write(chunk: Uint8Array): Promise<void> {
    assert(!this.#ended, "the segment is open");
    this.#writing = this.#take(chunk);
    try {
      await this.#writing;
    } catch (error) {
      await this.abort();
      throw error;
    }
  }

  async commit(entry: CacheEntry, position: PositionRecord): Promise<void> {
    assert(!this.#ended, "the segment is open");
    const size = this.#hashes.length * CHUNK_BYTES + this.#filled;
    assert(entry.size === size, "an entry states the size of its object");
    const rest = this.#buffer?.slice(0, this.#filled) ?? new Uint8Array();
    const key = chunkKey(this.#sequence, this.#hashes.length);
    const hashes = rest.length > 0 ? [...this.#hashes, this.#host.hash64(rest)] : this.#hashes;
    await this.#host.publish(
      entry,
      hashes,
      position,
      (store) => {
        if (rest.length > 0) store.put(rest, key);
      },
      () => this.#end(),
    );
  }

  async abort(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    await this.#writing.catch(() => undefined);
    await this.#host.discard();
  }

  /** A chunk leaves when it is full, so that the last one, if it is not, can go with the commit. */
  async #take(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      this.#buffer ??= new Uint8Array(CHUNK_BYTES);
      const part = bytes.subarray(at, at + CHUNK_BYTES - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === CHUNK_BYTES) await this.#flush(this.#buffer);
    }
  }

  async #flush(chunk: Uint8Array): Promise<void> {
    await set(chunkKey(this.#sequence, this.#hashes.length), chunk, this.#host.store);
    this.#hashes.push(this.#host.hash64(chunk));
    this.#filled = 0;
  }

  #end(): void {
    this.#buffer = null;
    this.#ended = true;
    this.#host.end();
  }
}
