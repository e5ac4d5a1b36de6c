import { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { readClaim } from "./claim.ts";
import { isDamage } from "./damage.ts";
import { LocalDatabaseError, ReplicaFencedError, StoreError } from "./errors.ts";
import { fault } from "./faults.ts";
import { randomId } from "./format/id.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { discardEntries } from "./give-up.ts";
import { ArrivedError } from "./given-up.ts";
import { KnownTail } from "./known-tail.ts";
import { loadUpkeep } from "./load.ts";
import { restoreDatabase, uploadBacklog } from "./restore-database.ts";
import type { StartContext } from "./start.ts";

/**
 * Whether the replica went on without us: asked at start, where `onUnknownLocal` may then decide. While the store cannot
 * be reached nothing is decided, and the application is not kept from its database.
 */
export async function isFenced(context: StartContext, record: PositionRecord): Promise<boolean> {
  const { platform, store, restoreOptions } = context;
  const entries = platform.cache.entries();
  const uploaded = entries[0]?.from ?? record.cached;
  try {
    const { codecs, clock } = platform;
    const { lineage, writer, givenUp } = record;
    const tail = new KnownTail({ store, lineage, writer, codecs, clock, givenUp: () => givenUp });
    await tail.require(uploaded, entries[0]?.to ?? null, restoreOptions.signal);
    await uploadBacklog(platform, store, record, restoreOptions.signal);
    if (record.resync === undefined) return false;
    // A resync is fenced by an end before ours, too.
    const { requireOwnEnd } = await loadUpkeep();
    const end = await findEnd(context);
    if (end !== null) requireOwnEnd(store, end, record);
    return false;
  } catch (error) {
    if (error instanceof ReplicaFencedError) return !(error instanceof ArrivedError);
    restoreOptions.signal?.throwIfAborted();
    // Once it runs, the database makes up for what is damaged in the cache, and a resync for what is in the replica.
    if (error instanceof DamagedEntryError || isDamage(error)) return false;
    if (error instanceof StoreError && error.transient) return false;
    throw error;
  }
}

/** The replica's newest state replaces the local database. What the local one held beyond it is given up. */
export async function adoptRemote(
  context: StartContext,
  loaded: PositionRecord | null,
): Promise<PositionRecord | null> {
  await discardBacklog(context.platform.cache, loaded);
  fault("adopt:before-restore");
  const { record } = await restoreDatabase(context, null, { ...context.restoreOptions, overwrite: true });
  return record;
}

/**
 * The local database goes on where the replica ends: a record at the end of the chain that asks for a resync, which then
 * uploads all of the local database as one transaction. The replica's history stays.
 */
export async function adoptLocal(
  context: StartContext,
  record: PositionRecord | null,
): Promise<PositionRecord> {
  const { platform, store } = context;
  const end = await findEnd(context);
  if (end === null)
    throw new LocalDatabaseError(
      platform.dbPath,
      `cannot go on where ${store.url} ends: nothing was uploaded there`,
    );
  return goOnBehind(context, end, record, "the local database was chosen over the replica's newest state");
}

/**
 * The same without being told to, where the write cache lost what waited in it, and still says who wrote and how far: then
 * the replica has to end with an object of that writer, and not beyond. Null where it does not, and the record proves nothing.
 */
export async function adoptOwn(
  context: StartContext,
  record: PositionRecord,
): Promise<PositionRecord | null> {
  const end = await findEnd(context);
  const own = end?.header.lineage === record.lineage && end.header.writer === record.writer;
  return own && end.to.txid <= record.cached.txid ? goOnBehind(context, end, record, record.resync!) : null;
}

/** The last object of the chain; null where nothing was uploaded. */
async function findEnd({ platform, store, restoreOptions }: StartContext): Promise<ObjectReader | null> {
  const { signal } = restoreOptions;
  if ((await readClaim(store, signal)) === null) return null;
  const { endOfReplica } = await loadUpkeep();
  return endOfReplica(store, platform.codecs, signal);
}

async function goOnBehind(
  { platform }: StartContext,
  { to, header, pageSize, pageCount }: ObjectReader,
  record: PositionRecord | null,
  resync: string,
): Promise<PositionRecord> {
  const { cache, clock } = platform;
  await discardBacklog(cache, record);
  const next: PositionRecord = {
    version: 1,
    lineage: header.lineage,
    writer: record?.writer ?? randomId(),
    cached: to,
    pageSize,
    pageCount,
    time: Math.max(clock.now(), header.commits.last),
    wal: null,
    fingerprint: null,
    resync,
  };
  fault("adopt:before-record");
  cache.savePosition(next);
  return next;
}

async function discardBacklog(cache: WriteCache, record: PositionRecord | null): Promise<void> {
  const [head] = cache.entries();
  if (head !== undefined && record !== null)
    await discardEntries(cache, head, record, "its backlog was given up");
}
