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

/**
 * A loop that never yields lets nothing be merged, which mostly makes the backlog far smaller, and is so much faster than a resync:
 * it may fill the cache this many times.
 */
const UNMERGED = 4;

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

  /** For a gate that cannot wait: why it is to mark a resync, upon which the backlog is dropped; null where it may drain. */
  tooMuch(): string | null {
    this.#marked = this.#isOver(UNMERGED);
    return this.#marked ? tooMuchCached(this.#o.maxCacheSize) : null;
  }

  /** A resync's own segment may be larger than the cache: it is the database, and it has to go up whole. */
  #isOver(times = 1): boolean {
    const entries = this.#o.platform.cache.entries();
    return entries.length > 1 && bytesOf(entries) > this.#o.maxCacheSize * times;
  }

  due(): number | null {
    const { platform, drainer } = this.#o;
    const pending = this.#marked || drainer.record.resync === undefined;
    return pending && this.#isOver() ? platform.clock.now() : null;
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
