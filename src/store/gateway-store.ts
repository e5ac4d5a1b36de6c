import { StoreError } from "../errors.ts";
import { checkedList } from "./checked-list.ts";
import { readAbout, readCount, readEncoded, readPage } from "./gateway-answers.ts";
import { checkGatewayConfig, type GatewayStoreOptions } from "./gateway-config.ts";
import { type Call, GatewayConnection } from "./gateway-connection.ts";
import {
  type About,
  BATCH,
  ETAG_HEADER,
  LENGTH_HEADER,
  PART_BYTES,
  SIZE_HEADER,
} from "./gateway-protocol.ts";
import { upload } from "./gateway-upload.ts";
import { IdleWatch, unlessAborted } from "./idle-watch.ts";
import {
  checkKey,
  compareKeys,
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  type StoreCapabilities,
  type StoreOptions,
} from "./object-store.ts";
import { responseBody } from "./s3-body.ts";

const IDLE_TIMEOUT_MS = 60_000;

/**
 * Objects behind the app's own server, by `fetch`: no S3 credentials and no SDK in the page. The other half is
 * `createGateway` of `sqlite-sluice/gateway`. Small bodies go in one request, larger ones in parts; a source is never
 * held whole.
 */
export class GatewayStore implements ObjectStore {
  readonly url: string;
  readonly #connection: GatewayConnection;
  #about: Promise<About> | null = null;

  /** `url`: `https://host/path/`, http:// for this machine only. Throws ConfigError. Makes no request. */
  constructor(url: string, options: GatewayStoreOptions = {}) {
    const settings = checkGatewayConfig(url, options);
    this.#connection = new GatewayConnection(settings);
    this.url = settings.url;
  }

  async put(key: string, body: PutBody, { ifNoneMatch, signal }: PutOptions = {}): Promise<void> {
    checkKey(key);
    await this.#upload(key, body, ifNoneMatch === "*", signal);
  }

  async putStream(
    key: string,
    body: AsyncIterable<Uint8Array>,
    { signal }: StoreOptions = {},
  ): Promise<void> {
    checkKey(key);
    await this.#upload(key, body, false, signal);
  }

  async get(key: string, { range, ifMatch, signal }: GetOptions = {}): Promise<GetResult> {
    checkKey(key);
    signal?.throwIfAborted();
    const query = {
      ...(range !== undefined && { offset: `${range.offset}`, length: `${range.length}` }),
      ...(ifMatch !== undefined && { match: ifMatch }),
    };
    const call: Call = { verb: "get", key, query };
    const watch = new IdleWatch(IDLE_TIMEOUT_MS, signal);
    try {
      const { headers, body } = await this.#connection.send(call, watch);
      const size = readCount(headers.get(SIZE_HEADER));
      const length = readCount(headers.get(LENGTH_HEADER));
      const etag = readEncoded(headers.get(ETAG_HEADER));
      if (size === null || length === null || etag === null)
        throw new StoreError("unavailable", `${key}: the gateway's answer lacks its headers`, { key });
      // Taken at once: Node ends the body of a response that was collected, unless it has a reader.
      const reader = this.#reader(body, call, watch);
      const stream = { getReader: () => reader };
      const attempt = { operation: "get", key };
      return {
        size,
        etag,
        body: responseBody(stream, length, watch, attempt),
      };
    } catch (error) {
      watch.fail(error);
      throw error;
    }
  }

  list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    return checkedList(this.#list(prefix, options));
  }

  async *#list(
    prefix: string,
    { startAfter, signal }: ListOptions,
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    signal?.throwIfAborted();
    // No key has them, and no request can carry them.
    if (/\0|\p{Surrogate}/u.test(prefix)) return;
    let after: string | null = startAfter ?? "";
    while (after !== null) {
      const call: Call = { verb: "list", query: { prefix, ...(after !== "" && { after }) } };
      const page = await this.#json(call, readPage, signal);
      for (const [key, size, lastModified, age] of page.objects) {
        yield { key, size, lastModified, age };
        signal?.throwIfAborted();
      }
      if (page.next !== null && compareKeys(page.next, after) <= 0)
        throw new StoreError("unavailable", "the gateway's listing does not go on");
      after = page.next;
    }
  }

  async delete(keys: readonly string[], { signal }: StoreOptions = {}): Promise<void> {
    keys.forEach(checkKey);
    signal?.throwIfAborted();
    let failure: StoreError | undefined;
    for (let at = 0; at < keys.length; at += BATCH) {
      try {
        const post = new TextEncoder().encode(JSON.stringify(keys.slice(at, at + BATCH)));
        await this.#json({ verb: "delete", query: { size: `${post.length}` }, post }, () => ({}), signal);
      } catch (error) {
        if (!(error instanceof StoreError) || error.transient) throw error;
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  async capabilities({ signal }: StoreOptions = {}): Promise<StoreCapabilities> {
    signal?.throwIfAborted();
    const { conditionalCreate } = await this.#asked(signal);
    return { conditionalCreate: conditionalCreate === "atomic" ? "atomic" : "none" };
  }

  async #upload(
    key: string,
    body: PutBody | AsyncIterable<Uint8Array>,
    create: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    const about = await this.#asked(signal);
    const partBytes = Math.min(PART_BYTES, about.partBytes);
    const plan = { connection: this.#connection, key, create, partBytes, idleMs: IDLE_TIMEOUT_MS, signal };
    await upload(plan, body);
  }

  /** Asks the gateway once. A failure is not remembered, and who waits no longer does not take it from the others. */
  async #asked(signal: AbortSignal | undefined): Promise<About> {
    this.#about ??= this.#ask().catch((error) => {
      this.#about = null;
      throw error;
    });
    return unlessAborted(this.#about, signal);
  }

  #ask(): Promise<About> {
    return this.#json({ verb: "about" }, readAbout, undefined);
  }

  async #json<T>(
    call: Call,
    read: (value: unknown) => T | null,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const watch = new IdleWatch(IDLE_TIMEOUT_MS, signal);
    try {
      return await this.#connection.json(call, read, watch);
    } finally {
      watch.end();
    }
  }

  /** Reads an answer's stream; whatever it throws is a cut. */
  #reader(body: { getReader(): StreamReader } | null, call: Call, watch: IdleWatch) {
    const reader = body?.getReader();
    return {
      read: async () => {
        try {
          return (await reader?.read()) ?? { done: true };
        } catch (thrown) {
          throw this.#connection.failure(call, thrown, watch);
        }
      },
    };
  }
}

interface StreamReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}
