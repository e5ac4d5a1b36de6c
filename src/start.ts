import { CACHE_LOST, type PositionRecord } from "./cache/write-cache.ts";
import type { RestoreOptions, Settings } from "./config.ts";
import { LocalDatabaseError, UnknownLocalHistoryError } from "./errors.ts";
import { fault } from "./faults.ts";
import { genesisPosition } from "./format/genesis.ts";
import { randomId } from "./format/id.ts";
import { samePosition } from "./format/position.ts";
import { LocalDatabase } from "./local-database.ts";
import { plan } from "./plan.ts";
import type { Platform } from "./platform.ts";
import { recover } from "./recover.ts";
import { findClaim, listReplica } from "./replica.ts";
import { equalsReplica, readReplicaState } from "./resync.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { Capture, walPosition } from "./vfs/capture.ts";
import type { ShimVfs } from "./vfs/shim.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";

export interface StartContext {
  readonly platform: Platform;
  readonly shim: ShimVfs;
  readonly database: ShimDatabase;
  readonly store: ObjectStore;
  readonly autoRestore: boolean;
  readonly onUnknownLocal: Settings["onUnknownLocal"];
  readonly restoreOptions: RestoreOptions;
}

// What only a start may need, to restore or to adopt, is loaded when it does: bundles make it a chunk of its own.

/** A database that is open and watched, and where capture stands in it. */
export interface Started {
  readonly local: LocalDatabase;
  readonly capture: Capture;
  readonly record: PositionRecord;
  /** Why local history cannot be followed; null when it can. Marked durably. */
  readonly resync: string | null;
}

/**
 * Brings the local database to where capture can begin: restore it when it is missing, open it, and find out how it
 * continues the recorded position. No connection of the application exists yet.
 */
export async function start(context: StartContext, loaded: PositionRecord | null): Promise<Started> {
  const { platform, onUnknownLocal } = context;
  let record = loaded;
  if (record?.resync === CACHE_LOST) record = await adoptAfterLoss(context, record);
  else if (record !== null && onUnknownLocal !== "error") {
    const { isFenced } = await import("./adopt.ts");
    if (await isFenced(context, record)) record = await adopt(context, record);
  }
  if (platform.inspect() === "absent") record = await startWithoutDatabase(context, record);
  for (;;) {
    const fingerprint = platform.fingerprint();
    const local = new LocalDatabase(platform, context.shim, context.database);
    try {
      fault("start:opened");
      if (record === null) return await begin(context, local);
      requirePageSize(platform, local, record);
      const holdsRecordedFrame = record.wal !== null && local.wal.holds(record.wal);
      const decision = recover({ record, wal: local.header(), holdsRecordedFrame, fingerprint });
      if (decision.kind === "replay") throw new LostCommits(decision.reason);
      if (decision.kind === "resync" && (await isUnchanged(context, local, record))) {
        record = { ...record, wal: null, fingerprint };
        await platform.cache.savePosition(record);
        return await follow(context, local, record, { kind: "whole-wal" });
      }
      return await follow(context, local, record, decision);
    } catch (error) {
      context.database.capture = null;
      // The next start finds what this one found.
      local.close({ keepWal: record !== null });
      if (error instanceof LostCommits) record = await replay(context, record!, error.message);
      else if (error instanceof UnknownLocalHistoryError && onUnknownLocal !== "error")
        record = await adopt(context, record);
      else throw error;
    }
  }
}

/** The local database is older than what is recorded. Never leaves this file. */
class LostCommits extends Error {}

/** The application decided which side counts where nothing proves it. */
async function adopt(context: StartContext, record: PositionRecord | null): Promise<PositionRecord | null> {
  const { adoptLocal, adoptRemote } = await import("./adopt.ts");
  return context.onUnknownLocal === "adopt-remote" ? adoptRemote(context) : adoptLocal(context, record);
}

/** What the application decided counts first: it may know better. */
async function adoptAfterLoss(context: StartContext, record: PositionRecord): Promise<PositionRecord | null> {
  if (context.onUnknownLocal !== "error") return adopt(context, record);
  const { adoptOwn } = await import("./adopt.ts");
  return adoptOwn(context, record);
}

