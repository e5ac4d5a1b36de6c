import { StoreError } from "../../src/errors.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import {
  chunksOf,
  collect,
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  type StoreCapabilities,
  type StoreOptions,
} from "../../src/store/object-store.ts";
import type { Random } from "../replicator/random.ts";
import type { Chain } from "./chain.ts";
import type { Life, World } from "./world.ts";

/** Objects that one request lists. */
const LIST_PAGE = 3;
/** How long a client waits for an answer, milliseconds. */
const TIMEOUT_MS = 30_000;
/** How late a request may take effect that its sender has given up. */
const LATEST_MS = 600_000;

type Failure = ConstructorParameters<typeof StoreError>;

const REFUSALS: readonly Failure[] = [
  ["throttled", "429", { status: 429, retryAfterMs: 2000 }],
  ["unavailable", "503", { status: 503 }],
  ["unavailable", "500", { status: 500 }],
  ["expired-credentials", "403", { status: 403 }],
];

/** What becomes of one request. */
type Fate = "served" | "lost" | "answer-lost" | "late" | "twice" | "refused";
const FATES: readonly Fate[] = ["lost", "answer-lost", "late", "twice", "refused"];

/** The object store that all machines share, and the weather on the way to it. */
export class Backend {
  readonly objects: MemoryStore;
  /** How likely a request goes wrong. */
  trouble = 0;
  /** Nothing gets through. */
  outage = false;
  requests = 0;
  /** Counts its losses: what was on its way to it then does not get there. */
  losses = 0;
  readonly #failures = new WeakSet<StoreError>();

  constructor(
    readonly world: World,
    readonly chain: Chain,
    /** Whether it honours If-None-Match. */
    readonly atomic: boolean,
  ) {
    this.objects = new MemoryStore({ now: () => world.time });
  }

  /** Everything gets through. */
  clear(): void {
    this.trouble = 0;
    this.outage = false;
  }

  /** An error that is the weather's. */
  failure(...what: Failure): StoreError {
    const error = new StoreError(...what);
    this.#failures.add(error);
    return error;
  }

  /** Whether an error is one of those, and not what the store answered, nor one that the core made of either. */
  caused(error: unknown): boolean {
    return error instanceof StoreError && this.#failures.has(error);
  }

  fate(): Fate {
    const { random } = this.world;
    if (this.outage) return random.chance(0.9) ? "lost" : "refused";
    return random.chance(this.trouble) ? random.pick(FATES) : "served";
  }

  latency(): number {
    const { random } = this.world;
    return random.chance(0.05) ? random.below(20_000) : 1 + random.below(60);
  }

  /** Writes, and has the model look at it. */
  async put(key: string, bytes: Uint8Array, options: PutOptions): Promise<void> {
    if (options.ifNoneMatch === "*" && !this.atomic) await this.#checkThenPut(key, bytes);
    else await this.objects.put(key, bytes, options);
    await this.chain.landed(key, bytes);
  }

  /** Some of its newest objects are gone, although it said that it has them. */
  async loseEnd(random: Random): Promise<void> {
    const keys = this.chain.loseEnd(random);
    this.losses += 1;
    this.world.note(`the store loses ${keys.join()}`);
    await this.objects.delete(keys);
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.chain.holdings.deleted(keys);
    await this.objects.delete(keys);
  }

  /** As SQLite's own client side does it where the store ignores the condition: two requests. */
  async #checkThenPut(key: string, bytes: Uint8Array): Promise<void> {
    for await (const info of this.objects.list(key))
      if (info.key === key) throw new StoreError("precondition-failed", `${key} is there`, { key });
    await this.objects.put(key, bytes);
  }
}

/** What one process has of it. */
export class SimStore implements ObjectStore {
  readonly url = "sim:";
  readonly #backend: Backend;
  readonly #life: Life;

  constructor(backend: Backend, life: Life) {
    this.#backend = backend;
    this.#life = life;
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    const bytes = await collect(chunksOf(body, options.signal), Number.MAX_SAFE_INTEGER);
    const { ifNoneMatch } = options;
    const effect = () => this.#backend.put(key, bytes, ifNoneMatch ? { ifNoneMatch } : {});
    await this.#request("put", key, options.signal, effect, true);
  }

