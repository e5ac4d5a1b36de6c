import { loadUpkeep } from "./load.ts";
import type { Task } from "./loop.ts";
import type { NewestSnapshot } from "./newest-snapshot.ts";
import type { StoredInfo } from "./replica.ts";
import type { SnapshotContext, TakenSnapshot } from "./take-snapshot.ts";

/** Bytes of segments that always may pile up before they outweigh a snapshot. */
const FREE_SEGMENT_BYTES = 16 << 20;

export interface SnapshotTaskOptions {
  readonly context: SnapshotContext;
  /** Milliseconds; 0: only the first snapshot, and when segments outweigh the newest. */
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  /** No snapshot can be taken as things stand. */
  readonly paused: () => boolean;
  readonly onTaken: (snapshot: TakenSnapshot) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Knows the newest snapshot and how much came after it, and takes the next one when that is due. */
export class SnapshotTask implements Task {
  readonly #o: SnapshotTaskOptions;
  /** Undefined until the replica was asked; null: there is none. */
  #newest: NewestSnapshot | null | undefined;
  #bytesSince = 0;
  #wanted = false;
  /** One that is wanted is being taken. */
  #pursued = false;

  constructor(options: SnapshotTaskOptions) {
    this.#o = options;
  }

  get newest(): { readonly txid: number; readonly time: number } | null {
    return this.#newest ?? null;
  }

  /** One that is wanted is worth staying alive for, and the first: without one nothing can be restored. */
  get holding(): boolean {
    return this.#wanted || this.#pursued || !this.#newest;
  }

  /** The next run takes a snapshot, due or not. */
  want(): void {
    this.#wanted = true;
  }

  /** The store has lost the newest, and all before it: one is due as at the beginning. */
  lost(): void {
    if (this.#newest) this.#newest = null;
  }

  uploaded({ size }: StoredInfo): void {
    this.#bytesSince += size;
  }

  due(): number | null {
    const { context, paused, intervalMs } = this.#o;
    if (paused()) return null;
    const now = context.platform.clock.now();
    if (this.#wanted || !this.#newest) return now;
    if (context.capture.captured.txid === this.#newest.txid) return null;
    if (this.#bytesSince > Math.max(this.#newest.size, FREE_SEGMENT_BYTES)) return now;
    return intervalMs === 0 ? null : this.#newest.time + intervalMs;
  }

  async run(): Promise<void> {
    const { context, signal, onTaken, onFailed } = this.#o;
    if (this.#newest === undefined) await this.#look();
    const due = this.due();
    if (due === null || due > context.platform.clock.now()) return;
    const before = this.#bytesSince;
    const wanted = this.#wanted;
    // Who wants one from here on wants another.
    this.#wanted = false;
    this.#pursued = wanted;
    const { takeSnapshot, writeMetadata } = await loadUpkeep();
    const taken = await takeSnapshot(context, !this.#newest, signal)
      .catch((error: unknown) => {
        this.#wanted ||= wanted;
        throw error;
      })
      .finally(() => {
        this.#pursued = false;
      });
    this.#bytesSince -= before;
    this.#newest = { txid: taken.position.txid, time: context.platform.clock.now(), size: taken.size };
    onTaken(taken);
    // Nothing depends on it, so a failure does not make the snapshot one.
    await writeMetadata(context.store, taken, signal).catch(onFailed);
  }

  async #look(): Promise<void> {
    const { context, signal } = this.#o;
    const { store, platform } = context;
    const { findNewestSnapshot } = await loadUpkeep();
    const { snapshotOwed } = context.drainer.record;
    const uploaded = context.uploadedPosition();
    const found = await findNewestSnapshot(store, platform, uploaded, snapshotOwed, signal);
    // It may be another's, who claimed the prefix since the start, while nothing of ours was there to be claimed for.
    if (uploaded.txid === 0 && found.newest !== null) await context.requireNoOther();
    this.#newest = found.newest;
    this.#bytesSince += found.bytesSince;
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}
