import type { Retention } from "./config.ts";
import type { SluiceError } from "./errors.ts";
import type { Position } from "./format/position.ts";
import type { Housekeeper } from "./housekeeper.ts";
import { loadHousekeeping } from "./load.ts";
import type { Task } from "./loop.ts";
import type { Platform } from "./platform.ts";
import type { SegmentInfo, StoredInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Uploads after which there is something to merge: GROUP_SIZE, which lies in a chunk that is loaded when needed. */
const UPLOADS_A_GROUP = 16;
/** Between listings of the whole replica, milliseconds: each is a request for every 1,000 objects. */
const LISTING_INTERVAL_MS = 15 * 60_000;

export interface HousekeepingTaskOptions {
  readonly platform: Pick<Platform, "codecs" | "clock">;
  readonly store: ObjectStore;
  readonly lineage: string;
  readonly compaction: boolean;
  /** Null: nothing is deleted. */
  readonly retention: Retention | null;
  readonly signal: AbortSignal;
  readonly paused: () => boolean;
  /** The transactions of snapshots that are being taken. */
  readonly pinned: () => readonly number[];
  readonly onFailed: (error: unknown) => void;
  /** The newest state of the replica does not restore, which was looked at. */
  readonly onBroken: (damage: SluiceError) => Promise<void>;
}

/**
 * Has uploads merged, and what need not stay deleted, while the application writes: only an upload or a snapshot makes it
 * due, so nothing is requested while nothing is written. The replica is listed now and then; in between what this writer
 * uploaded itself is enough to know what comes next.
 */
export class HousekeepingTask implements Task {
  readonly #o: HousekeepingTaskOptions;
  /** Nobody needs to stay alive for it: whoever writes next does it. */
  readonly holding = false;
  /** Uploaded since the last run. */
  #uploaded: SegmentInfo[] = [];
  #housekeeper: Housekeeper | null = null;
  /** Uploads that wait to be merged, about. */
  #waiting = 0;
  #listedAt = Number.NEGATIVE_INFINITY;
  #listing = false;

  constructor(options: HousekeepingTaskOptions) {
    this.#o = options;
  }

  /** Whether the store refused to delete; it is asked again some hours later. */
  get refused(): boolean {
    return this.#housekeeper?.refused ?? false;
  }

  /** A segment that leads on from there. */
  uploaded(from: Position, { key, size }: StoredInfo): void {
    const lastModified = this.#o.platform.clock.now();
    this.#uploaded.push({ key, size, level: 0, minTxid: from.txid + 1, maxTxid: null, lastModified, age: 0 });
    this.#waiting += 1;
    if (lastModified - this.#listedAt >= LISTING_INTERVAL_MS) this.#listing = true;
  }

  /** The snapshot before it may go. */
  snapshotTaken(): void {
    if (this.#o.retention !== null) this.#listing = true;
  }

  due(): number | null {
    const { compaction, retention, paused, platform } = this.#o;
    const deletes = retention !== null && (this.#housekeeper?.mayDelete ?? true);
    if (paused() || (!compaction && !deletes)) return null;
    const enough = compaction && this.#waiting >= UPLOADS_A_GROUP;
    return this.#listing || enough ? platform.clock.now() : null;
  }

  async run(): Promise<void> {
    const { Housekeeper } = await loadHousekeeping();
    this.#housekeeper ??= new Housekeeper(this.#o);
    const listing = this.#listing || !this.#housekeeper.knowsReplica;
    const uploaded = this.#uploaded.splice(0);
    this.#listing = false;
    this.#waiting = 0;
    if (listing) this.#listedAt = this.#o.platform.clock.now();
    // What fails makes nothing due by itself, since it may never succeed: later uploads do, and then by a listing.
    await (listing ? this.#housekeeper.list(uploaded) : this.#housekeeper.merge(uploaded));
    this.#waiting = (this.#housekeeper.waiting % UPLOADS_A_GROUP) + this.#uploaded.length;
  }

  failed(error: unknown): boolean {
    if (this.#o.signal.aborted) return false;
    this.#o.onFailed(error);
    return true;
  }
}
