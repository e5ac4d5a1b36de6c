import type { PositionRecord } from "./cache/write-cache.ts";
import { LocalDatabaseError, UnknownLocalHistoryError } from "./errors.ts";
import { fault } from "./faults.ts";
import { genesisPosition } from "./format/genesis.ts";
import { randomId } from "./format/id.ts";
import { samePosition } from "./format/position.ts";
import { LocalDatabase } from "./local-database.ts";
import { findClaim } from "./replica.ts";
import { equalsReplica, readNewestState } from "./replica-state.ts";
import type { StartContext } from "./start.ts";

export { findClaim };

/** A database without any record: the beginning of a history, or a copy of what the replica holds. */
export async function beginHistory(context: StartContext, local: LocalDatabase): Promise<PositionRecord> {
  const { platform, store, restoreOptions } = context;
  const { cache, codecs, clock } = platform;
  if (!local.checkpoint("TRUNCATE"))
    throw new LocalDatabaseError(platform.dbPath, "its WAL cannot be checkpointed before replication begins");
  const claim = await findClaim(store, restoreOptions.signal);
  const time = clock.now();
  let lineage = randomId();
  let cached = genesisPosition(lineage, codecs);
  let since = time;
  if (claim !== null) {
    const state = await knownState(context, local, claim.lineage);
    lineage = claim.lineage;
    cached = state.position;
    since = Math.max(time, state.time);
  }
  const record: PositionRecord = {
    version: 1,
    lineage,
    writer: randomId(),
    cached,
    pageCount: local.pageCount(),
    pageSize: local.pageSize,
    time: since,
    wal: null,
    fingerprint: platform.fingerprint(),
  };
  fault("start:before-record");
  await cache.savePosition(record);
  fault("start:after-record");
  return record;
}

/** The replica's newest state, if the local database is exactly that. Nobody can know otherwise which side is newer. */
async function knownState(context: StartContext, local: LocalDatabase, lineage: string) {
  const { platform, store, restoreOptions } = context;
  const { codecs, sqlite3 } = platform;
  const state = await readNewestState(store, lineage, codecs, restoreOptions.signal);
  if (state !== null && equalsReplica(sqlite3, local.control, state, codecs)) return state;
  throw new UnknownLocalHistoryError(
    `${platform.dbPath} and ${store.url} both exist, differ, and nothing tells which is newer. ` +
      "Decide with onUnknownLocal, or replicate to another prefix.",
  );
}

/**
 * Whether the database still is just what the replica ends with, although nothing recorded here proves it: it was
 * restored, and the process ended before that was recorded, or it is a copy with another time.
 */
export async function endsReplica(
  { platform, store, restoreOptions }: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
): Promise<boolean> {
  const { codecs, sqlite3 } = platform;
  const { signal } = restoreOptions;
  const state = await readNewestState(store, record.lineage, codecs, signal);
  if (state === null) return false;
  return samePosition(state.position, record.cached) && equalsReplica(sqlite3, local.control, state, codecs);
}

/** Why a start refuses a database that was put back to the state that the record names. */
export function wentBack(
  { platform, store }: StartContext,
  { cached }: PositionRecord,
): UnknownLocalHistoryError {
  return new UnknownLocalHistoryError(
    `${platform.dbPath} was restored to an earlier state, transaction ${cached.txid}, and ${store.url} holds later ones. ` +
      'To go on from here, which appends this state to the replica, start with onUnknownLocal: "adopt-local"; for the newest ' +
      "state restore again, or adopt-remote.",
  );
}

/**
 * The record of a database that a restore was to put back to an earlier state, and did not: it still is what the replica
 * ends with, so it goes on as if nothing had been.
 * @throws UnknownLocalHistoryError where it is not; StoreError.
 */
export async function requireUnchanged(
  context: StartContext,
  { resync: _, ...record }: PositionRecord,
): Promise<PositionRecord> {
  const { platform, store } = context;
  const local = new LocalDatabase(platform, context.shim, context.database);
  try {
    if (local.pageSize === record.pageSize && local.checkpoint("TRUNCATE"))
      if (await endsReplica(context, local, record)) {
        const next = { ...record, wal: null, fingerprint: platform.fingerprint() };
        await platform.cache.savePosition(next);
        return next;
      }
  } finally {
    local.close();
  }
  throw new UnknownLocalHistoryError(
    `A restore of ${platform.dbPath} to an earlier state did not end, and the database is not what ${store.url} ends with: it is ` +
      "that earlier state, or has commits that were not uploaded. Restore again, whichever state is wanted; or decide with " +
      "onUnknownLocal.",
  );
}
