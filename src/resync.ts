import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { openChain } from "./chain.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import { formatVersion } from "./format/header.ts";
import { lockBytePage } from "./format/layout.ts";
import type { Position } from "./format/position.ts";
import type { Plan } from "./plan.ts";
import type { Clock } from "./platform.ts";
import { readPages } from "./snapshot.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { Watermark } from "./vfs/capture.ts";

const RESYNC_LEVEL = 3;
const TURN_MS = 5;

/** The newest state of a replica as hashes alone: 8 bytes a page, and no page is fetched. */
export interface ReplicaState {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  /** xxh64 by page number; index 0 and the lock-byte page are not used. */
  readonly hashes: BigUint64Array;
  readonly time: number;
}

export async function readReplicaState(
  store: ObjectStore,
  plan: Plan,
  lineage: string,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<ReplicaState> {
  let state: ReplicaState | null = null;
  let known = new Uint8Array(0);
  for await (const object of openChain(store, plan, lineage, codecs, signal)) {
    if (state === null) {
      const { to, pageSize, pageCount, header } = object;
      state = {
        position: to,
        pageSize,
        pageCount,
        hashes: new BigUint64Array(pageCount + 1),
        time: header.commits.last,
      };
      known = new Uint8Array(pageCount + 1);
    }
    object.pgnos.forEach((pgno, entry) => {
      if (pgno >= known.length || known[pgno] === 1) return;
      known[pgno] = 1;
      state!.hashes[pgno] = object.hashes[entry]!;
    });
  }
  return state!;
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

export interface ResyncContext {
  readonly sqlite3: Sqlite3Static;
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly record: PositionRecord;
}

/**
 * Writes the whole database, as `db` reads it at the watermark `at`, as one segment behind `from`, the end of the chain.
 * The history before stays restorable; the record that is saved with it no longer asks for a resync.
 */
export async function resync(
  { sqlite3, cache, codecs, clock, record }: ResyncContext,
  db: Database,
  from: Position,
  at: Watermark,
  fingerprint: string | null,
): Promise<PositionRecord> {
  const { lineage, writer } = record;
  const { pageSize, pageCount, time } = at;
  const encoder = new ObjectEncoder(
    {
      format: formatVersion,
      features: [],
      lineage,
      kind: "segment",
      pageSize,
      pageCount,
      from,
      to: { txid: at.txid, id: null },
      writer,
      created: Math.max(clock.now(), time),
      commits: { first: time, last: time },
    },
    codecs,
    RESYNC_LEVEL,
  );
  const append = cache.append();
  try {
    await append.write(encoder.start());
    const excluded = lockBytePage(pageSize);
    let since = clock.now();
    for (const { pgno, page } of readPages(sqlite3, db, pageSize)) {
      if (pgno === excluded) continue;
      const chunk = encoder.page(pgno, page);
      if (chunk !== undefined) await append.write(chunk);
      if (clock.now() - since < TURN_MS) continue;
      await clock.turn();
      since = clock.now();
    }
    const { chunk, id, size } = encoder.finish();
    await append.write(chunk);
    const entry = { from, to: { txid: at.txid, id }, size, time };
    const { version } = record;
    const next = {
      version,
      lineage,
      writer,
      cached: entry.to,
      pageCount,
      pageSize,
      time,
      wal: at.wal,
      fingerprint,
    };
    fault("resync:before-commit");
    await append.commit(entry, next);
    fault("resync:after-commit");
    return next;
  } catch (error) {
    await append.abort();
    throw error;
  }
}
