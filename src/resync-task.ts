import type { Drainer } from "./drainer.ts";
import { loadUpkeep } from "./load.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { Task } from "./loop.ts";
import type { Platform } from "./platform.ts";
import type { Capture } from "./vfs/capture.ts";

export interface ResyncTaskOptions {
  readonly platform: Platform;
  readonly local: LocalDatabase;
  readonly capture: Capture;
  readonly drainer: Drainer;
  /** No resync can be made as things stand. */
  readonly paused: () => boolean;
  readonly onDone: (reason: string) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Begins again with all of the database as one segment, read in one transaction as a snapshot is, where a mark asks for it. */
export class ResyncTask implements Task {
  readonly holding = true;
  readonly #o: ResyncTaskOptions;

  constructor(options: ResyncTaskOptions) {
    this.#o = options;
  }

  /**
   * Waits until the backlog is up: made while the store is away a resync would only fill the cache, which may be what made
   * it necessary.
   */
  due(): number | null {
    const { platform, drainer, paused } = this.#o;
    const needed = drainer.record.resync !== undefined && !paused();
    const free = !drainer.busy && platform.cache.entries().length === 0;
    return needed && free ? platform.clock.now() : null;
  }

  async run(): Promise<void> {
    const { platform, local, capture, drainer, onDone } = this.#o;
    const { resync } = await loadUpkeep();
    while (drainer.busy) await drainer.settled();
    const reason = drainer.record.resync;
    if (reason === undefined) return;
    const { db, pageCount } = local.beginRead();
    try {
      const at = capture.skip(local.header(), pageCount);
      const fingerprint = at.wal === null ? platform.fingerprint() : null;
      const from = platform.cache.entries().at(-1)?.to ?? drainer.record.cached;
      const context = { ...platform, record: drainer.record };
      await drainer.exclusively(() => resync(context, db, from, at, fingerprint));
    } catch (error) {
      capture.giveUp(reason);
      throw error;
    } finally {
      local.endRead(db);
    }
    onDone(reason);
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}
