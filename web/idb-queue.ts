import { get } from "idb-keyval";
import { assert } from "../src/assert.ts";
import { checkChain, placeOf, sameEntry } from "../src/cache/check-chain.ts";
import { DamagedEntryError } from "../src/cache/damaged-entry.ts";
import type {
  CacheEntry,
  CacheState,
  PositionRecord,
  QueueAppend,
  SegmentQueue,
} from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import type { Codecs } from "../src/format/codecs.ts";
import type { PutBody } from "../src/store/object-store.ts";
import { IdbAppend } from "./idb-append.ts";
import { CacheConnection } from "./idb-connection.ts";
import {
  CHUNK_BYTES,
  chunkKey,
  judge,
  type Placed,
  putEntry,
  putPosition,
  readRecords,
  removeEntry,
  revokePermit,
} from "./idb-records.ts";

/**
 * A segment queue in an IndexedDB database of its own; idb-records.ts says what is in it. Each change is one strict
 * transaction, and they take place in the order in which they were asked for.
 *
 * Where a connection is lost, nobody knows whether its last transaction took place. What failed so must not count, while
 * the world goes on: so the next change states all records anew, as they are known here.
 */
export class IdbQueue implements SegmentQueue {
  readonly #name: string;
  readonly #hash64: Codecs["hash64"];
  readonly #connection: CacheConnection;
  #loaded = false;
  #entries: Placed[] = [];
  #position: PositionRecord | null = null;
  #sequence = 0;
  #appending = false;
  #acking = false;
  /** Numbers whose records count no more; they go with the next change. */
  readonly #garbage = new Set<number>();
  /** A change failed, and may have taken place. */
  #inDoubt = false;
  /** The last change asked for; never rejects. */
  #tail: Promise<void> = Promise.resolve();
  /** Commits asked for and not done. */
  #commits = 0;

  /** `name` of the database, which `load` creates. Exclusive use of it is the caller's care. */
  constructor(name: string, hash64: Codecs["hash64"], factory: IDBFactory = indexedDB) {
    this.#name = name;
    this.#hash64 = hash64;
    this.#connection = new CacheConnection(name, factory);
  }