/** No local database: restore it, or begin a new one where no replica is. */
async function startWithoutDatabase(
  context: StartContext,
  record: PositionRecord | null,
): Promise<PositionRecord | null> {
  const { platform, store, autoRestore, restoreOptions } = context;
  if (!autoRestore) {
    if ((await findClaim(store, restoreOptions.signal)) === null) return null;
    throw new UnknownLocalHistoryError(
      `There is no database at ${platform.dbPath}, but ${store.url} holds a replica, and autoRestore is off. ` +
        "Call restore(), or replicate to another prefix.",
    );
  }
  const { restoreDatabase } = await import("./restore-database.ts");
  return (await restoreDatabase(context, record, restoreOptions)).record;
}

/** The database lost what the cache and the replica have: restore it from there. */
async function replay(
  context: StartContext,
  record: PositionRecord,
  reason: string,
): Promise<PositionRecord> {
  const { platform, store, restoreOptions } = context;
  const { restoreDatabase } = await import("./restore-database.ts");
  const restored = await restoreDatabase(context, record, { ...restoreOptions, overwrite: true });
  if (restored.record !== null) return restored.record;
  throw new LocalDatabaseError(
    platform.dbPath,
    `${reason}, and ${store.url} holds no replica to restore them from`,
  );
}

/** A database without any record: the beginning of a history, or a copy of what the replica holds. */
async function begin(context: StartContext, local: LocalDatabase): Promise<Started> {
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
  return { local, record, capture: captureFrom(context, local, record, null), resync: null };
}

/** The replica's newest state, if the local database is exactly that. Nobody can know otherwise which side is newer. */
async function knownState(context: StartContext, local: LocalDatabase, lineage: string) {
  const { platform, store, restoreOptions } = context;
  const { codecs, sqlite3 } = platform;
  const chosen = plan(await listReplica(store, restoreOptions.signal), store.url);
  if (chosen !== null) {
    const state = await readReplicaState(store, chosen, lineage, codecs, restoreOptions.signal);
    if (equalsReplica(sqlite3, local.control, state, codecs)) return state;
  }
  throw new UnknownLocalHistoryError(
    `${platform.dbPath} and ${store.url} both exist, differ, and nothing tells which is newer. ` +
      "Decide with onUnknownLocal, or replicate to another prefix.",
  );
}

/**
 * Whether the database still is just what the replica ends with, although nothing recorded here proves it: it was
 * restored, and the process ended before that was recorded, or it is a copy with another time.
 */
async function isUnchanged(
  context: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
): Promise<boolean> {
  const { platform, store, restoreOptions } = context;
  const { codecs, sqlite3, cache } = platform;
  const { signal } = restoreOptions;
  if (record.resync !== undefined || local.header().maxFrame > 0 || cache.entries().length > 0) return false;
  try {
    const chosen = plan(await listReplica(store, signal), store.url);
    if (chosen === null) return false;
    const state = await readReplicaState(store, chosen, record.lineage, codecs, signal);
    return (
      samePosition(state.position, record.cached) && equalsReplica(sqlite3, local.control, state, codecs)
    );
  } catch {
    signal?.throwIfAborted();
    return false; // A resync does not need to know.
  }
}

async function follow(
  context: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
  decision: { kind: "behind-record" } | { kind: "whole-wal" } | { kind: "resync"; reason: string },
): Promise<Started> {
  if (decision.kind !== "resync") {
    const wal = decision.kind === "behind-record" ? record.wal : null;
    return { local, record, capture: captureFrom(context, local, record, wal), resync: null };
  }
  fault("start:before-mark");
  await context.platform.cache.markResync(decision.reason);
  const marked = { ...record, resync: decision.reason };
  const capture = captureFrom(context, local, record, walPosition(local.header()));
  capture.giveUp(decision.reason);
  return { local, record: marked, capture, resync: decision.reason };
}

/** Capture behind the record, having taken what the WAL holds beyond it. */
function captureFrom(
  { platform, database }: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
  wal: PositionRecord["wal"],
): Capture {
  const { pageCount, pageSize, time } = record;
  const capture = new Capture(
    { txid: record.cached.txid, wal, pageCount, pageSize, time },
    () => platform.clock.now(),
    (first, last, each) => local.wal.scan(local.pageSize, first, last, each),
  );
  capture.take(local.header());
  database.capture = capture;
  return capture;
}

function requirePageSize(platform: Platform, local: LocalDatabase, record: PositionRecord): void {
  if (local.pageSize === record.pageSize) return;
  throw new LocalDatabaseError(
    platform.dbPath,
    `has pages of ${local.pageSize} bytes, its replica of ${record.pageSize}. Replicate it to another prefix, with another cacheDir.`,
  );
}
