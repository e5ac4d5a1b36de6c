import { MemoryStore } from "../../src/store/memory-store.ts";
import type {
  GetOptions,
  ListOptions,
  PutBody,
  PutOptions,
  StoreOptions,
} from "../../src/store/object-store.ts";

/** Bytes from which on a stream goes up in parts, and keys of one page of a listing or one delete, as with S3. */
const PART_BYTES = 8 << 20;
const KEYS_A_REQUEST = 1000;

export interface Requests {
  puts: number;
  lists: number;
  gets: number;
  deletes: number;
}

/** A store that counts what S3 would bill. */
export class CountingStore extends MemoryStore {
  readonly requests: Requests = { puts: 0, lists: 0, gets: 0, deletes: 0 };
  bytesRead = 0;

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    this.requests.puts += 1;
    await super.put(key, body, options);
  }

  override async putStream(
    key: string,
    body: AsyncIterable<Uint8Array>,
    options?: StoreOptions,
  ): Promise<void> {
    let size = 0;
    const counted = async function* () {
      for await (const chunk of body) {
        size += chunk.length;
        yield chunk;
      }
    };
    await super.putStream(key, counted(), options);
    this.requests.puts += size <= PART_BYTES ? 1 : Math.ceil(size / PART_BYTES) + 2;
  }

  override async get(key: string, options?: GetOptions) {
    this.requests.gets += 1;
    const result = await super.get(key, options);
    this.bytesRead += options?.range?.length ?? result.size;
    return result;
  }

  override async *list(prefix: string, options?: ListOptions) {
    let keys = 0;
    for await (const info of super.list(prefix, options)) {
      if (keys++ % KEYS_A_REQUEST === 0) this.requests.lists += 1;
      yield info;
    }
    if (keys === 0) this.requests.lists += 1;
  }

  override async delete(keys: readonly string[], options?: StoreOptions): Promise<void> {
    this.requests.deletes += Math.ceil(keys.length / KEYS_A_REQUEST);
    await super.delete(keys, options);
  }

  /** What is there now, under a prefix. */
  async stored(prefix: string): Promise<{ count: number; bytes: number }> {
    let [count, bytes] = [0, 0];
    for await (const { size } of super.list(prefix)) {
      count += 1;
      bytes += size;
    }
    return { count, bytes };
  }
}
