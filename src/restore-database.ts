import { GOING_BACK, type PositionRecord, WENT_BACK } from "./cache/write-cache.ts";
import type { RestorePoint } from "./choose-plan.ts";
import { checkRestoreOptions, type RestoreOptions } from "./config.ts";
import { BrokenReplicaError, LocalDatabaseError } from "./errors.ts";
import { fault } from "./faults.ts";
import { randomId } from "./format/id.ts";
import { type Position, samePosition } from "./format/position.ts";
import { KnownTail } from "./known-tail.ts";
import type { Platform } from "./platform.ts";
import { findClaim } from "./replica.ts";
import type { RestoredState } from "./restore.ts";
import type { StartContext } from "./start.ts";
import { uploadHead } from "./upload.ts";
import { writeState } from "./write-state.ts";

/** What `restore` did: `reason` says why it did nothing. */
export type RestoreOutcome =
  | {
      readonly restored: true;
      /** The state that was restored: the newest, or the last one at or before what was asked for. */
      readonly position: Position;
      /** When that was committed, milliseconds since 1970. */
      readonly time: number;
      /** Bytes of objects that were fetched. */
      readonly bytesFetched: number;
      /** Bytes of objects that were not, because the database that is replaced had the same pages. */
      readonly bytesSaved: number;
    }
  | { readonly restored: false; readonly reason: "no-replica" | "database-exists" };

interface RestoreContext extends Pick<StartContext, "platform" | "shim" | "database" | "store"> {
  /** A record was made durable that counts also where the restore fails. */
  readonly onRecord?: (record: PositionRecord) => void;
}

/**
 * Replaces a missing local database (or an existing one, with `overwrite`) by a state of the replica. What the cache still
 * holds goes up first, so nothing that was cached is lost. Three outcomes that are never confused: restored; no replica; a
 * throw, with nothing local touched.
 */
export async function restoreDatabase(
  context: RestoreContext,
  record: PositionRecord | null,
  options: RestoreOptions,
): Promise<{ outcome: RestoreOutcome; record: PositionRecord | null }> {
  const { overwrite, integrityCheck, point } = checkRestoreOptions(options);
  const { platform, store } = context;
  const { signal } = options;
  if (!overwrite && platform.inspect() === "present")
    return { outcome: { restored: false, reason: "database-exists" }, record };
  if (record !== null) await uploadBacklog(platform, store, record, signal, () => refuseBare(store));
  const claim = await findClaim(store, signal);
  if (claim === null) return { outcome: { restored: false, reason: "no-replica" }, record: null };
  const source = { store, lineage: claim.lineage, codecs: platform.codecs, signal };
  const written = await writeState(
    source,
    point,
    () => platform.restoreTarget(),
    options.onProgress ?? (() => {}),
  );
  if (written === null)
    throw new BrokenReplicaError(
      `${store.url} was claimed by writer ${claim.writer} at ${new Date(claim.created).toISOString()}, which has ` +
        "uploaded nothing yet. If that writer is gone, delete lineage.json there to begin anew.",
      { txid: 0 },
    );
  const { state, target, newest, fetched, saved } = written;
  try {
    if (record?.lineage === claim.lineage) requireUploaded(context, point, state, record);
    if (integrityCheck !== "none") checkIntegrity(context, target.path, integrityCheck);
    signal?.throwIfAborted();
    // From here on a crash may leave the earlier state beside a record that does not know of it.
    if (!newest && record !== null) {
      const marked = { ...record, resync: GOING_BACK };
      platform.cache.savePosition(marked);
      context.onRecord?.(marked);
    }
    fault("restore:before-finish");
    await target.finish(state.pageCount * state.pageSize);
    fault("restore:before-record");
  } catch (error) {
    await target.abort();
    throw error;
  }
  const { position, pageCount, pageSize, time } = state;
  const next: PositionRecord = {
    version: 1,
    lineage: claim.lineage,
    writer: record?.writer ?? randomId(),
    cached: position,
    pageCount,
    pageSize,
    time,
    wal: null,
    fingerprint: platform.fingerprint(),
    ...(!newest && { resync: WENT_BACK }),
  };
  platform.cache.savePosition(next);
  const outcome = { restored: true, position, time, bytesFetched: fetched, bytesSaved: saved } as const;
  return { outcome, record: next };
}

/** The record knows of transactions that the store has lost: to go on without them is for the caller to say. */
function requireUploaded(
  { store: { url }, platform }: RestoreContext,
  point: RestorePoint,
  { position }: RestoredState,
  { cached, time }: PositionRecord,
): void {
  const asked = point === "latest" || ("timestamp" in point && point.timestamp >= time);
  const { txid } = position;
  if (!asked || txid > cached.txid || samePosition(position, cached)) return;
  const lost =
    txid < cached.txid
      ? "the store has lost what is between"
      : "the store has lost what led there, and another writer went on";
  const present = platform.inspect() === "present";
  throw new BrokenReplicaError(
    `${url} ends at transaction ${txid}, and this database was uploaded to ${cached.txid}: ${lost}. Bring it back there, or go ` +
      `on without it by restore({ txid: ${txid}${present ? ", overwrite: true" : ""} }) or sluice restore --txid ${txid}` +
      `${present ? " --overwrite" : ""}.`,
    { txid: Math.min(txid + 1, cached.txid) },
  );
}

/** What waits leads on from what only the database that is gone could bring back: behind nothing it would be in the way. */
function refuseBare({ url }: StartContext["store"]): never {
  throw new BrokenReplicaError(
    `${url} holds nothing that what waits in the write cache could be restored on. Bring it back there, or move the folder of ` +
      "the cache away, which gives that up.",
    { txid: 0 },
  );
}

/** Uploads everything that the cache holds, in order, where no other writer went on. Throws what `uploadHead` throws. */
export async function uploadBacklog(
  platform: Platform,
  store: StartContext["store"],
  record: PositionRecord,
  signal?: AbortSignal,
  onBare = () => {},
): Promise<void> {
  const { cache, codecs, clock } = platform;
  const { lineage, writer, givenUp } = record;
  const claim = { version: 1, lineage, writer, created: clock.now() } as const;
  const tail = new KnownTail({ store, lineage, writer, codecs, clock, onBare, givenUp: () => givenUp });
  const context = { store, cache, codecs, clock, tail, claim, claimed: false };
  for (let head = cache.entries()[0]; head !== undefined; head = cache.entries()[0])
    await uploadHead(context, head, signal);
}

/** SQLite's own judgement of what was restored, before it counts as such. Throws BrokenReplicaError. */
function checkIntegrity(
  { platform, shim, database, store }: RestoreContext,
  path: string,
  check: "quick" | "full",
): void {
  // Where files cannot be renamed the target is the database's own path, which is watched already.
  const inPlace = path === database.path;
  const watched = inPlace ? database : shim.watch(path);
  watched.admitting = true;
  try {
    const db = new platform.sqlite3.oo1.DB({ filename: path, flags: "w", vfs: shim.name });
    try {
      const answer = db.selectValue(
        check === "quick" ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)",
      );
      if (answer !== "ok")
        throw new BrokenReplicaError(`${store.url} restores to a damaged database: ${answer}`, {});
    } finally {
      db.close();
    }
  } catch (cause) {
    if (cause instanceof BrokenReplicaError) throw cause;
    throw new LocalDatabaseError(platform.dbPath, `the restored file cannot be checked: ${cause}`, { cause });
  } finally {
    watched.admitting = false;
    if (!inPlace) shim.unwatch(watched);
  }
}
