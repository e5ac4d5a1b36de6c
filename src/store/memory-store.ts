import { StoreError } from "../errors.ts";
import {
  checkKey,
  chunksOf,
  collect,
  compareKeys,
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  resolveRange,
  type StoreCapabilities,
  type StoreOptions,
} from "./object-store.ts";

/** Bytes a body gives at a time. */
const CHUNK_BYTES = 64 * 1024;

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly lastModified: number;
}

/** Objects in memory, gone with the page or process: for tests and demos. Bytes are copied on the way in and out. */
export class MemoryStore implements ObjectStore {
  readonly url: string;
  readonly #now: () => number;
  readonly #objects = new Map<string, StoredObject>();
  #versions = 0;

  /** `name` only names it in `url`. `now` is the store's clock, milliseconds since 1970. */
  constructor({ name = "", now = Date.now }: { name?: string; now?: () => number } = {}) {
    this.url = `memory:${name}`;
    this.#now = now;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    await this.#store(key, body, options.signal, options.ifNoneMatch === "*");
  }

  async putStream(key: string, body: AsyncIterable<Uint8Array>, options: StoreOptions = {}): Promise<void> {
    checkKey(key);
    await this.#store(key, body, options.signal, false);
  }

  async get(key: string, options: GetOptions = {}): Promise<GetResult> {
    checkKey(key);
    options.signal?.throwIfAborted();
    const object = this.#objects.get(key);
    if (object === undefined) throw new StoreError("not-found", `${key} is not in ${this.url}`, { key });
    if (options.ifMatch !== undefined && options.ifMatch !== object.etag) {
      throw new StoreError("precondition-failed", `${key} is another version by now`, { key });
    }
    const { offset, length } = resolveRange(options.range, object.bytes.length, key);
    const wanted = object.bytes.subarray(offset, offset + length);
    return { size: object.bytes.length, etag: object.etag, body: copies(wanted, options.signal) };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo, void, undefined> {
    const { startAfter, signal } = options;
    signal?.throwIfAborted();
    const keys = [...this.#objects.keys()].filter(
      (key) => key.startsWith(prefix) && (startAfter === undefined || compareKeys(key, startAfter) > 0),
    );
    for (const key of keys.sort(compareKeys)) {
      const object = this.#objects.get(key);
      if (object === undefined) continue;
      const age = Math.max(0, this.#now() - object.lastModified);
      yield { key, size: object.bytes.length, lastModified: object.lastModified, age };
      signal?.throwIfAborted();
    }
  }

  async delete(keys: readonly string[], options: StoreOptions = {}): Promise<void> {
    keys.forEach(checkKey);
    options.signal?.throwIfAborted();
    for (const key of keys) this.#objects.delete(key);
  }

  async capabilities(options: StoreOptions = {}): Promise<StoreCapabilities> {
    options.signal?.throwIfAborted();
    return { conditionalCreate: "atomic" };
  }

  async #store(
    key: string,
    body: PutBody | AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
    create: boolean,
  ): Promise<void> {
    const bytes = (await collect(chunksOf(body, signal), Number.MAX_SAFE_INTEGER)).slice();
    // From here to the end nothing waits, so of several creators one wins.
    signal?.throwIfAborted();
    if (create && this.#objects.has(key)) {
      throw new StoreError("precondition-failed", `${key} is already in ${this.url}`, { key });
    }
    this.#versions += 1;
    this.#objects.set(key, { bytes, etag: `"${this.#versions}"`, lastModified: this.#now() });
  }
}

async function* copies(
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    signal?.throwIfAborted();
    yield bytes.slice(at, at + CHUNK_BYTES);
  }
}
