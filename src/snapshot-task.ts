import type { CacheEntry } from "./cache/write-cache.ts";
import { CorruptObjectError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import { type Position, samePosition } from "./format/position.ts";
import type { Task } from "./loop.ts";
import { openStored, parseSegments, parseSnapshots, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { type SnapshotContext, type TakenSnapshot, takeSnapshot, writeMetadata } from "./take-snapshot.ts";

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
  #newest: { readonly txid: number; readonly time: number; readonly size: number } | null | undefined;
  #bytesSince = 0;
  #wanted = false;

  constructor(options: SnapshotTaskOptions) {
    this.#o = options;
  }

  get newest(): { readonly txid: number; readonly time: number } | null {
    return this.#newest ?? null;
  }

  /** The first snapshot is worth staying alive for: without one nothing can be restored. */
  get holding(): boolean {
    return this.#wanted || !this.#newest;
  }

  /** The next run takes a snapshot, due or not. */
  want(): void {
    this.#wanted = true;
  }

  uploaded(entry: CacheEntry): void {
    this.#bytesSince += entry.size;
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
    const now = context.platform.clock.now();
    if ((this.due() ?? Number.POSITIVE_INFINITY) > now) return;
    const before = this.#bytesSince;
    const wanted = this.#wanted;
    // Who wants one from here on wants another.
    this.#wanted = false;
    const taken = await takeSnapshot(context, signal).catch((error: unknown) => {
      this.#wanted ||= wanted;
      throw error;
    });
    this.#bytesSince -= before;
    this.#newest = { txid: taken.position.txid, time: context.platform.clock.now(), size: taken.size };
    onTaken(taken);
    // Nothing depends on it, so a failure does not make the snapshot one.
    await writeMetadata(context.store, taken, signal).catch(onFailed);
  }

  async #look(): Promise<void> {
    const { context, signal } = this.#o;
    const { store } = context;
    const { clock, codecs } = context.platform;
    const uploaded = context.uploadedPosition();
    let newest: SnapshotInfo | null = null;
    let last: SegmentInfo | null = null;
    for await (const info of parseSnapshots(store.list(snapshotPrefix, { signal }))) newest = info;
    if (newest !== null) {
      const { txid } = newest;
      const startAfter = txid === 0 ? {} : { startAfter: segmentKey(0, txid, txid) };
      const later = store.list(segmentPrefix(0), { ...startAfter, signal });
      for await (const info of parseSegments(later)) {
        this.#bytesSince += info.size;
        if (info.minTxid <= uploaded.txid) last = info;
      }
      // The store may have lost what we uploaded, or be another one meanwhile: from a snapshot on it restores again.
      const whole =
        newest.txid >= uploaded.txid ||
        (last !== null && (await leadsTo(store, last, uploaded, codecs, signal))) ||
        (await isCompacted(store, newest.txid, uploaded.txid, signal));
      if (!whole) newest = null;
    }
    const time = Math.min(newest?.lastModified ?? 0, clock.now());
    this.#newest = newest && { txid: newest.txid, time, size: newest.size };
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }
}

/** Whether a segment ends exactly there. One that is gone or damaged does not. */
async function leadsTo(
  store: ObjectStore,
  info: SegmentInfo,
  position: Position,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return samePosition((await openStored(store, info, codecs, signal)).to, position);
  } catch (error) {
    if (error instanceof CorruptObjectError) return false;
    if (error instanceof StoreError && error.kind === "not-found") return false;
    throw error;
  }
}

/** Whether a segment of a higher level ends with that transaction: compaction then took those of level 0. */
async function isCompacted(
  store: ObjectStore,
  from: number,
  txid: number,
  signal: AbortSignal,
): Promise<boolean> {
  for (let level = 1; level <= maxLevel; level++) {
    const startAfter = segmentKey(level, from + 1, from + 1);
    for await (const info of parseSegments(store.list(segmentPrefix(level), { startAfter, signal })))
      if (info.maxTxid === txid) return true;
  }
  return false;
}
