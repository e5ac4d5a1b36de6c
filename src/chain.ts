import { BrokenReplicaError, CorruptObjectError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { type Position, samePosition } from "./format/position.ts";
import type { Plan } from "./plan.ts";
import { prefetch } from "./prefetch.ts";
import { openStored, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Objects that are opened ahead. */
const OPEN_AHEAD = 8;

/**
 * Opens a plan's objects from the newest back to the snapshot, and sees to it that the newest ends where the plan says:
 * with the last one of level 0 that only shows now. `onBytes` counts what is fetched. See `openNewestFirst`.
 */
export async function* openChain(
  store: ObjectStore,
  plan: Plan,
  lineage: string,
  codecs: Codecs,
  signal?: AbortSignal,
  onBytes?: (count: number) => void,
): AsyncGenerator<ObjectReader> {
  const objects = [plan.snapshot, ...plan.segments];
  let newest = true;
  for await (const object of openNewestFirst(store, objects, lineage, codecs, signal, onBytes)) {
    if (newest) requireEnd(store, object, plan);
    newest = false;
    yield object;
  }
}

/**
 * Opens objects, given in the order of history, from the newest back to the first, and sees to it that each begins
 * exactly where the one before it ends: no gap, no fork, no repeat, one lineage, one page size. Throws
 * BrokenReplicaError, CorruptObjectError, UnsupportedFormatError, StoreError.
 */
export async function* openNewestFirst(
  store: ObjectStore,
  objects: readonly (SegmentInfo | SnapshotInfo)[],
  lineage: string,
  codecs: Codecs,
  signal?: AbortSignal,
  onBytes?: (count: number) => void,
): AsyncGenerator<ObjectReader> {
  const newestFirst = [...objects].reverse();
  let needed: Position | null = null;
  let pageSize = 0;
  for await (const object of prefetch(newestFirst, OPEN_AHEAD, (info) =>
    openStored(store, info, codecs, signal, onBytes),
  )) {
    if (object.header.lineage !== lineage)
      throw new BrokenReplicaError(`${object.key} belongs to another history than ${store.url}`, {
        key: object.key,
      });
    if (needed !== null && !samePosition(object.to, needed)) throw brokenLink(store, object, needed);
    if (pageSize !== 0 && object.pageSize !== pageSize)
      throw new CorruptObjectError(object.key, "header", `page size ${object.pageSize} after ${pageSize}`);
    pageSize = object.pageSize;
    needed = object.from;
    yield object;
  }
}

function requireEnd(store: ObjectStore, { key, to }: ObjectReader, plan: Plan): void {
  if (plan.txid === null || plan.txid === to.txid) return;
  throw new BrokenReplicaError(
    `${store.url} has a gap: ${key} ends at transaction ${to.txid}, later ones are there`,
    { key, txid: to.txid + 1 },
  );
}

function brokenLink(store: ObjectStore, object: ObjectReader, needed: Position): BrokenReplicaError {
  const txid = Math.min(object.to.txid, needed.txid) + 1;
  if (object.to.txid === needed.txid)
    return new BrokenReplicaError(
      `${store.url} forks at transaction ${needed.txid}: ${object.key} is not what the next object continues`,
      { key: object.key, txid: needed.txid },
    );
  return new BrokenReplicaError(
    `${store.url} has a gap: ${object.key} ends at transaction ${object.to.txid}, the next object begins after ${needed.txid}`,
    { key: object.key, txid },
  );
}
