import { StoreError } from "../errors.ts";
import type { Clock } from "../platform.ts";
import type {
  GetOptions,
  GetResult,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
  StoreOptions,
} from "./object-store.ts";

/** Tries of one read in all, and the longest pause before the second, milliseconds; each further one may be twice as long. */
const TRIES = 6;
const FIRST_PAUSE_MS = 250;

/**
 * A store whose reads do not give up at the first cut of the network: a restore makes thousands of requests, and one that
 * fails must not cost the others. What was received is kept, the rest is asked for again. Writes pass as they are: the
 * loop repeats those, with longer pauses.
 */
export class PatientStore implements ObjectStore {
  readonly url: string;
  readonly #store: ObjectStore;
  readonly #clock: Clock;

  constructor(store: ObjectStore, clock: Clock) {
    this.url = store.url;
    this.#store = store;
    this.#clock = clock;
  }

  put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    return this.#store.put(key, body, options);
  }

  putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void> {
    return this.#store.putStream(key, body, options);
  }

  delete(keys: readonly string[], options?: StoreOptions): Promise<void> {
    return this.#store.delete(keys, options);
  }

  capabilities(options?: StoreOptions): Promise<StoreCapabilities> {
    return this.#store.capabilities(options);
  }

  async get(key: string, asked: GetOptions = {}): Promise<GetResult> {
    const options = withOwnSignal(asked);
    const tries = new Tries(this.#clock, options.signal);
    const first = await tries.run(() => this.#store.get(key, options));
    return { ...first, body: this.#rest(key, options, first, tries) };
  }

  async *#rest(key: string, options: GetOptions, first: GetResult, tries: Tries): AsyncGenerator<Uint8Array> {
    const { size, etag } = first;
    const { offset = 0, length = size } = options.range ?? {};
    let at = offset < 0 ? Math.max(0, size + offset) : offset;
    const end = offset < 0 ? size : Math.min(size, at + length);
    let { body } = first;
    for (;;) {
      try {
        for await (const chunk of body) {
          at += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        await tries.pause(error);
        const range = { offset: at, length: end - at };
        if (range.length <= 0) return;
        ({ body } = await tries.run(() => this.#store.get(key, { ...options, range, ifMatch: etag })));
      }
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const tries = new Tries(this.#clock, options.signal);
    let { startAfter } = options;
    for (;;) {
      try {
        for await (const info of this.#store.list(prefix, {
          ...options,
          ...(startAfter !== undefined && { startAfter }),
        })) {
          startAfter = info.key;
          yield info;
        }
        return;
      } catch (error) {
        await tries.pause(error);
      }
    }
  }
}

/**
 * Many reads go on under one signal, each with listeners of its own: of more than ten Node warns as of a leak. A signal that
 * depends on another is no listener of it. Where there are none (Safari before 17.4), nobody warns either.
 */
function withOwnSignal(options: GetOptions): GetOptions {
  if (options.signal === undefined || typeof AbortSignal.any !== "function") return options;
  return { ...options, signal: AbortSignal.any([options.signal]) };
}

/** The tries of one read. */
class Tries {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  #failures = 0;

  constructor(clock: Clock, signal: AbortSignal | undefined) {
    this.#clock = clock;
    this.#signal = signal;
  }

  async run<T>(request: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await request();
      } catch (error) {
        await this.pause(error);
      }
    }
  }

  /** Waits before another try, or throws `error` where there is none. */
  async pause(error: unknown): Promise<void> {
    this.#failures += 1;
    this.#signal?.throwIfAborted();
    if (!(error instanceof StoreError) || !error.transient || this.#failures >= TRIES) throw error;
    const longest = FIRST_PAUSE_MS * 2 ** (this.#failures - 1);
    const ms = Math.max(error.detail.retryAfterMs ?? 0, Math.random() * longest);
    await this.#sleep(ms);
    this.#signal?.throwIfAborted();
  }

  /** Until then, or until the signal aborts. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = this.#clock.after(ms, true, end);
      this.#signal?.addEventListener("abort", end);
    });
  }
}
