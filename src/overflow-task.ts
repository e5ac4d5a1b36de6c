import { dropBacklog } from "./backlog.ts";
import type { Drainer } from "./drainer.ts";
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

  get #bytes(): number {
    return this.#o.platform.cache.entries().reduce((sum, entry) => sum + entry.size, 0);
  }

  due(): number | null {
    const { platform, drainer, maxCacheSize } = this.#o;
    // A resync's own segment may be larger than the cache: it is the database, and it has to go up whole.
    const small = platform.cache.entries().length < 2 || this.#bytes <= maxCacheSize;
    return small || drainer.busy || drainer.record.resync !== undefined ? null : platform.clock.now();
  }

  async run(): Promise<void> {
    const { platform, drainer, maxCacheSize, onOverflow, onFailed } = this.#o;
    if (drainer.busy) return;
    while (!drainer.busy && this.#bytes > maxCacheSize / 2) if (!(await drainer.merge())) break;
    const before = this.#bytes;
    const { cache } = platform;
    if (drainer.busy || before <= maxCacheSize || cache.entries().length < 2) return;
    const reason = `the write cache held more than ${maxCacheSize} bytes`;
    // From here on nothing continues what is dropped, also where that fails.
    drainer.markResync(reason);
    drainer.dropBehind(cache.entries()[0]!.to.txid);
    await drainer.exclusively(() => dropBacklog(cache, drainer.record, reason, onFailed));
    onOverflow(before - this.#bytes, reason);
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}
