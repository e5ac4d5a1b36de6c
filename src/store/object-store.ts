import { StoreError } from "../errors.ts";

export { collect } from "./collect.ts";

/**
 * Where replicas live. Keys are relative to the replica's prefix, use `/`, and never begin with one; `checkKey` says
 * which are legal. Every method throws StoreError, the signal's reason when aborted (at once, even while a source is
 * waited for), or, from a body that fails, what the body threw. One contract suite (test/suites/object-store.ts) holds
 * for all.
 */
export interface ObjectStore {
  /** For people: where this is. Never holds secrets. */
  readonly url: string;

  /**
   * Writes one object whole: it is either there complete or not at all, and durable when the promise resolves.
   * With `ifNoneMatch` an existing object is left as it is and StoreError "precondition-failed" is thrown. Any other
   * error may leave it open whether the object is there: the answer can be lost on the way. Never a part of it.
   */
  put(key: string, body: PutBody, options?: PutOptions): Promise<void>;

  /** Writes an object whose size is not known in advance. Nothing is visible, and nothing stays, unless it completes. */
  putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void>;

  /**
   * Reads an object or a range of it. Throws StoreError "not-found" where there is none, and "precondition-failed" where
   * `ifMatch` names another version. A range that reaches past the end is cut there; one that begins at the end or
   * past it, or is empty, is "invalid-request". The body is of one version of the object, whatever happens to it while
   * the body is read.
   */
  get(key: string, options?: GetOptions): Promise<GetResult>;

  /**
   * All objects whose key begins with `prefix` (any string, not only a folder) and sorts after `startAfter`, in
   * ascending order of UTF-8 bytes. Objects that come or go meanwhile may or may not be seen.
   */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;

  /**
   * Deletes objects; a key that is not there is no error. All are tried; then a StoreError naming the first key that
   * failed is thrown. An illegal key is refused before any is deleted.
   */
  delete(keys: readonly string[], options?: StoreOptions): Promise<void>;

  /** What this store can do, found out once and remembered. */
  capabilities(options?: StoreOptions): Promise<StoreCapabilities>;
}

/**
 * Bytes, or a source of known size that can be read again for a retry: each `chunks()` begins anew, and no chunk's memory
 * is used again by the source. A source that gives more or fewer bytes than `size` is "invalid-request", nothing is stored.
 */
export type PutBody = Uint8Array | { readonly size: number; chunks(): AsyncIterable<Uint8Array> };

export interface StoreOptions {
  readonly signal?: AbortSignal | undefined;
}
export interface PutOptions extends StoreOptions {
  readonly ifNoneMatch?: "*";
}
export interface GetOptions extends StoreOptions {
  /** Bytes: `length` bytes from `offset`; a negative `offset` asks for the last bytes (`length` is then ignored). */
  readonly range?: { readonly offset: number; readonly length: number };
  readonly ifMatch?: string;
  /** Memory of the reader's, as long as the range: a store may put the bytes there from its beginning, in order, and give views of it. */
  readonly into?: Uint8Array;
}
export interface ListOptions extends StoreOptions {
  readonly startAfter?: string;
}
export interface GetResult {
  /** Size of the whole object in bytes, whatever the range. */
  readonly size: number;
  /** Names this version of the object; opaque. */
  readonly etag: string;
  /** Once only; must be read to the end or returned from (`for await` does both). Chunks are the reader's to keep. */
  readonly body: AsyncIterable<Uint8Array>;
}
export interface ObjectInfo {
  readonly key: string;
  readonly size: number;
  /** Milliseconds since 1970, by the store's clock. */
  readonly lastModified: number;
  /** Milliseconds between `lastModified` and the listing, both by the store's clock; never negative. */
  readonly age: number;
}
export interface StoreCapabilities {
  /** `atomic`: of several creators of one key exactly one wins. `none`: a check, then a put; two writers can collide. */
  readonly conditionalCreate: "atomic" | "none";
}

/** At most 1,024 bytes of UTF-8, as S3 has it. */
const MAX_KEY_BYTES = 1024;

/**
 * A key is legal if it is not empty and at most 1,024 bytes of well-formed UTF-8 without NUL, and every segment between
 * slashes is neither empty nor `.` nor `..`. So it begins and ends without a slash, and no file path made of it leaves
 * its folder. Throws StoreError "invalid-request".
 */
export function checkKey(key: string): void {
  const legal =
    key.length > 0 &&
    key.length <= MAX_KEY_BYTES &&
    !key.includes("\0") &&
    !/\p{Surrogate}/u.test(key) &&
    new TextEncoder().encode(key).length <= MAX_KEY_BYTES &&
    key.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
  if (!legal) throw new StoreError("invalid-request", `${JSON.stringify(key)} is not a legal key`, { key });
}

/** Orders keys by their UTF-8 bytes. JavaScript's own order differs: surrogates sort before U+E000 to U+FFFF. */
export function compareKeys(a: string, b: string): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return utf8Rank(x) - utf8Rank(y);
  }
  return a.length - b.length;
}

function utf8Rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** The bytes that `range` asks for of an object of `size` bytes: `length` ≥ 1 from `offset`, or all without a range. */
export function resolveRange(
  range: GetOptions["range"],
  size: number,
  key: string,
): { offset: number; length: number } {
  if (range === undefined) return { offset: 0, length: size };
  const offset = range.offset < 0 ? Math.max(0, size + range.offset) : range.offset;
  const end = range.offset < 0 ? size : Math.min(size, offset + range.length);
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(end) && offset < end) {
    return { offset, length: end - offset };
  }
  const asked =
    range.offset < 0 ? `the last ${-range.offset} bytes` : `${range.length} bytes from ${range.offset}`;
  throw new StoreError("invalid-request", `${key}: ${asked} of ${size} do not exist`, { key });
}

/**
 * Reads what is to be stored: checks a source against its stated size, and stops as soon as `signal` is aborted, even
 * when the source never answers. Throws the signal's reason, what the source threw, or StoreError "invalid-request".
 */
export async function* chunksOf(
  body: PutBody | AsyncIterable<Uint8Array>,
  signal?: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal?.throwIfAborted();
  if (ArrayBuffer.isView(body)) {
    yield body;
    return;
  }
  const expected = "chunks" in body ? body.size : null;
  const source = ("chunks" in body ? body.chunks() : body)[Symbol.asyncIterator]();
  let size = 0;
  let ended = false;
  try {
    for (;;) {
      const step = await nextUnlessAborted(source, signal);
      if (step.done === true) break;
      size += step.value.length;
      if (expected !== null && size > expected) throw wrongSize(expected, `at least ${size}`);
      yield step.value;
      signal?.throwIfAborted();
    }
    ended = true;
    if (expected !== null && size !== expected) throw wrongSize(expected, `${size}`);
  } catch (error) {
    // Not awaited: a source that is stuck would keep its return() waiting behind the step it is stuck in.
    if (!ended) source.return?.().then(undefined, () => undefined);
    ended = true;
    throw error;
  } finally {
    if (!ended) await source.return?.();
  }
}

function wrongSize(expected: number, actual: string): StoreError {
  return new StoreError("invalid-request", `the source stated ${expected} bytes and gave ${actual}`);
}

function nextUnlessAborted<T>(
  source: AsyncIterator<T>,
  signal: AbortSignal | undefined,
): Promise<IteratorResult<T>> {
  if (signal === undefined) return source.next();
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    source
      .next()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", stop));
  });
}
