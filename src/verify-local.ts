import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { type AuditedState, audit } from "./audit.ts";
import { BrokenReplicaError } from "./errors.ts";
import type { AuditEvent } from "./events.ts";
import type { Codecs } from "./format/codecs.ts";
import { pinState } from "./pin.ts";
import type { Clock } from "./platform.ts";
import { readPages } from "./snapshot.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { SnapshotContext } from "./take-snapshot.ts";

/** How long hashing may hold the event loop, milliseconds. */
const TURN_MS = 3;

/**
 * Compares the running database with the replica at one position, while writers go on; no page is fetched.
 *
 * Throws UnsupportedFormatError, StoreError, and StateError where a resync is needed first.
 */
export async function verifyLocal(
  { platform, store, local, capture, drainer, uploaded }: SnapshotContext,
  signal: AbortSignal,
): Promise<AuditEvent> {
  const { sqlite3, codecs, clock } = platform;
  const pinned = await pinState(local, capture, drainer);
  try {
    const { db, record, pageCount } = pinned;
    const { lineage, cached: position, pageSize } = record;
    const hashes = await hashPages(sqlite3, db, pageSize, pageCount, codecs, clock, signal);
    pinned.endRead();
    await uploaded(position.txid);
    pinned.require();
    return await compareWithReplica(
      store,
      lineage,
      { position, pageSize, pageCount, hashes },
      codecs,
      signal,
    );
  } finally {
    pinned.release();
  }
}

/** `audit` for whoever needs an answer also where there is nothing to compare with. */
export async function compareWithReplica(
  store: ObjectStore,
  lineage: string,
  state: AuditedState,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<AuditEvent> {
  const { position } = state;
  const found = await audit(store, lineage, state, codecs, signal);
  if (found !== null) return { ...found, position };
  const error = new BrokenReplicaError(`${store.url} has no snapshot to compare with yet`, { txid: 0 });
  return { outcome: "unreadable", error, position };
}

/** Hashes of the pages that `db` reads, in a transaction held by the caller, from page 1. */
export async function hashPages(
  sqlite3: Sqlite3Static,
  db: Database,
  pageSize: number,
  pageCount: number,
  codecs: Codecs,
  clock: Clock,
  signal?: AbortSignal,
): Promise<BigUint64Array> {
  const hashes = new BigUint64Array(pageCount);
  let since = clock.now();
  for (const { pgno, page } of readPages(sqlite3, db, pageSize)) {
    hashes[pgno - 1] = codecs.hash64(page);
    if (clock.now() - since < TURN_MS) continue;
    await clock.turn();
    signal?.throwIfAborted();
    since = clock.now();
  }
  return hashes;
}
