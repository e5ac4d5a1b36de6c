import { type AuditedState, audit } from "./audit.ts";
import type { PositionRecord } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { BrokenReplicaError } from "./errors.ts";
import type { AuditEvent } from "./events.ts";
import { fault } from "./faults.ts";
import { formatVersion, type ObjectHeader } from "./format/header.ts";
import { metadataKey, snapshotKey } from "./format/keys.ts";
import type { Position } from "./format/position.ts";
import type { LocalDatabase } from "./local-database.ts";
import { pinState } from "./pin.ts";
import type { Platform } from "./platform.ts";
import { snapshotChunks } from "./snapshot.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { Capture } from "./vfs/capture.ts";

/** A summary for people and tools, `metadata.json` beside the objects. Nothing in Sluice depends on it. */
export interface ReplicationMetadata {
  readonly version: 1;
  readonly lineage: string;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly snapshot: { readonly key: string; readonly txid: number; readonly time: string };
}

export interface SnapshotContext {
  readonly platform: Platform;
  readonly store: ObjectStore;
  readonly local: LocalDatabase;
  readonly capture: Capture;
  readonly drainer: Drainer;
  readonly onPages: (pages: number, totalPages: number) => void;
  readonly onAudit: (audit: AuditEvent) => void;
  /** The replica is not what the database is: marks a resync, so that it is again from there on. */
  readonly requireResync: (reason: string) => Promise<void>;
  /** The last position that is known to be in the store. */
  readonly uploadedPosition: () => Position;
  /** Resolves when the position is uploaded; rejects when an upload fails. */
  readonly uploaded: (txid: number) => Promise<void>;
  /** The store lost objects: rejects where another went on instead of them, and claims what is not claimed any more. */
  readonly requireNoOther: () => Promise<void>;
}

/** A snapshot that was published. */
export interface TakenSnapshot {
  readonly key: string;
  readonly position: Position;
  readonly pageCount: number;
  /** Bytes of the object. */
  readonly size: number;
  readonly header: ObjectHeader;
}

/**
 * Publishes every page at one position. A connection of its own holds a read transaction while they are read, so writers go
 * on. Before it is published, it is compared with what the objects in the store add up to: so every snapshot is the proof of
 * all segments since the last one. `first`: the replica has no snapshot yet, as far as is known.
 *
 * Throws BrokenReplicaError where they differ; nothing is published then, and a resync is marked.
 */
export async function takeSnapshot(
  context: SnapshotContext,
  first: boolean,
  signal: AbortSignal,
): Promise<TakenSnapshot> {
  const { platform, store, local, capture, drainer, uploaded, requireNoOther, onPages } = context;
  const { codecs, clock, sqlite3 } = platform;
  const pinned = await pinState(local, capture, drainer);
  const { db, pageCount, record } = pinned;
  try {
    const header = snapshotHeader(record, pageCount, clock.now());
    const { cached: position, pageSize } = record;
    const key = snapshotKey(position.txid);
    let size = 0;
    const chunks = snapshotChunks(
      sqlite3,
      db,
      header,
      codecs,
      clock,
      async (hashes) => {
        pinned.endRead();
        await uploaded(position.txid);
        pinned.require();
        const state = { position, pageSize, pageCount, hashes };
        if (await requireEqual(context, record.lineage, state, first, signal)) return;
        // The store lost what was there. Whoever went on before that must not be covered.
        await requireNoOther();
        pinned.require();
      },
      (pages) => onPages(pages, pageCount),
    );
    await store.putStream(
      key,
      count(chunks, (length) => {
        size += length;
      }),
      { signal },
    );
    fault("snapshot:before-metadata");
    return { key, position, pageCount, size, header };
  } finally {
    pinned.release();
  }
}

function snapshotHeader(
  { cached, lineage, writer, time, pageSize }: PositionRecord,
  pageCount: number,
  now: number,
): ObjectHeader {
  return {
    format: formatVersion,
    features: [],
    lineage,
    kind: "snapshot",
    pageSize,
    pageCount,
    from: null,
    to: cached,
    writer,
    created: Math.max(now, time),
    commits: { first: time, last: time },
  };
}

/**
 * What the replica holds up to here is the database. Where its objects cannot be read nothing can be compared, and the
 * snapshot is published all the same: from it on the replica restores again, and without it never would. False then.
 */
async function requireEqual(
  { platform, store, onAudit, requireResync }: SnapshotContext,
  lineage: string,
  state: AuditedState,
  first: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const found = await audit(store, lineage, state, platform.codecs, signal);
  if (found === null) return first;
  const { position } = state;
  onAudit({ ...found, position });
  if (found.outcome !== "different") return found.outcome === "equal";
  const reason = `${found.count} pages of the replica differ from the database: page ${found.pages.join(", ")}`;
  await requireResync(reason);
  throw new BrokenReplicaError(
    `${store.url}: between transactions ${found.since.txid} and ${position.txid} ${reason}. A resync follows.`,
    { txid: found.since.txid + 1 },
  );
}

async function* count(
  chunks: AsyncIterable<Uint8Array>,
  each: (length: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    each(chunk.length);
    yield chunk;
  }
}

/** Describes the newest snapshot beside the objects. */
export async function writeMetadata(
  store: ObjectStore,
  { key, header }: TakenSnapshot,
  signal: AbortSignal,
): Promise<void> {
  const { lineage, pageSize, pageCount, to, commits } = header;
  const metadata: ReplicationMetadata = {
    version: 1,
    lineage,
    pageSize,
    pageCount,
    snapshot: { key, txid: to.txid, time: new Date(commits.last).toISOString() },
  };
  await store.put(metadataKey, new TextEncoder().encode(`${JSON.stringify(metadata, null, 2)}\n`), {
    signal,
  });
}
