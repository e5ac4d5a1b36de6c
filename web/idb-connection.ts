import { promisifyRequest, type UseStore } from "idb-keyval";
import { CacheError } from "../src/errors.ts";
import { CACHE_KEY, LAYOUT_VERSION, madeByNewer } from "./idb-records.ts";

const STORE = "cache";
/** Milliseconds. To open waits while another connection keeps a deletion of the database from being done. */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * The IndexedDB database of a write cache, opened when it is first used. Browsers close connections: with `close`, when
 * the storage process ended or site data were cleared, without a word (`InvalidStateError`), or as a failed transaction;
 * and we close ours on `versionchange`, so that another tab can delete the database. Then it is opened anew, once for an
 * operation. That it is still the same database is checked by an identity that was written when it was made.
 */
export class CacheConnection {
  readonly #name: string;
  readonly #factory: IDBFactory;
  #opening: Promise<IDBDatabase> | null = null;
  #identity: string | null = null;
  #losses = 0;

  constructor(name: string, factory: IDBFactory) {
    this.#name = name;
    this.#factory = factory;
  }

  /** How often a transaction failed so that nobody knows whether it took place. */
  get losses(): number {
    return this.#losses;
  }

  /**
   * For the functions of idb-keyval, and for steps of several requests. Resolves when the transaction is complete, which is
   * durable: idb-keyval's own stores ask for no more than the browser's default, which is to be in the system's buffers.
   * `act` may run twice, so it must be idempotent. Throws CacheError; what is no failure of IndexedDB stays what it is.
   */
  readonly store: UseStore = async (mode, act) => {
    try {
      return await this.#transact(mode, act);
    } catch (error) {
      if (!isLoss(error)) throw this.#error(error);
    }
    try {
      return await this.#transact(mode, act);
    } catch (error) {
      throw this.#error(error);
    }
  };

  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = null;
    const database = await opening?.catch(() => null);
    database?.close();
  }

  async #transact<T>(
    mode: IDBTransactionMode,
    act: (store: IDBObjectStore) => T | PromiseLike<T>,
  ): Promise<T> {
    const opening = this.#open();
    const database = await opening;
    try {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const complete = completion(transaction);
      complete.catch(() => undefined);
      const result = Promise.resolve(start(transaction, act));
      // The transaction knows better why a request failed.
      result.catch(() => undefined);
      await complete;
      return await result;
    } catch (error) {
      if (isLoss(error)) {
        this.#losses += 1;
        database.close();
        this.#forget(opening);
      }
      throw error;
    }
  }

  #open(): Promise<IDBDatabase> {
    if (this.#opening !== null) return this.#opening;
    const opening: Promise<IDBDatabase> = this.#request().then(async (database) => {
      database.onclose = () => this.#forget(opening);
      database.onversionchange = () => {
        database.close();
        this.#forget(opening);
      };
      try {
        await this.#identify(database);
      } catch (error) {
        database.close();
        throw error;
      }
      return database;
    });
    opening.catch(() => this.#forget(opening));
    this.#opening = opening;
    return opening;
  }

  #forget(opening: Promise<IDBDatabase>): void {
    if (this.#opening === opening) this.#opening = null;
  }

  #request(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      let missing = false;
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        reject(
          new CacheError(
            `${this.#title} could not be opened in ${OPEN_TIMEOUT_MS} ms. Another tab may keep it from being deleted: close other tabs of this site.`,
            false,
          ),
        );
      }, OPEN_TIMEOUT_MS);
      const request = this.#factory.open(this.#name, LAYOUT_VERSION);
      request.onupgradeneeded = () => {
        missing = this.#identity !== null;
        if (missing) request.transaction!.abort();
        else create(request.result);
      };
      request.onsuccess = () => {
        clearTimeout(timer);
        if (late) request.result.close();
        else resolve(request.result);
      };
      request.onerror = () => {
        clearTimeout(timer);
        reject(missing ? this.#gone() : request.error);
      };
    });
  }

  /** Throws CacheError where this is no write cache, not one of this release, or not the one that was opened before. */
  async #identify(database: IDBDatabase): Promise<void> {
    const ours = database.objectStoreNames.contains(STORE);
    const cache: { version: number; id: string } | undefined = ours
      ? await promisifyRequest(database.transaction(STORE).objectStore(STORE).get(CACHE_KEY))
      : undefined;
    if (cache?.version === undefined)
      throw new CacheError(`${this.#title} is not a write cache of Sluice. Choose another name.`, false);
    if (cache.version !== LAYOUT_VERSION) throw madeByNewer(this.#name);
    if (this.#identity !== null && this.#identity !== cache.id) throw this.#gone();
    this.#identity = cache.id;
  }

  get #title(): string {
    return `the write cache in IndexedDB "${this.#name}"`;
  }

  #gone(): CacheError {
    return new CacheError(
      `${this.#title} was deleted while it was in use. Create the replicator anew: it compares the database with its replica.`,
      false,
    );
  }

  #error(cause: unknown): unknown {
    if (!(cause instanceof DOMException)) return cause;
    if (cause.name === "VersionError") return madeByNewer(this.#name);
    const full = cause.name === "QuotaExceededError";
    return new CacheError(`${this.#title} failed: ${cause.name}: ${cause.message}`, full, { cause });
  }
}

function create(database: IDBDatabase): void {
  const store = database.createObjectStore(STORE);
  store.put({ version: LAYOUT_VERSION, id: crypto.randomUUID() }, CACHE_KEY);
}

/** Any other way to fail means the connection, or looks like it (Safari: UnknownError). */
function isLoss(error: unknown): boolean {
  return error instanceof DOMException && !CERTAIN.has(error.name);
}

/** Errors after which nothing has changed, and a second try would fail alike. */
const CERTAIN: ReadonlySet<string> = new Set([
  "QuotaExceededError",
  "VersionError",
  "DataCloneError",
  "DataError",
]);

/** promisifyRequest would answer an `error` event that bubbles up, before the transaction knows its reason. */
function completion(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.addEventListener("complete", () => resolve());
    transaction.addEventListener("abort", () =>
      reject(transaction.error ?? new DOMException("the transaction was ended", "AbortError")),
    );
  });
}

/** Where `act` throws, what it had asked for before does not take place either. */
function start<T>(
  transaction: IDBTransaction,
  act: (store: IDBObjectStore) => T | PromiseLike<T>,
): T | PromiseLike<T> {
  try {
    return act(transaction.objectStore(STORE));
  } catch (error) {
    transaction.abort();
    throw error;
  }
}
