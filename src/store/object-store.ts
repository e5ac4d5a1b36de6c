/**
 * Where replicas live. Keys are relative to the replica's prefix, use `/`, and never begin with one. Every method throws
 * StoreError, or the signal's reason when aborted. One contract suite (test/suites/object-store.ts) holds for all.
 */
export interface ObjectStore {
  /** For people: where this is. Never holds secrets. */
  readonly url: string;

  /**
   * Writes one object whole: it is either there complete or not at all, and durable when the promise resolves.
   * With `ifNoneMatch` an existing object is left as it is and StoreError "precondition-failed" is thrown.
   */
  put(key: string, body: PutBody, options?: PutOptions): Promise<void>;

  /** Writes an object whose size is not known in advance. Nothing is visible, and nothing stays, unless it completes. */
  putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void>;

  /**
   * Reads an object or a range of it. Throws StoreError "not-found" where there is none, and "precondition-failed" where
   * `ifMatch` names another version. A range that reaches past the end is cut there; one that begins past it is
   * "invalid-request".
   */
  get(key: string, options?: GetOptions): Promise<GetResult>;

  /** All objects whose key begins with `prefix` and sorts after `startAfter`, in ascending order of UTF-8 bytes. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;

  /** Deletes objects; a key that is not there is no error. Throws a StoreError naming the first key that failed. */
  delete(keys: readonly string[], options?: StoreOptions): Promise<void>;

  /** What this store can do, found out once and remembered. */
  capabilities(options?: StoreOptions): Promise<StoreCapabilities>;
}

/** Bytes, or a source of known size that can be read again for a retry. */
export type PutBody = Uint8Array | { readonly size: number; chunks(): AsyncIterable<Uint8Array> };

export interface StoreOptions {
  readonly signal?: AbortSignal | undefined;
}
export interface PutOptions extends StoreOptions {
  readonly ifNoneMatch?: "*";
}
export interface GetOptions extends StoreOptions {
  /** Bytes: `length` bytes from `offset`; a negative `offset` counts from the end (`length` is then ignored). */
  readonly range?: { readonly offset: number; readonly length: number };
  readonly ifMatch?: string;
}
export interface ListOptions extends StoreOptions {
  readonly startAfter?: string;
}
export interface GetResult {
  /** Size of the whole object in bytes, whatever the range. */
  readonly size: number;
  /** Names this version of the object; opaque. */
  readonly etag: string;
  /** Must be read to the end or returned from (`for await` does both). */
  readonly body: AsyncIterable<Uint8Array>;
}
export interface ObjectInfo {
  readonly key: string;
  readonly size: number;
  /** Milliseconds since 1970, by the store's clock. */
  readonly lastModified: number;
  /** Milliseconds between `lastModified` and the listing, both by the store's clock. */
  readonly age: number;
}
export interface StoreCapabilities {
  /** `atomic`: of several creators of one key exactly one wins. `none`: a check, then a put; two writers can collide. */
  readonly conditionalCreate: "atomic" | "none";
}

/** Collects a body into one array. Throws once more than `limit` bytes arrive, before they are kept. */
export async function collect(body: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit) throw new RangeError(`body is larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
