import {
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  type StoreCapabilities,
  StoreError,
  type StoreOptions,
} from "../../node/index.ts";

/** What a store does with one request: pass it, fail before it took effect, or after. */
export type Fault = "pass" | "before" | "after";

/** A real store behind a network that fails on command. Counts requests. */
export class FaultyStore implements ObjectStore {
  readonly url = "faulty:";
  requests = 0;
  fault: (method: string, key: string) => Fault = () => "pass";
  /** What others do before a request gets there. */
  meanwhile: (method: string, key: string) => Promise<void> = async () => {};
  readonly #store: ObjectStore;
  #beforeStream = async (): Promise<void> => {};

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get offline(): boolean {
    return this.fault("put", "") === "before";
  }

  set offline(offline: boolean) {
    this.fault = () => (offline ? "before" : "pass");
  }

  async #through<T>(method: string, key: string, request: () => Promise<T>): Promise<T> {
    this.requests += 1;
    const fault = this.fault(method, key);
    if (fault === "before") throw new StoreError("network", `${method} ${key}: cut`, { key });
    await this.meanwhile(method, key);
    const result = await request();
    if (fault === "after") throw new StoreError("network", `${method} ${key}: answer lost`, { key });
    return result;
  }

  put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    return this.#through("put", key, () => this.#store.put(key, body, options));
  }
  /** The next stream waits with its first chunk. Resolves when it waits, with what lets it go on. */
  holdStream(): Promise<() => void> {
    return new Promise((resolve) => {
      this.#beforeStream = () => {
        this.#beforeStream = async () => {};
        return new Promise((release) => resolve(release));
      };
    });
  }
  async putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void> {
    await this.#beforeStream();
    return this.#through("putStream", key, () => this.#store.putStream(key, body, options));
  }
  get(key: string, options?: GetOptions): Promise<GetResult> {
    return this.#through("get", key, () => this.#store.get(key, options));
  }
  async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
    await this.#through("list", prefix, async () => undefined);
    yield* this.#store.list(prefix, options);
  }
  delete(keys: readonly string[], options?: StoreOptions): Promise<void> {
    return this.#through("delete", keys[0] ?? "", () => this.#store.delete(keys, options));
  }
  capabilities(options?: StoreOptions): Promise<StoreCapabilities> {
    return this.#through("capabilities", "", () => this.#store.capabilities(options));
  }
}
