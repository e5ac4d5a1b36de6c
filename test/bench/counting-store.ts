import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { DirectoryStore } from "../../node/directory-store.ts";
import type { PutBody, PutOptions, StoreOptions } from "../../src/store/object-store.ts";

/** A directory store that counts what S3 would bill. */
export class CountingStore extends DirectoryStore {
  puts = 0;
  segments = 0;
  segmentBytes = 0;

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    await super.put(key, body, options);
    this.puts += 1;
    if (!key.startsWith("wal/")) return;
    this.segments += 1;
    this.segmentBytes += statSync(fileURLToPath(`${this.url}/${key}`)).size;
  }

  override async putStream(
    key: string,
    body: AsyncIterable<Uint8Array>,
    options?: StoreOptions,
  ): Promise<void> {
    await super.putStream(key, body, options);
    this.puts += 1;
  }
}
