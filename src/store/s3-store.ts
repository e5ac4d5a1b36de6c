import { StoreError } from "../errors.ts";
import { checkedList } from "./checked-list.ts";
import { IdleWatch, unlessAborted } from "./idle-watch.ts";
import {
  checkKey,
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
} from "./object-store.ts";
import { requestBody, responseBody } from "./s3-body.ts";
import {
  checkS3Config,
  formatS3Url,
  requireSettings,
  type S3Settings,
  type S3StoreConfig,
} from "./s3-config.ts";
import { S3Connection } from "./s3-connection.ts";
import { deleteObjects } from "./s3-delete.ts";
import { hiddenHeader } from "./s3-errors.ts";
import { listObjects } from "./s3-list.ts";
import { type ConditionalCreate, PROBE_KEY, PROBE_TEXT, probeConditionalCreate } from "./s3-probe.ts";
import { contentRange, rangeHeader } from "./s3-range.ts";
import type { S3GetOutput, S3ObjectInput, S3Runtime, S3Sdk } from "./s3-sdk.ts";
import { PART_BYTES, uploadStream } from "./s3-upload.ts";

/**
 * Objects in Amazon S3 or a server that speaks its protocol. The AWS SDK is loaded at the first request. `put` takes up
 * to 5 GiB (S3's limit for one request), `putStream` up to 78 GiB.
 */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly #settings: S3Settings;
  readonly #runtime: S3Runtime;
  readonly #connection: S3Connection;
  #conditionalCreate: Promise<ConditionalCreate> | null = null;

  /** Throws ConfigError. Makes no request. */
  constructor(config: S3StoreConfig, runtime: S3Runtime) {
    this.#settings = checkS3Config(config);
    if (!runtime.findsSettings) requireSettings(this.#settings);
    this.#runtime = runtime;
    this.#connection = new S3Connection(this.#settings, runtime);
    this.url = formatS3Url(this.#settings);
  }

  async put(key: string, body: PutBody, { ifNoneMatch, signal }: PutOptions = {}): Promise<void> {
    const target = this.#target(key);
    signal?.throwIfAborted();
    if (ifNoneMatch === undefined) return this.#put(target, body, false, signal);
    const conditionalCreate = await this.#probed(signal);
    if (conditionalCreate !== "atomic" && (await this.#exists(target, signal))) {
      throw new StoreError("precondition-failed", `${key} is already in ${this.url}`, { key });
    }
    return this.#put(target, body, conditionalCreate !== "unsupported", signal);
  }

  async putStream(
    key: string,
    body: AsyncIterable<Uint8Array>,
    { signal }: StoreOptions = {},
  ): Promise<void> {
    const target = this.#target(key);
    signal?.throwIfAborted();
    await uploadStream(this.#connection, key, target, body, this.#runtime.idleTimeoutMs, signal);
  }

  async get(key: string, { range, ifMatch, signal }: GetOptions = {}): Promise<GetResult> {
    const target = this.#target(key);
    signal?.throwIfAborted();
    const input = {
      ...target,
      ...(range === undefined ? {} : { Range: rangeHeader(range, key) }),
      ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
    };
    const attempt = { operation: "GetObject", key };
    const watch = this.#watch(signal);
    try {
      const make = (sdk: S3Sdk) => new sdk.GetObjectCommand(input);
      const output = await this.#connection.send<S3GetOutput>(make, attempt, watch);
      const { size, length } = contentRange(output, range !== undefined, key);
      const { ETag: etag } = output;
      if (etag === undefined) throw hiddenHeader("ETag", key);
      return { size, etag, body: responseBody(output.Body, length, watch, attempt) };
    } catch (error) {
      watch.fail(error);
      throw error;
    }
  }

  list(prefix: string, options: ListOptions = {}): AsyncIterable<ObjectInfo> {
    const watch = () => this.#watch(options.signal);
    return checkedList(listObjects(this.#connection, this.#settings, watch, prefix, options));
  }

  async delete(keys: readonly string[], { signal }: StoreOptions = {}): Promise<void> {
    const targets = new Map(keys.map((key) => [key, this.#target(key)]));
    signal?.throwIfAborted();
    await deleteObjects(this.#connection, targets, () => this.#watch(signal));
  }

  async capabilities({ signal }: StoreOptions = {}): Promise<StoreCapabilities> {
    signal?.throwIfAborted();
    return { conditionalCreate: (await this.#probed(signal)) === "atomic" ? "atomic" : "none" };
  }

  async #put(
    target: S3ObjectInput,
    body: PutBody,
    create: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const size = "chunks" in body ? body.size : body.length;
    const watch = this.#watch(signal);
    try {
      // Small ones are sent from memory: signed with their hash, and also where requests cannot be streamed.
      const small = !("chunks" in body) || size <= PART_BYTES;
      const bytes = small ? await collect(chunksOf(body, signal), Number.MAX_SAFE_INTEGER) : null;
      const input = { ...target, ContentLength: size, ...(create ? { IfNoneMatch: "*" as const } : {}) };
      await this.#connection.send(
        async (sdk) => {
          const Body = bytes ?? (await this.#runtime.streamBody(requestBody(body, watch)));
          return new sdk.PutObjectCommand({ ...input, Body });
        },
        { operation: "PutObject", key: this.#relative(target.Key) },
        watch,
        bytes?.length ?? 0,
      );
      watch.end();
    } catch (error) {
      // Also ends a source that is still being read, when the store has answered before it had all.
      watch.fail(error);
      throw error;
    }
  }

  async #exists(target: S3ObjectInput, signal: AbortSignal | undefined): Promise<boolean> {
    const watch = this.#watch(signal);
    try {
      const attempt = { operation: "HeadObject", key: this.#relative(target.Key) };
      await this.#connection.send((sdk) => new sdk.HeadObjectCommand(target), attempt, watch);
      return true;
    } catch (error) {
      if (error instanceof StoreError && error.kind === "not-found") return false;
      throw error;
    } finally {
      watch.end();
    }
  }

  /** Asks the store once. A failure is not remembered, and who waits no longer does not take it from the others. */
  async #probed(signal: AbortSignal | undefined): Promise<ConditionalCreate> {
    this.#conditionalCreate ??= this.#probe().catch((error) => {
      this.#conditionalCreate = null;
      throw error;
    });
    return unlessAborted(this.#conditionalCreate, signal);
  }

  #probe(): Promise<ConditionalCreate> {
    const target = this.#target(PROBE_KEY);
    const text = new TextEncoder().encode(PROBE_TEXT);
    const create = async () => {
      try {
        await this.#put(target, text, true, undefined);
        return "created";
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (error.kind === "precondition-failed" || error.detail.status === 409) return "refused";
        if (error.detail.status === 501) return "unsupported";
        throw error;
      }
    };
    const age = async () => {
      for await (const { key, age } of this.list(PROBE_KEY)) if (key === PROBE_KEY) return age;
      return null;
    };
    return probeConditionalCreate({ create, remove: () => this.delete([PROBE_KEY]), age });
  }

  #target(key: string): S3ObjectInput {
    checkKey(key);
    const whole = this.#settings.prefix + key;
    checkKey(whole);
    return { Bucket: this.#settings.bucket, Key: whole };
  }

  #relative(whole: string): string {
    return whole.slice(this.#settings.prefix.length);
  }

  #watch(signal: AbortSignal | undefined): IdleWatch {
    return new IdleWatch(this.#runtime.idleTimeoutMs, signal);
  }
}
