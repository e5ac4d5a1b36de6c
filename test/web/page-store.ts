import { StoreError, type StoreErrorKind } from "../../src/errors.ts";
import type {
  GetOptions,
  GetResult,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
} from "../../src/store/object-store.ts";

/** An ObjectStore as it goes over to a worker: its methods, by reference. What they answer comes later. */
export type SentStore = Omit<ObjectStore, "list" | "put"> & {
  list(prefix: string, options: ListOptions): Promise<AsyncIterable<ObjectInfo>>;
  put(key: string, body: RemoteBody, options?: PutOptions): Promise<void>;
};
type RemoteBody = Uint8Array | { size: number; chunks(): Promise<AsyncIterable<Uint8Array>> };

/** For the page: so that a store outlives the worker that writes to it. */
export function sent(store: ObjectStore): SentStore {
  return {
    url: store.url,
    put: (key, body, options) => store.put(key, local(body), options),
    putStream: store.putStream.bind(store),
    get: store.get.bind(store),
    list: async (prefix, options) => store.list(prefix, options),
    delete: store.delete.bind(store),
    capabilities: store.capabilities.bind(store),
  };
}

/** For the worker. */
export function received(store: SentStore): ObjectStore {
  return {
    url: store.url,
    put: (key, body, options) => store.put(key, remote(body), options),
    putStream: (key, body, options) => store.putStream(key, body, options),
    get: (key: string, options?: GetOptions): Promise<GetResult> => store.get(key, options),
    async *list(prefix, options = {}) {
      yield* await store.list(prefix, options);
    },
    delete: (keys, options) => store.delete(keys, options),
    capabilities: (options) => store.capabilities(options),
  };
}

function remote(body: PutBody): RemoteBody {
  if (!("chunks" in body)) return body;
  return { size: body.size, chunks: async () => body.chunks() };
}

function local(body: RemoteBody): PutBody {
  if (!("chunks" in body)) return body;
  return {
    size: body.size,
    async *chunks() {
      yield* await body.chunks();
    },
  };
}

/** An error that came over as its fields. */
export function rebuildError(thrown: object): unknown {
  const { code, kind, message, detail } = thrown as Partial<StoreError> & { message: string };
  if (code === "SLUICE_STORE") return new StoreError(kind as StoreErrorKind, message, detail);
  return Object.assign(new Error(message), thrown);
}