  async load(): Promise<CacheState> {
    assert(!this.#loaded, "the write cache is loaded once");
    try {
      const { entries, position, sequence, garbage } = judge(
        this.#name,
        await this.#connection.store("readonly", readRecords),
      );
      this.#entries = entries;
      this.#position = position;
      this.#sequence = sequence;
      for (const each of garbage) this.#garbage.add(each);
      if (garbage.length > 0) await this.#change(() => undefined);
    } catch (error) {
      await this.#connection.close();
      throw error;
    }
    this.#loaded = true;
    return { position: this.#position, entries: this.entries() };
  }

  append(replacing: readonly CacheEntry[] = []): QueueAppend {
    this.#assertLoaded();
    assert(!this.#appending, "one segment is open at a time");
    const replaced = replacing.map((entry) => this.#find(entry));
    placeOf(this.#entries, replaced);
    this.#appending = true;
    this.#sequence += 1;
    const sequence = this.#sequence;
    return new IdbAppend(sequence, {
      store: this.#connection.store,
      hash64: this.#hash64,
      publish: (entry, hashes, position, beside, onAllowed) =>
        this.#commit({ entry, hashes, position, sequence, replaced, beside, onAllowed }),
      end: () => {
        this.#appending = false;
      },
      discard: () => this.#sweep([sequence]),
    });
  }

  async savePosition(record: PositionRecord): Promise<void> {
    this.#assertLoaded();
    await this.#inTurn(async () => {
      checkChain(this.entries(), record);
      await this.#change((store) => putPosition(store, record));
      this.#position = record;
    });
  }

  async markResync(reason: string): Promise<void> {
    this.#assertLoaded();
    await this.#inTurn(async () => {
      const position = this.#position;
      if (position === null || position.resync !== undefined) return;
      const marked = { ...position, resync: reason };
      try {
        await this.#change((store) => putPosition(store, marked));
      } catch (error) {
        if (!(error instanceof CacheError)) throw error;
        await this.#connection.store("readwrite", revokePermit);
      }
      this.#position = marked;
    });
  }

  entries(): readonly CacheEntry[] {
    return this.#entries.map(({ entry }) => entry);
  }

  read(entry: CacheEntry): PutBody {
    const placed = this.#find(entry);
    return { size: placed.entry.size, chunks: () => this.#chunks(placed) };
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    const placed = this.#find(entry);
    const { chunkBytes } = placed;
    if (offset + length > placed.entry.size) throw this.#damaged(entry, "bytes of it are missing");
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const index = Math.floor((offset + at) / chunkBytes);
      const begin = offset + at - index * chunkBytes;
      const part = (await this.#chunk(placed, index)).subarray(begin, begin + length - at);
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  async ack(entry: CacheEntry): Promise<void> {
    this.#assertLoaded();
    assert(!this.#acking, "one entry is acknowledged at a time");
    const head = this.#find(entry);
    assert(head === this.#entries[0], "only the head is acknowledged");
    this.#acking = true;
    head.leaving = true;
    try {
      await this.#inTurn(() => this.#change((store) => removeEntry(store, head.sequence)));
      // A merge under way may replace the entry behind it, which must not become the head, and be sent, before that.
      while (this.#commits > 0) await this.#tail;
      this.#entries = this.#entries.filter((placed) => placed !== head);
    } finally {
      this.#acking = false;
    }
  }

  async dropBacklog(): Promise<void> {
    this.#assertLoaded();
    await this.#inTurn(async () => {
      assert(this.#position?.resync !== undefined, "the backlog is dropped only after the mark for resync");
      for (const { sequence } of this.#entries.slice(1)) this.#garbage.add(sequence);
      this.#entries = this.#entries.slice(0, 1);
      // Also what an earlier call, which failed, could not remove.
      if (this.#garbage.size > 0) await this.#change(() => undefined);
    });
  }

  async close(): Promise<void> {
    this.#loaded = false;
    await this.#tail;
    await this.#connection.close();
  }

  async #commit(commit: Commit): Promise<void> {
    this.#commits += 1;
    try {
      await this.#inTurn(() => this.#publish(commit));
    } finally {
      this.#commits -= 1;
    }
    if (commit.replaced.length > 0) await this.#sweep(commit.replaced.map(({ sequence }) => sequence));
  }

  async #publish({ entry, hashes, position, sequence, replaced, beside, onAllowed }: Commit): Promise<void> {
    const { from, to, size, time } = entry;
    const placed: Placed = {
      entry: { from, to, size, time },
      sequence,
      chunkBytes: CHUNK_BYTES,
      hashes,
      leaving: false,
    };
    const at = placeOf(this.#entries, replaced);
    const next = this.#entries.toSpliced(at, replaced.length, placed);
    checkChain(
      next.map((each) => each.entry),
      position,
    );
    onAllowed();
    try {
      await this.#change((store) => {
        // Their bytes go later: should this fail in doubt, the entries are needed again.
        for (const each of replaced) store.delete(["entry", each.sequence]);
        beside(store);
        putEntry(store, placed);
        putPosition(store, position);
      });
    } catch (error) {
      this.#garbage.add(sequence);
      throw error;
    }
    // Looked up again: the head may have left.
    this.#entries = this.#entries.toSpliced(placeOf(this.#entries, replaced), replaced.length, placed);
    this.#position = position;
  }

  /** One durable step, and with it what earlier ones left to do. */
  async #change(step: (store: IDBObjectStore) => void): Promise<void> {
    const garbage = [...this.#garbage];
    const restated = this.#inDoubt ? this.#entries.filter(({ leaving }) => !leaving) : [];
    const position = this.#inDoubt ? this.#position : null;
    const { losses } = this.#connection;
    try {
      await this.#connection.store("readwrite", (store) => {
        for (const sequence of garbage) removeEntry(store, sequence);
        for (const placed of restated) putEntry(store, placed);
        if (position !== null) putPosition(store, position);
        step(store);
      });
    } catch (error) {
      if (losses !== this.#connection.losses) this.#inDoubt = true;
      throw error;
    }
    this.#inDoubt = false;
    for (const sequence of garbage) this.#garbage.delete(sequence);
  }

  /** Removes what is of no use any more. Where that fails, the next change or the next `load` does it. */
  async #sweep(sequences: readonly number[]): Promise<void> {
    for (const sequence of sequences) this.#garbage.add(sequence);
    try {
      await this.#inTurn(() => this.#change(() => undefined));
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
    }
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const turn = this.#tail.then(act);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async *#chunks(placed: Placed): AsyncGenerator<Uint8Array, void, undefined> {
    for (let i = 0; i * placed.chunkBytes < placed.entry.size; i++) yield await this.#chunk(placed, i);
  }

  async #chunk({ entry, sequence, chunkBytes, hashes }: Placed, index: number): Promise<Uint8Array> {
    const bytes = await get<Uint8Array>(chunkKey(sequence, index), this.#connection.store);
    if (bytes?.length !== Math.min(chunkBytes, entry.size - index * chunkBytes))
      throw this.#damaged(entry, "bytes of it are missing");
    if (this.#hash64(bytes) !== hashes[index]) throw this.#damaged(entry, "its bytes are altered");
    return bytes;
  }

  #damaged({ to }: CacheEntry, how: string): DamagedEntryError {
    return new DamagedEntryError(`the entry of transaction ${to.txid} in IndexedDB "${this.#name}"`, how);
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

/** A commit as it was asked for; `beside` and `onAllowed` are those of AppendHost. */
interface Commit {
  readonly entry: CacheEntry;
  readonly hashes: readonly bigint[];
  readonly position: PositionRecord;
  readonly sequence: number;
  readonly replaced: readonly Placed[];
  readonly beside: (store: IDBObjectStore) => void;
  readonly onAllowed: () => void;
}
