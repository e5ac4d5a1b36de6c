import { assert } from "../../src/assert.ts";
import type {
  CacheAppend,
  CacheEntry,
  CacheState,
  PositionRecord,
  WriteCache,
} from "../../src/cache/write-cache.ts";
import { CacheError } from "../../src/errors.ts";
import { samePosition } from "../../src/format/position.ts";

interface StoredEntry {
  readonly entry: CacheEntry;
  readonly bytes: Uint8Array;
}

/** What survives a MemoryCache that is dropped without a close, as a disk would. */
export class MemoryCacheStorage {
  record: PositionRecord | null = null;
  entries: readonly StoredEntry[] = [];
}

/** A write cache for tests in memory. */
export class MemoryCache implements WriteCache {
  readonly #storage: MemoryCacheStorage;
  #appending = false;

  /** `behind`: it is the queue behind a write cache, which minds the head. */
  constructor(
    storage = new MemoryCacheStorage(),
    readonly behind = false,
  ) {
    this.#storage = storage;
  }

  async load(): Promise<CacheState> {
    const { record } = this.#storage;
    if (record !== null && record.version !== 1)
      throw new CacheError(`record version ${record.version}`, false);
    return { position: record, entries: this.entries() };
  }

  entries(): readonly CacheEntry[] {
    return this.#storage.entries.map(({ entry }) => entry);
  }

  append(replacing: readonly CacheEntry[] = []): CacheAppend {
    assert(!this.#appending, "one segment is open at a time");
    if (replacing.length > 0) this.#placeOf(replacing);
    this.#appending = true;
    const chunks: Uint8Array[] = [];
    return {
      write: (chunk) => {
        chunks.push(chunk.slice());
        return undefined;
      },
      commit: (entry, record) => {
        const bytes = concat(chunks);
        assert(bytes.length === entry.size, "the entry says the size of its object");
        this.#change(this.#with({ entry, bytes }, replacing), record);
        this.#appending = false;
        return undefined;
      },
      abort: () => {
        this.#appending = false;
        return undefined;
      },
    };
  }

  /** The entries with a new one at the end, or in place of those that it replaces. */
  #with(added: StoredEntry, replacing: readonly CacheEntry[]): readonly StoredEntry[] {
    const { entries } = this.#storage;
    if (replacing.length === 0) return [...entries, added];
    const at = this.#placeOf(replacing);
    assert(added.entry.to.txid >= replacing.at(-1)!.to.txid, "a merge covers what it replaces");
    return [...entries.slice(0, at), added, ...entries.slice(at + replacing.length)];
  }

  #placeOf(replacing: readonly CacheEntry[]): number {
    const at = this.entries().findIndex(({ from }) => samePosition(from, replacing[0]!.from));
    assert(at > (this.behind ? -1 : 0), "the head and strangers are not replaced");
    replacing.forEach((entry, i) => {
      const there = this.entries()[at + i];
      assert(there !== undefined && samePosition(there.to, entry.to), "neighbours are replaced");
    });
    return at;
  }

  savePosition(record: PositionRecord): undefined {
    this.#change(this.#storage.entries, record);
  }

  markResync(reason: string): undefined {
    const { record } = this.#storage;
    if (record !== null && record.resync === undefined) this.#storage.record = { ...record, resync: reason };
  }

  read(entry: CacheEntry): Uint8Array {
    const stored = this.#storage.entries.find((each) => samePosition(each.entry.to, entry.to));
    assert(stored !== undefined, "only entries are read");
    return stored.bytes;
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    const range = this.read(entry).slice(offset, offset + length);
    if (range.length !== length) throw new CacheError("the entry has fewer bytes", false);
    return range;
  }

  async ack(entry: CacheEntry): Promise<void> {
    const head = this.entries()[0];
    assert(head !== undefined && samePosition(head.to, entry.to), "the head is acknowledged");
    this.#storage.entries = this.#storage.entries.slice(1);
  }

  async dropBacklog(): Promise<void> {
    assert(this.#storage.record?.resync !== undefined, "the mark is durable before any drop");
    this.#storage.entries = this.#storage.entries.slice(0, 1);
  }

  async close(): Promise<void> {}

  #change(entries: readonly StoredEntry[], record: PositionRecord): void {
    entries.forEach(({ entry }, i) => {
      assert(entry.to.txid > entry.from.txid, "an entry leads forward");
      const before = entries[i - 1]?.entry.to ?? entry.from;
      assert(samePosition(entry.from, before), "entries form a chain");
    });
    const end = entries.at(-1)?.entry.to ?? record.cached;
    assert(
      record.resync !== undefined || samePosition(end, record.cached),
      "the record is where entries end",
    );
    this.#storage.entries = entries;
    this.#storage.record = structuredClone(record);
  }
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
