import { openNewestFirst } from "./chain.ts";
import { isDamage } from "./damage.ts";
import { BrokenReplicaError, type SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { type Position, samePosition } from "./format/position.ts";
import { lookAgain } from "./look-again.ts";
import { PageSet } from "./page-set.ts";
import { segmentsAfter } from "./plan.ts";
import { parseSegments, parseSnapshots, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import { halves, lastCompared, takePages } from "./replica-state.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Page numbers that a finding names; it counts all. */
const NAMED_PAGES = 100;

/** A database at a position, by the hashes of its pages in order, from page 1. */
export interface AuditedState {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly hashes: BigUint64Array;
}

/** How a database compares with what the replica's objects up to its position add up to. */
export type Audit =
  /** `since`: position of the snapshot from which on every object was checked. */
  | { readonly outcome: "equal"; readonly since: Position }
  | {
      readonly outcome: "different";
      readonly since: Position;
      /** The lowest page numbers that differ, at most 100. */
      readonly pages: readonly number[];
      /** How many differ. */
      readonly count: number;
    }
  /** The objects since the last snapshot are damaged or missing: the error says which. */
  | { readonly outcome: "unreadable"; readonly error: SluiceError };

/**
 * Compares a state with the newest snapshot in the store that leads to it, and the segments from there to exactly its position:
 * the indexes alone are read, of no more objects than a restore would read. Null where there is no snapshot yet.
 *
 * Throws UnsupportedFormatError, StoreError.
 */
export async function audit(
  store: ObjectStore,
  lineage: string,
  state: AuditedState,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<Audit | null> {
  try {
    return await lookAgain(() => compare(store, lineage, state, codecs, signal));
  } catch (error) {
    if (isDamage(error)) return { outcome: "unreadable", error };
    throw error;
  }
}

async function compare(
  store: ObjectStore,
  lineage: string,
  state: AuditedState,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<Audit | null> {
  const { position } = state;
  const snapshots = await snapshotsUpTo(store, position.txid, signal);
  if (snapshots.length === 0) return null;
  const objects = await newestWay(store, snapshots, position.txid, signal);
  let comparison: Comparison | null = null;
  let since = position;
  for await (const object of openNewestFirst(store, objects, lineage, codecs, signal)) {
    if (comparison === null) requireEnd(store, object, position);
    comparison ??= new Comparison(state, object.pageCount);
    comparison.add(object);
    since = object.to;
  }
  return comparison!.result(since);
}

function requireEnd(store: ObjectStore, { key, to }: ObjectReader, position: Position): void {
  if (samePosition(to, position)) return;
  throw new BrokenReplicaError(
    `${store.url} leads to transaction ${to.txid} (${to.id}), not to ${position.txid} (${position.id})`,
    { key, txid: Math.min(to.txid, position.txid) + 1 },
  );
}

async function snapshotsUpTo(
  store: ObjectStore,
  txid: number,
  signal?: AbortSignal,
): Promise<SnapshotInfo[]> {
  const found: SnapshotInfo[] = [];
  for await (const info of parseSnapshots(store.list(snapshotPrefix, { ...(signal && { signal }) })))
    if (info.txid <= txid) found.push(info);
  return found;
}

/** The newest snapshot that leads to a transaction, and what leads there. One may lead nowhere: see `planRetention`. */
async function newestWay(
  store: ObjectStore,
  snapshots: readonly SnapshotInfo[],
  txid: number,
  signal?: AbortSignal,
): Promise<(SnapshotInfo | SegmentInfo)[]> {
  let gap: BrokenReplicaError | null = null;
  for (const snapshot of snapshots.toReversed()) {
    const listed = await listBetween(store, snapshot.txid, txid, signal);
    try {
      return [snapshot, ...segmentsAfter(listed, snapshot.txid, store.url)];
    } catch (error) {
      if (!(error instanceof BrokenReplicaError)) throw error;
      gap ??= error;
    }
  }
  throw gap;
}

/** The segments of all levels that begin after one transaction and, as far as keys tell, lead no further than another. */
async function listBetween(
  store: ObjectStore,
  after: number,
  upTo: number,
  signal?: AbortSignal,
): Promise<SegmentInfo[]> {
  const found: SegmentInfo[] = [];
  for (let level = 0; level <= maxLevel && upTo > after; level++) {
    const startAfter = after === 0 ? {} : { startAfter: segmentKey(level, after, Number.MAX_SAFE_INTEGER) };
    for await (const info of parseSegments(
      store.list(segmentPrefix(level), { ...startAfter, ...(signal && { signal }) }),
    )) {
      if (info.minTxid > upTo) break;
      if (info.minTxid > after && (info.maxTxid ?? 0) <= upTo) found.push(info);
    }
  }
  return found;
}

/** Which pages of a state are not what a chain, read from its newest object back, has. Two bits a page. */
class Comparison {
  readonly #ours: Uint32Array;
  readonly #sought: PageSet;
  readonly #unequal: PageSet;
  readonly #pageCount: number;
  readonly #theirPageCount: number;

  constructor({ pageSize, pageCount, hashes }: AuditedState, theirPageCount: number) {
    this.#ours = halves(hashes);
    this.#pageCount = pageCount;
    this.#theirPageCount = theirPageCount;
    this.#sought = new PageSet(pageSize, theirPageCount);
    this.#unequal = new PageSet(pageSize, Math.max(pageCount, theirPageCount));
  }

  add(object: ObjectReader): void {
    const ours = this.#ours;
    const theirs = halves(object.hashes);
    takePages(object, this.#sought, (pgno, entry) => {
      const [a, b] = [2 * (pgno - 1), 2 * entry];
      if (ours[a] === theirs[b] && ours[a + 1] === theirs[b + 1]) this.#unequal.take(pgno);
    });
  }

  /** Pages that only one of the two has differ, and so do those that no object had. */
  result(since: Position): Audit {
    const pages: number[] = [];
    let count = 0;
    const last = lastCompared(this.#pageCount, this.#theirPageCount, !this.#unequal.needs(1));
    for (let pgno = 1; pgno <= last; pgno++) {
      if (!this.#unequal.needs(pgno)) continue;
      count += 1;
      if (pages.length < NAMED_PAGES) pages.push(pgno);
    }
    return count === 0 ? { outcome: "equal", since } : { outcome: "different", since, pages, count };
  }
}
