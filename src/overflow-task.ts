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
  /** Called when the backlog was dropped. `reason`: of the resync that is marked for it; null where one was before. */
  readonly onOverflow: (droppedBytes: number, reason: string | null) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Why a resync is needed then. */
export function tooMuchCached(maxCacheSize: number): string {
  return `the write cache held more than ${maxCacheSize} bytes`;
}

/**
 * Keeps the cache below its size while uploads cannot keep up: merges the backlog, and when even that is too large, drops
 * it and has the replica resynced. The application never stops, and nothing is lost silently.
 */
export class OverflowTask implements Task {
  readonly holding = true;
  readonly #o: OverflowTaskOptions;
  #marked = false;

  constructor(options: OverflowTaskOptions) {
    this.#o = options;
  }

  /** A gate has marked the resync already, where it could not wait. The backlog is still to be dropped. */
  noteMarked(): void {
    this.#marked = true;
  }

  due(): number | null {
    const { platform, drainer, maxCacheSize } = this.#o;
    // A resync's own segment may be larger than the cache: it is the database, and it has to go up whole.
    const small = platform.cache.entries().length < 2 || bytesOf(platform.cache.entries()) <= maxCacheSize;
    const pending = drainer.record.resync === undefined || this.#marked;
    return small || !pending ? null : platform.clock.now();
  }

  async run(): Promise<void> {
    const { shrinkCache } = await loadUpkeep();
    this.#marked = false;
    await shrinkCache(this.#o);
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}
