import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { openChain } from "./chain.ts";
import type { Codecs } from "./format/codecs.ts";
import { lockBytePage } from "./format/layout.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import type { Position } from "./format/position.ts";
import { lookAgain } from "./look-again.ts";
import { PageSet } from "./page-set.ts";
import { type Plan, plan } from "./plan.ts";
import { listReplica } from "./replica.ts";
import { readPages } from "./snapshot.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** A state of a replica as hashes alone: 8 bytes a page, and no page is fetched. */
export interface ReplicaState {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  /** xxh64 by page number; index 0 and the lock-byte page are not used. */
  readonly hashes: BigUint64Array;
  readonly time: number;
}

/**
 * The state at the end of a plan, from the indexes of its objects. `onEnd` is called with the last of them before the others
 * are looked at. Throws what it and `openChain` throw.
 */
export async function readReplicaState(
  store: ObjectStore,
  plan: Plan,
  lineage: string,
  codecs: Codecs,
  signal?: AbortSignal,
  onEnd?: (end: ObjectReader) => void,
): Promise<ReplicaState> {
  let state: ReplicaState | null = null;
  let pages: PageSet | null = null;
  for await (const object of openChain(store, plan, lineage, codecs, signal)) {
    if (state === null) onEnd?.(object);
    state ??= stateWithoutHashes(object);
    pages ??= new PageSet(state.pageSize, state.pageCount);
    const table = halves(state.hashes);
    const from = halves(object.hashes);
    takePages(object, pages, (pgno, entry) => {
      table[2 * pgno] = from[2 * entry]!;
      table[2 * pgno + 1] = from[2 * entry + 1]!;
    });
  }
  return state!;
}

/** The newest state of a replica; null where it holds nothing. Throws what `plan` and `openChain` throw. */
export function readNewestState(
  store: ObjectStore,
  lineage: string,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<ReplicaState | null> {
  return lookAgain(async () => {
    const chosen = plan(await listReplica(store, signal), store.url);
    return chosen && readReplicaState(store, chosen, lineage, codecs, signal);
  });
}

function stateWithoutHashes({ to, pageSize, pageCount, header }: ObjectReader): ReplicaState {
  const hashes = new BigUint64Array(pageCount + 1);
  return { position: to, pageSize, pageCount, hashes, time: header.commits.last };
}

/** Calls back for each page that this object gives, in a chain read from the newest object back: no newer one had it. */
export function takePages(
  { pgnos }: ObjectReader,
  pages: PageSet,
  each: (pgno: number, entry: number) => void,
): void {
  for (let entry = 0; entry < pgnos.length; entry++) {
    const pgno = pgnos[entry]!;
    if (!pages.needs(pgno)) continue;
    pages.take(pgno);
    each(pgno, entry);
  }
}

/** A table of hashes by 32-bit halves: as numbers they cost nothing, while a BigInt for each of a million pages would. */
export function halves(hashes: BigUint64Array): Uint32Array {
  return new Uint32Array(hashes.buffer, hashes.byteOffset, 2 * hashes.length);
}

/** Whether the database that `db` reads, in a transaction held by the caller, is the replica's newest state. */
export function equalsReplica(
  sqlite3: Sqlite3Static,
  db: Database,
  state: ReplicaState,
  codecs: Codecs,
): boolean {
  if (Number(db.selectValue("PRAGMA page_size")) !== state.pageSize) return false;
  if (Number(db.selectValue("PRAGMA page_count")) !== state.pageCount) return false;
  const excluded = lockBytePage(state.pageSize);
  for (const { pgno, page } of readPages(sqlite3, db, state.pageSize))
    if (pgno !== excluded && codecs.hash64(page) !== state.hashes[pgno]) return false;
  return true;
}

/**
 * The last page in which a database and what a chain leads to may differ. What is allocated and given back in one
 * transaction may leave the WAL with more pages than page 1 counts, and those are none of the database: so where page 1 is
 * the same, what the chain has beyond is not compared.
 */
export function lastCompared(pageCount: number, chainPageCount: number, samePage1: boolean): number {
  return samePage1 ? pageCount : Math.max(pageCount, chainPageCount);
}
