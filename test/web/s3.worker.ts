// An S3Store in a dedicated worker, driven by its page.
import type { PutBody, PutOptions } from "../../src/store/object-store.ts";
import type { S3StoreConfig } from "../../src/store/s3-config.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { s3Runtime } from "../../web/s3-runtime.ts";
import { type Port, Remote } from "./remote.ts";

/** A call to the page is answered later, also that for the chunks. */
type RemoteBody = Uint8Array | { size: number; chunks(): Promise<AsyncIterable<Uint8Array>> };

function local(body: RemoteBody): PutBody {
  if (!("chunks" in body)) return body;
  return {
    size: body.size,
    async *chunks() {
      yield* await body.chunks();
    },
  };
}

function open(config: S3StoreConfig): Record<string, unknown> {
  const { credentials } = config;
  // The SDK hands its provider more than a message can carry.
  const given = typeof credentials === "function" ? { credentials: () => credentials() } : {};
  const store = new S3Store({ ...config, ...given }, s3Runtime);
  return {
    url: store.url,
    hasDom: "DOMParser" in globalThis,
    put: (key: string, body: RemoteBody, options?: PutOptions) => store.put(key, local(body), options),
    putStream: store.putStream.bind(store),
    get: store.get.bind(store),
    list: store.list.bind(store),
    delete: store.delete.bind(store),
    capabilities: store.capabilities.bind(store),
  };
}

new Remote(globalThis as unknown as Port, open);
