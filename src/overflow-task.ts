import { bytesOf } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { loadUpkeep } from "./load.ts";
import type { Task } from "./loop.ts";
import type { Platform } from "./platform.ts";

export interface OverflowTaskOptions {
  readonly platform: Platform;
  readonly drainer: Drainer;
  /** Bytes that the cache may hold. */
  readonly maxCacheSize: number;
  /** Called when the backlog was dropped; a resync is marked. */
  readonly onOverflow: (droppedBytes: number, reason: string) => void;
  readonly onFailed: (error: unknown) => void;
}

/**
 * Keeps the cache below its size while uploads cannot keep up: merges the backlog, and when even that is too large, drops
 * it and has the replica resynced. The application never stops, and nothing is lost silently.
 */
export class OverflowTask implements Task {
  readonly holding = true;
  readonly #o: OverflowTaskOptions;

  constructor(options: OverflowTaskOptions) {
    this.#o = options;
  }

  due(): number | null {
    const { platform, drainer, maxCacheSize } = this.#o;
    // A resync's own segment may be larger than the cache: it is the database, and it has to go up whole.
    const small = platform.cache.entries().length < 2 || bytesOf(platform.cache.entries()) <= maxCacheSize;
    return small || drainer.record.resync !== undefined ? null : platform.clock.now();
  }

  async run(): Promise<void> {
    const { shrinkCache } = await loadUpkeep();
    await shrinkCache(this.#o);
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}
