import type { Drainer } from "./drainer.ts";
import { CacheError } from "./errors.ts";
import type { ResyncEvent } from "./events.ts";
import { loadUpkeep } from "./load.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { Task } from "./loop.ts";
import type { Platform } from "./platform.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { saysDiskFull } from "./vfs/abi.ts";
import type { Capture } from "./vfs/capture.ts";

export interface ResyncTaskOptions {
  readonly platform: Platform;
  readonly store: ObjectStore;
  readonly local: LocalDatabase;
  readonly capture: Capture;
  readonly drainer: Drainer;
  readonly signal: AbortSignal;
  /** No resync can be made as things stand. */
  readonly paused: () => boolean;
  readonly onDone: (done: ResyncEvent & { readonly phase: "done" }) => void;
  readonly onFailed: (error: unknown) => void;
}

/**
 * Begins again where a mark asks for it: appends what the database, read in one transaction as a snapshot is, has and the
 * replica has not.
 */
export class ResyncTask implements Task {
  readonly holding = true;
  readonly #o: ResyncTaskOptions;

  constructor(options: ResyncTaskOptions) {
    this.#o = options;
  }

  /**
   * Waits until the backlog is up: only then the replica is where the segment begins. And made while the store is away it
   * would only fill the cache, which may be what made it necessary.
   */
  due(): number | null {
    const { platform, drainer, paused } = this.#o;
    const needed = drainer.record.resync !== undefined && !paused();
    const free = !drainer.busy && platform.cache.entries().length === 0;
    return needed && free ? platform.clock.now() : null;
  }

  async run(): Promise<void> {
    const { platform, store, local, drainer, capture, signal, onDone, onFailed } = this.#o;
    const { readResyncBase, resync } = await loadUpkeep();
    while (drainer.busy) await drainer.settled();
    const reason = drainer.record.resync;
    if (reason === undefined || platform.cache.entries().length > 0) return;
    // Before the database is looked at, so that no transaction holds up its WAL meanwhile.
    const base = await readResyncBase(store, drainer.record, platform.codecs, signal);
    if (base.damage !== null) onFailed(base.damage);
    while (drainer.busy) await drainer.settled();
    const { db, pageCount } = local.beginRead();
    let pages = 0;
    try {
      const at = capture.skip(local.header(), pageCount);
      // Nothing is cached that the machine could still lose.
      local.wal.sync();
      const fingerprint = at.wal === null ? platform.fingerprint() : null;
      const context = { ...platform, record: drainer.record };
      await drainer.exclusively(async () => {
        const resynced = await resync(context, db, base.from, at, fingerprint, base.state);
        pages = resynced.pages;
        return resynced.record;
      });
    } catch (error) {
      capture.giveUp(reason);
      throw error;
    } finally {
      local.endRead(db);
    }
    onDone({ reason, phase: "done", pages, pageCount, whole: base.whole });
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    if (error instanceof CacheError && error.full) this.#makeRoom();
    return true;
  }

  /**
   * What the WAL held is given up already, while its file keeps the size that it once had: that may be the room which the
   * segment lacks. Not sooner: as long as the store is away the WAL needs it more.
   */
  #makeRoom(): void {
    try {
      this.#o.local.checkpoint("TRUNCATE");
    } catch (error) {
      // That has just been told.
      if (!saysDiskFull(error)) this.#o.onFailed(error);
    }
  }
}
