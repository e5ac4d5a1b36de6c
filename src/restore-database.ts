import type { PositionRecord } from "./cache/write-cache.ts";
import { checkRestoreOptions, type RestoreOptions } from "./config.ts";
import { BrokenReplicaError, LocalDatabaseError } from "./errors.ts";
import { fault } from "./faults.ts";
import { randomId } from "./format/id.ts";
import type { Position } from "./format/position.ts";
import { plan } from "./plan.ts";
import type { Platform } from "./platform.ts";
import { findClaim, listReplica } from "./replica.ts";
import { apply } from "./restore.ts";
import type { StartContext } from "./start.ts";
import { uploadHead } from "./upload.ts";

/** What `restore` did: `reason` says why it did nothing. */
export type RestoreOutcome =
  | { readonly restored: true; readonly position: Position }
  | { readonly restored: false; readonly reason: "no-replica" | "database-exists" };

type RestoreContext = Pick<StartContext, "platform" | "shim" | "database" | "store">;

/**
 * Replaces a missing local database (or an existing one, with `overwrite`) by the replica's newest state. What the cache
 * still holds goes up first, so nothing that was cached is lost. Three outcomes that are never confused: restored; no
 * replica; a throw, with nothing local touched.
 */
export async function restoreDatabase(
  context: RestoreContext,
  record: PositionRecord | null,
  options: RestoreOptions,
): Promise<{ outcome: RestoreOutcome; record: PositionRecord | null }> {
  const { overwrite, integrityCheck } = checkRestoreOptions(options);
  const { platform, store } = context;
  const { codecs } = platform;
  const { signal } = options;
  if (!overwrite && platform.inspect() === "present")
    return { outcome: { restored: false, reason: "database-exists" }, record };
  if (record !== null) await uploadBacklog(platform, store, record, signal);
  const claim = await findClaim(store, signal);
  if (claim === null) return { outcome: { restored: false, reason: "no-replica" }, record: null };
  const chosen = plan(await listReplica(store, signal), store.url);
  if (chosen === null)
    throw new BrokenReplicaError(
      `${store.url} was claimed by writer ${claim.writer} at ${new Date(claim.created).toISOString()}, which has ` +
        "uploaded nothing yet. If that writer is gone, delete lineage.json there to begin anew.",
      { txid: 0 },
    );
  const target = platform.restoreTarget();
  try {
    const state = await apply(
      store,
      chosen,
      claim.lineage,
      codecs,
      target,
      options.onProgress ?? (() => {}),
      signal,
    );
    if (integrityCheck !== "none") checkIntegrity(context, target.path, integrityCheck);
    fault("restore:before-finish");
    await target.finish(state.pageCount * state.pageSize);
    fault("restore:before-record");
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
    };
    await platform.cache.savePosition(next);
    return { outcome: { restored: true, position }, record: next };
  } catch (error) {
    await target.abort();
    throw error;
  }
}

/** Uploads everything that the cache holds, in order. */
export async function uploadBacklog(
  platform: Platform,
  store: StartContext["store"],
  record: PositionRecord,
  signal?: AbortSignal,
): Promise<void> {
  const { cache, codecs, clock } = platform;
  const claim = { version: 1, lineage: record.lineage, writer: record.writer, created: clock.now() } as const;
  const context = { store, cache, codecs, claim, claimed: false };
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
