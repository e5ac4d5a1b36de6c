import type {
  CacheEntry,
  CacheState,
  PositionRecord,
  QueueAppend,
  SegmentQueue,
} from "../../src/cache/write-cache.ts";
import { CacheError } from "../../src/errors.ts";
import type { PutBody } from "../../src/store/object-store.ts";
import { MemoryCache, type MemoryCacheStorage } from "./memory-cache.ts";

/** A queue in memory that answers turns later, as IndexedDB does, and fails when it is told to. */
export class DelayedQueue implements SegmentQueue {
  readonly #cache: MemoryCache;
  failing = false;
  /** Which of its changes fail; none by default. */
  fails = (_change: "write" | "commit" | "position" | "mark" | "ack" | "drop"): boolean => this.failing;
  /** Called before each change. */
  onChange = (): void => {};

  constructor(storage: MemoryCacheStorage) {
    this.#cache = new MemoryCache(storage, true);
  }

  load(): Promise<CacheState> {
    return this.#cache.load();
  }

  entries(): readonly CacheEntry[] {
    return this.#cache.entries();
  }

  append(replacing: readonly CacheEntry[] = []): QueueAppend {
    const inner = this.#cache.append(replacing);
    return {
      write: (chunk) => this.#later("write", () => inner.write(chunk)),
      commit: (entry, position) => this.#later("commit", () => inner.commit(entry, position)),
      abort: async () => inner.abort(),
    };
  }

  savePosition(record: PositionRecord): Promise<void> {
    return this.#later("position", () => this.#cache.savePosition(record));
  }

  markResync(reason: string): Promise<void> {
    return this.#later("mark", () => this.#cache.markResync(reason));
  }

  read(entry: CacheEntry): PutBody {
    return this.#cache.read(entry);
  }

  readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    return this.#cache.readRange(entry, offset, length);
  }

  ack(entry: CacheEntry): Promise<void> {
    return this.#later("ack", () => this.#cache.ack(entry));
  }

  dropBacklog(): Promise<void> {
    return this.#later("drop", () => this.#cache.dropBacklog());
  }

  async close(): Promise<void> {}

  async #later(
    change: Parameters<DelayedQueue["fails"]>[0],
    act: () => undefined | Promise<void>,
  ): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.fails(change)) throw new CacheError("the queue fails", true);
    this.onChange();
    await act();
  }
}
