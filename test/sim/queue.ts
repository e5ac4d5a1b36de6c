import { DamagedEntryError } from "../../src/cache/damaged-entry.ts";
import type {
  Awaitable,
  CacheEntry,
  CacheState,
  PositionRecord,
  QueueAppend,
  SegmentQueue,
} from "../../src/cache/write-cache.ts";
import { CacheError } from "../../src/errors.ts";
import type { PutBody } from "../../src/store/object-store.ts";
import { MemoryCache, MemoryCacheStorage } from "../cache/memory-cache.ts";
import type { Life } from "./world.ts";

/** A database of the browser: each change is one transaction, done or not; full or out of reach at times. */
export class QueueStorage {
  stored = new MemoryCacheStorage();
  /** How likely a change fails. */
  trouble = 0;
  full = false;
  readonly #failures = new WeakSet<CacheError>();
  /** Ids of entries whose bytes are not those that were written. */
  readonly #damaged = new Set<string>();

  failure(message: string, full: boolean): CacheError {
    const error = new CacheError(message, full);
    this.#failures.add(error);
    return error;
  }

  damage({ to }: CacheEntry): void {
    this.#damaged.add(to.id);
  }

  requireWhole({ to }: CacheEntry): void {
    if (!this.#damaged.has(to.id)) return;
    const error = new DamagedEntryError(`the entry of transaction ${to.txid}`, "it was meant to be");
    this.#failures.add(error);
    throw error;
  }

  /** Whether an error is one of those. */
  caused(error: CacheError): boolean {
    return this.#failures.has(error);
  }

  /** Whether an entry ever was damaged, so that a backlog may have been given up. */
  get wasDamaged(): boolean {
    return this.#damaged.size > 0;
  }
}

export class SimQueue implements SegmentQueue {
  readonly #cache: MemoryCache;
  readonly #storage: QueueStorage;
  readonly #life: Life;
  #dropping = false;

  constructor(storage: QueueStorage, life: Life) {
    this.#storage = storage;
    this.#cache = new MemoryCache(storage.stored, true);
    this.#life = life;
  }

  async load(): Promise<CacheState> {
    await this.#life.wait(1, "queue load");
    return this.#cache.load();
  }

  entries(): readonly CacheEntry[] {
    return this.#dropping ? this.#cache.entries().slice(0, 1) : this.#cache.entries();
  }

  append(replacing: readonly CacheEntry[] = []): QueueAppend {
    const inner = this.#cache.append(replacing);
    return {
      write: async (chunk) => inner.write(chunk),
      commit: (entry, position) => this.#change("commit", true, () => inner.commit(entry, position)),
      abort: async () => inner.abort(),
    };
  }

  savePosition(record: PositionRecord): Promise<void> {
    return this.#change("position", true, () => this.#cache.savePosition(record));
  }

  markResync(reason: string): Promise<void> {
    return this.#change("mark", false, () => this.#cache.markResync(reason));
  }

  read(entry: CacheEntry): PutBody {
    this.#storage.requireWhole(entry);
    return this.#cache.read(entry);
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    await this.#life.wait(1, "queue read");
    this.#storage.requireWhole(entry);
    return this.#cache.readRange(entry, offset, length);
  }

  ack(entry: CacheEntry): Promise<void> {
    return this.#change("ack", false, () => this.#cache.ack(entry));
  }

  /** Where that fails nobody sees the backlog any more, and it leaves with the next change. */
  dropBacklog(): Promise<void> {
    this.#dropping = true;
    return this.#change("drop", false, () => undefined);
  }

  async close(): Promise<void> {}

  /** What was begun may be done although the process ends, or the connection is lost before the answer. */
  #change(what: string, grows: boolean, act: () => Awaitable): Promise<void> {
    const life = this.#life;
    const { world } = life;
    life.operation(`queue ${what}`);
    return new Promise((resolve, reject) => {
      world.schedule(world.random.below(5), null, `${life.name} queue ${what} done`, async () => {
        if (life.dead && world.random.chance(0.5)) return;
        const { full, trouble } = this.#storage;
        let error = grows && full ? this.#storage.failure("quota", true) : null;
        if (world.random.chance(trouble)) error ??= this.#storage.failure("the connection was lost", false);
        try {
          if (error === null) {
            if (this.#dropping) await this.#cache.dropBacklog();
            this.#dropping = false;
            await act();
          }
        } catch (cause) {
          world.fail(cause);
        }
        life.schedule(0, `queue ${what} answered`, () => (error === null ? resolve() : reject(error)));
      });
    });
  }
}
