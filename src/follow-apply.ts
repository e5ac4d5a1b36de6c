import { openNewestFirst } from "./chain.ts";
import { BrokenReplicaError, CorruptObjectError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { CopyState, FollowedCopy, PageStage } from "./follow-copy.ts";
import { diverged } from "./follow-look.ts";
import type { Codecs } from "./format/codecs.ts";
import type { DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";
import { PageSet } from "./page-set.ts";
import type { Clock } from "./platform.ts";
import type { SegmentInfo, SnapshotInfo } from "./replica.ts";
import { fetchNeeded, type PageSink, writeBlocks } from "./restore.ts";
import type { ObjectStore } from "./store/object-store.ts";

export interface FollowContext {
  readonly store: ObjectStore;
  readonly copy: FollowedCopy;
  readonly codecs: Codecs;
  readonly clock: Clock;
}

/** Pages of the copy that are compared before the event loop has its turn. */
const COMPARED_IN_ONE_GO = 256;

/**
 * Brings the copy from `state` to the end of `objects` in one transaction, each page in its newest version. They are
 * segments that lead on from the state, or a snapshot and the segments behind it: of those, pages that the copy has
 * already, by their hashes, are neither fetched nor written. Fetching holds no lock on the copy.
 */
export async function advance(
  context: FollowContext,
  state: CopyState,
  objects: readonly (SegmentInfo | SnapshotInfo)[],
  signal: AbortSignal,
): Promise<{ state: CopyState; pages: number }> {
  const { store, copy, codecs } = context;
  const stage = copy.stage();
  try {
    let pages: PageCollector | null = null;
    let newest: ObjectReader | null = null;
    let oldest: ObjectReader | null = null;
    const fromSnapshot = !("level" in objects[0]!);
    for await (const object of openNewestFirst(store, objects, state.lineage, codecs, signal)) {
      newest ??= checked(store, object, state);
      pages ??= new PageCollector(object, stage);
      if (fromSnapshot) await passOverEqual(context, object, pages);
      for await (const fetched of fetchNeeded(object, pages, signal))
        await writeBlocks(object, fetched, pages);
      oldest = object;
      fault("follow:object");
    }
    if (!fromSnapshot) requireContinues(store, oldest!, state);
    pages!.requireAll(fromSnapshot ? 1 : state.pageCount + 1, store.url);
    const next = stateAt(newest!);
    await copy.apply(stage, next, signal);
    return { state: next, pages: pages!.staged };
  } finally {
    stage.close();
  }
}

function stateAt({ header, to, key, pageSize, pageCount }: ObjectReader): CopyState {
  return { lineage: header.lineage, position: to, time: header.commits.last, pageSize, pageCount, key };
}

function checked(store: ObjectStore, object: ObjectReader, state: CopyState): ObjectReader {
  if (object.pageSize !== state.pageSize)
    throw new CorruptObjectError(object.key, "header", `page size ${object.pageSize}, not ${state.pageSize}`);
  if (object.to.txid > state.position.txid) return object;
  throw diverged(store, `ends at transaction ${object.to.txid}`, state);
}

function requireContinues(store: ObjectStore, { key, from }: ObjectReader, state: CopyState): void {
  const { position } = state;
  if (from !== null && samePosition(from, position)) return;
  if (from?.txid === position.txid) throw diverged(store, `has ${key}, which continues another state`, state);
  throw new BrokenReplicaError(`${store.url} has a gap: ${key} does not begin behind ${position.txid}`, {
    key,
    txid: position.txid + 1,
  });
}

/** Page 1 is never equal: the copy's has SQLite's own change counter, and is in rollback mode. */
async function passOverEqual(
  { copy, codecs, clock }: FollowContext,
  object: ObjectReader,
  pages: PageCollector,
): Promise<void> {
  let compared = 0;
  for (const [entry, pgno] of object.pgnos.entries()) {
    if (pgno === 1 || !pages.needs(pgno)) continue;
    const page = copy.page(pgno);
    if (page !== null && codecs.hash64(page) === object.hashes[entry]) pages.passOver(pgno);
    if (++compared % COMPARED_IN_ONE_GO === 0) await clock.turn();
  }
}

/** Lays the pages aside that are still needed, and remembers which. */
class PageCollector implements PageSink {
  readonly #pages: PageSet;
  readonly #stage: PageStage;
  staged = 0;

  constructor(newest: ObjectReader, stage: PageStage) {
    this.#pages = new PageSet(newest.pageSize, newest.pageCount);
    this.#stage = stage;
  }

  needs(pgno: number): boolean {
    return this.#pages.needs(pgno);
  }

  passOver(pgno: number): void {
    this.#pages.take(pgno);
  }

  requireAll(first: number, replica: string): void {
    this.#pages.requireAll(first, replica);
  }

  writeBlock(object: ObjectReader, block: DecodedBlock): undefined {
    for (let j = 0; j < block.count; j++) {
      const pgno = object.pgnos[block.firstEntry + j]!;
      if (!this.needs(pgno)) continue;
      this.#stage.put(pgno, block.page(j));
      this.#pages.take(pgno);
      this.staged += 1;
    }
  }
}
