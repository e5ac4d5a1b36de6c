import { CACHE_LOST, GOING_BACK, type PositionRecord, WENT_BACK } from "./cache/write-cache.ts";
import type { RestoreOptions, Settings } from "./config.ts";
import { LocalDatabaseError, UnknownLocalHistoryError } from "./errors.ts";
import { fault } from "./faults.ts";
import { mayArrive } from "./given-up.ts";
import { loadAdopt, loadRestore, loadUnproven } from "./load.ts";
import { LocalDatabase } from "./local-database.ts";
import type { Platform } from "./platform.ts";
import { recover } from "./recover.ts";
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
  const wentBack = record?.resync === WENT_BACK || record?.resync === GOING_BACK;
  // Where there is no database any more, there is none that went back.
  if (wentBack && platform.inspect() === "present") record = await adoptEarlier(context, record!);
  else if (record?.resync === CACHE_LOST) record = await adoptAfterLoss(context, record);
  else if (record !== null && onUnknownLocal !== "error" && (await isFenced(context, record)))
    record = await adopt(context, record);
  if (platform.inspect() === "absent") record = await startWithoutDatabase(context, record);
  for (;;) {
    const fingerprint = platform.fingerprint();
    const local = new LocalDatabase(platform, context.shim, context.database);
    try {
      fault("start:opened");
      if (record === null) return await begin(context, local);
      requirePageSize(context, local, record);
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

/** Nothing is decided where it cannot be asked: the application is not kept from its database. */
async function isFenced(context: StartContext, record: PositionRecord): Promise<boolean> {
  const adopting = await loadAdopt().catch(() => null);
  return (await adopting?.isFenced(context, record)) ?? false;
}

/** The application decided which side counts where nothing proves it. */
async function adopt(context: StartContext, record: PositionRecord | null): Promise<PositionRecord | null> {
  const { adoptLocal, adoptRemote } = await loadAdopt();
  return context.onUnknownLocal === "adopt-remote"
    ? adoptRemote(context, record)
    : adoptLocal(context, record);
}

/** What the application decided counts first: it may know better. */
async function adoptAfterLoss(context: StartContext, record: PositionRecord): Promise<PositionRecord | null> {
  if (context.onUnknownLocal !== "error") return adopt(context, record);
  const { adoptOwn } = await loadAdopt();
  return adoptOwn(context, record);
}

/** Going back has to be meant: the replica holds what came after, and nothing is appended to it unasked. */
async function adoptEarlier(context: StartContext, record: PositionRecord): Promise<PositionRecord | null> {
  if (context.onUnknownLocal !== "error") return adopt(context, record);
  const { requireUnchanged, wentBack } = await loadUnproven();
  if (record.resync === GOING_BACK) return requireUnchanged(context, record);
  throw wentBack(context, record);
}

/** No local database: restore it, or begin a new one where no replica is. */
async function startWithoutDatabase(
  context: StartContext,
  record: PositionRecord | null,
): Promise<PositionRecord | null> {
  const { platform, store, autoRestore, restoreOptions } = context;
  if (!autoRestore) {
    const { findClaim } = await loadUnproven();
    if ((await findClaim(store, restoreOptions.signal)) === null) return null;
    throw new UnknownLocalHistoryError(
      `There is no database at ${platform.dbPath}, but ${store.url} holds a replica, and autoRestore is off. ` +
        "Call restore(), or replicate to another prefix.",
    );
  }
  const { restoreDatabase } = await loadRestore();
  return (await restoreDatabase(context, record, restoreOptions)).record;
}

/** The database lost what the cache and the replica have: restore it from there. */
async function replay(
  context: StartContext,
  record: PositionRecord,
  reason: string,
): Promise<PositionRecord> {
  const { platform, store, restoreOptions } = context;
  const { restoreDatabase } = await loadRestore();
  const restored = await restoreDatabase(context, record, { ...restoreOptions, overwrite: true });
  if (restored.record !== null) return restored.record;
  throw new LocalDatabaseError(
    platform.dbPath,
    `${reason}, and ${store.url} holds no replica to restore them from`,
  );
}

/** A database without any record. */
async function begin(context: StartContext, local: LocalDatabase): Promise<Started> {
  const { beginHistory } = await loadUnproven();
  const record = await beginHistory(context, local);
  return { local, record, capture: captureFrom(context, local, record, null), resync: null };
}

/** A resync does not need to know, and the application is not kept from its database. */
async function isUnchanged(
  context: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
): Promise<boolean> {
  const { signal } = context.restoreOptions;
  if (
    record.resync !== undefined ||
    local.header().maxFrame > 0 ||
    context.platform.cache.entries().length > 0
  )
    return false;
  try {
    const { endsReplica } = await loadUnproven();
    return await endsReplica(context, local, record);
  } catch {
    signal?.throwIfAborted();
    return false;
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
  const { pageSize, time } = record;
  // Of what was restored, the record has the count of an object.
  const pageCount = Math.min(record.pageCount, local.pageCount());
  // What was given up may be where the chain turns out to end: what comes is behind it.
  const ends = [record.cached, ...mayArrive(record.givenUp, record.cached)];
  const txid = Math.max(...ends.map((end) => end.txid));
  const capture = new Capture(
    { txid, wal, pageCount, pageSize, time },
    () => platform.clock.now(),
    (first, last, each) => local.wal.scan(local.pageSize, first, last, each),
  );
  capture.take(local.header());
  database.capture = capture;
  return capture;
}

function requirePageSize(
  { platform, onUnknownLocal }: StartContext,
  local: LocalDatabase,
  record: PositionRecord,
): void {
  if (local.pageSize === record.pageSize) return;
  const text = `has pages of ${local.pageSize} bytes, its replica of ${record.pageSize}. Replicate it to another prefix, with another cacheDir.`;
  // The replica may still take its place, also after the local one was chosen.
  if (onUnknownLocal === "adopt-remote") throw new UnknownLocalHistoryError(`${platform.dbPath}: ${text}`);
  throw new LocalDatabaseError(platform.dbPath, text);
}
