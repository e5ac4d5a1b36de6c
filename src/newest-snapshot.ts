import { CorruptObjectError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import { type Position, samePosition } from "./format/position.ts";
import type { Platform } from "./platform.ts";
import { openStored, parseSegments, parseSnapshots, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

export interface NewestSnapshot {
  readonly txid: number;
  readonly time: number;
  /** Bytes. */
  readonly size: number;
}

/**
 * The newest snapshot from which the replica leads to `uploaded`, or null where there is none, and the bytes of the level-0
 * segments behind the newest one. None before the transaction `owed` leads there: see PositionRecord.
 */
export async function findNewestSnapshot(
  store: ObjectStore,
  { clock, codecs }: Platform,
  uploaded: Position,
  owed: number | undefined,
  signal: AbortSignal,
): Promise<{ newest: NewestSnapshot | null; bytesSince: number }> {
  let newest: SnapshotInfo | null = null;
  let last: SegmentInfo | null = null;
  let bytesSince = 0;
  for await (const info of parseSnapshots(store.list(snapshotPrefix, { signal }))) newest = info;
  if (newest === null) return { newest, bytesSince };
  const { txid, size } = newest;
  const startAfter = txid === 0 ? {} : { startAfter: segmentKey(0, txid, txid) };
  const later = store.list(segmentPrefix(0), { ...startAfter, signal });
  for await (const info of parseSegments(later)) {
    bytesSince += info.size;
    if (info.minTxid <= uploaded.txid) last = info;
  }
  // The store may have lost what we uploaded, or be another one meanwhile: from a snapshot on it restores again.
  const whole =
    txid >= (owed ?? 0) &&
    (txid >= uploaded.txid ||
      (last !== null && (await leadsTo(store, last, uploaded, codecs, signal))) ||
      (await isCompacted(store, txid, uploaded.txid, signal)));
  const time = Math.min(newest.lastModified, clock.now());
  return { newest: whole ? { txid, time, size } : null, bytesSince };
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
