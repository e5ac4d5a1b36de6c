import { afterEach, beforeAll, beforeEach, vi } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import { collect } from "../../src/store/object-store.ts";
import type { S3Credentials, S3StoreConfig } from "../../src/store/s3-config.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { type Spoiling, type SpoilingProxy, startProxy } from "./proxy.ts";
import { freshBucket } from "./server.ts";

export const MIB = 1024 * 1024;
export const WRONG: S3Credentials = {
  accessKeyId: "SLUICEWRONGKEY000001",
  secretAccessKey: "sluiceWrongSecret0123456789",
};

/** A bucket for the tests of one file, a prefix for each of them, and what is closed behind each. */
export class Bench {
  bucket!: Awaited<ReturnType<typeof freshBucket>>;
  prefix = "";
  readonly #endings: (() => Promise<void>)[] = [];

  constructor() {
    let prefixes = 0;
    beforeAll(async () => {
      this.bucket = await freshBucket();
    });
    beforeEach(() => {
      this.prefix = `p${prefixes++}/`;
    });
    afterEach(async () => {
      vi.restoreAllMocks();
      for (const end of this.#endings.splice(0)) await end();
    });
  }

  /** A store over this test's prefix. */
  store(change: Partial<S3StoreConfig> = {}, idleTimeoutMs = 20_000): S3Store {
    const config = { ...this.bucket, prefix: this.prefix, ...change };
    return new S3Store(config, { ...s3Runtime, idleTimeoutMs });
  }

  async proxy(spoiling: Spoiling): Promise<SpoilingProxy> {
    const proxy = await startProxy(this.bucket.endpoint, spoiling);
    this.afterwards(proxy.close);
    return proxy;
  }

  afterwards(end: () => Promise<void>): void {
    this.#endings.push(end);
  }
}

/** `count` times 1 MiB. */
export async function* blocks(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(MIB).fill(i);
}

export async function read(store: S3Store, key: string): Promise<Uint8Array> {
  return Uint8Array.from(await collect((await store.get(key)).body, 64 * MIB));
}

export async function keysOf(store: S3Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}

export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error("it did not reject");
    },
    (error: unknown) => error,
  );
}