  async putStream(key: string, body: AsyncIterable<Uint8Array>, options: StoreOptions = {}): Promise<void> {
    const bytes = await collect(chunksOf(body, options.signal), Number.MAX_SAFE_INTEGER);
    await this.#request("putStream", key, options.signal, () => this.#backend.put(key, bytes, {}), true);
  }

  async get(key: string, options: GetOptions = {}): Promise<GetResult> {
    const { signal, ...rest } = options;
    const result = await this.#request("get", key, signal, () => this.#backend.objects.get(key, rest), false);
    const cut = this.#backend.fate() !== "served" && this.#life.world.random.chance(0.5);
    return cut ? { ...result, body: this.#cut(key, result.body) } : result;
  }

  /** The connection breaks after some bytes. */
  async *#cut(key: string, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      const length = this.#life.world.random.below(chunk.length + 1);
      if (length > 0) yield chunk.slice(0, length);
      throw this.#backend.failure("network", `${key}: cut after ${length} bytes`, { key });
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    let { startAfter } = options;
    for (;;) {
      const after = startAfter;
      const page = await this.#request(
        "list",
        prefix,
        options.signal,
        () => this.#page(prefix, after),
        false,
      );
      yield* page;
      if (page.length < LIST_PAGE) return;
      startAfter = page.at(-1)!.key;
    }
  }

  async #page(prefix: string, startAfter: string | undefined): Promise<ObjectInfo[]> {
    const page: ObjectInfo[] = [];
    for await (const info of this.#backend.objects.list(
      prefix,
      startAfter === undefined ? {} : { startAfter },
    )) {
      page.push(info);
      if (page.length === LIST_PAGE) break;
    }
    return page;
  }

  delete(keys: readonly string[], options: StoreOptions = {}): Promise<void> {
    return this.#request("delete", keys.join(), options.signal, () => this.#backend.delete(keys), true);
  }

  async capabilities(options: StoreOptions = {}): Promise<StoreCapabilities> {
    const conditionalCreate = this.#backend.atomic ? "atomic" : "none";
    return this.#request("capabilities", "", options.signal, async () => ({ conditionalCreate }), false);
  }

  /**
   * A request goes out, takes effect there, and is answered; each of it may fail, and what was sent takes effect also
   * after its sender has given up or is gone. `writes`: it changes something, so it matters whether it comes late.
   */
  #request<T>(
    method: string,
    key: string,
    signal: AbortSignal | undefined,
    effect: () => Promise<T>,
    writes: boolean,
  ): Promise<T> {
    const life = this.#life;
    const { world } = life;
    const { losses } = this.#backend;
    life.operation(`${method} ${key}`);
    this.#backend.requests += 1;
    const fate = this.#backend.fate();
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      let settled = false;
      const answer = (delay: number, settle: () => void) =>
        life.schedule(delay, `${method} ${key} answered`, () => {
          if (settled) return;
          settled = true;
          settle();
        });
      signal?.addEventListener("abort", () => {
        settled = true;
        reject(signal.reason);
      });
      const arrive = (delay: number, answered: boolean) =>
        world.schedule(delay, null, `${method} ${key} arrives`, async () => {
          if (this.#backend.losses > losses) return;
          if (life.dead && world.random.chance(0.5)) return;
          const result = await effect().then(
            (value) => () => resolve(value),
            (error: unknown) => {
              if (!(error instanceof StoreError)) world.fail(error);
              return () => reject(error);
            },
          );
          if (answered) answer(this.#backend.latency(), result);
        });
      const cut = () => reject(this.#backend.failure("network", `${method} ${key}: no answer`, { key }));
      const { random } = world;
      const latency = this.#backend.latency();
      if (fate === "served") arrive(latency, true);
      else if (fate === "refused")
        answer(latency, () => reject(this.#backend.failure(...random.pick(REFUSALS))));
      else answer(random.chance(0.5) ? latency : TIMEOUT_MS, cut);
      if (fate === "twice") arrive(latency, true);
      if (fate === "answer-lost") arrive(random.below(latency), false);
      if ((fate === "late" || fate === "twice") && writes) arrive(random.below(LATEST_MS), false);
    });
  }
}
