import { crc32 } from "node:zlib";
import { assert } from "../src/assert.ts";
import type { CacheAppend, CacheEntry, PositionRecord } from "../src/cache/write-cache.ts";
import type { CacheDirectory, OpenFile } from "./cache-directory.ts";

/** Checks that a commit is allowed and answers the step that carries it out. `crc`: CRC-32 of the object's bytes. */
export type PrepareCommit = (
  entry: CacheEntry,
  crc: number,
  position: PositionRecord,
) => (file: OpenFile) => void;

/** One segment being written. A failed write or commit forgets it; a refused commit leaves it to `abort`. */
export class FsAppend implements CacheAppend {
  #file: OpenFile | null = null;
  #size = 0;
  #crc = 0;
  #ended = false;

  constructor(
    private readonly directory: CacheDirectory,
    private readonly prepare: PrepareCommit,
    private readonly onEnd: () => void,
  ) {}

  write(chunk: Uint8Array): undefined {
    assert(!this.#ended, "the segment is open");
    try {
      this.#file ??= this.directory.create();
      this.directory.write(this.#file, chunk);
      this.#size += chunk.length;
      this.#crc = crc32(chunk, this.#crc);
    } catch (error) {
      this.abort();
      throw error;
    }
  }

  commit(entry: CacheEntry, position: PositionRecord): undefined {
    assert(!this.#ended, "the segment is open");
    assert(entry.size === this.#size, "an entry states the size of its object");
    const publish = this.prepare(entry, this.#crc, position);
    const file = this.#file;
    this.#end();
    publish(file ?? this.directory.create());
  }

  readonly syncBeside = async (): Promise<void> => {
    if (this.#file !== null) await this.directory.syncBeside(this.#file);
  };

  abort(): undefined {
    if (this.#ended) return;
    const file = this.#file;
    this.#end();
    if (file !== null) this.directory.discard(file);
  }

  #end(): void {
    this.#file = null;
    this.#ended = true;
    this.onEnd();
  }
}
