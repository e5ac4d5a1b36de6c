import type { Database } from "@sqlite.org/sqlite-wasm";
import type { PositionRecord } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { StateError } from "./errors.ts";
import { fault } from "./faults.ts";
import { formatVersion, type ObjectHeader } from "./format/header.ts";
import { metadataKey, snapshotKey } from "./format/keys.ts";
import type { Position } from "./format/position.ts";
import type { LocalDatabase } from "./local-database.ts";
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
  /** The last position that is known to be in the store. */
  readonly uploadedPosition: () => Position;
  /** Resolves when the position is uploaded; rejects when an upload fails, since the transaction holds up the WAL. */
  readonly uploaded: (txid: number) => Promise<void>;
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
 * Publishes every page at one position. A connection of its own holds a read transaction, so writers go on. The
 * transaction and the end of what is drained are fixed in one synchronous step: nothing can be committed between them.
 */
export async function takeSnapshot(context: SnapshotContext, signal: AbortSignal): Promise<TakenSnapshot> {
  const { platform, store, local, drainer, uploaded, onPages } = context;
  const { codecs, clock, sqlite3 } = platform;
  const { db, pageCount, record } = await pin(context);
  try {
    const { cached: position, lineage, writer, time, pageSize } = record;
    const header: ObjectHeader = {
      format: formatVersion,
      features: [],
      lineage,
      kind: "snapshot",
      pageSize,
      pageCount,
      from: null,
      to: position,
      writer,
      created: Math.max(clock.now(), time),
      commits: { first: time, last: time },
    };
    const key = snapshotKey(position.txid);
    let size = 0;
    const chunks = snapshotChunks(
      sqlite3,
      db,
      header,
      codecs,
      clock,
      async () => {
        await uploaded(position.txid);
        // Transactions beyond it are in the store too when a resync made up for what was dropped.
        if (!drainer.pinned) throw new StateError("the snapshot's position was dropped with the backlog");
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
    drainer.unpin();
    local.endRead(db);
  }
}

/**
 * Begins a read transaction exactly at a cached position: what is captured when it begins is what a drain that begins in
 * the same step carries, unless the loop or the gate drained in between, and then it is tried again. The position is pinned
 * until the snapshot is published, or given up.
 */
async function pin({
  local,
  capture,
  drainer,
}: SnapshotContext): Promise<{ db: Database; pageCount: number; record: PositionRecord }> {
  for (;;) {
    while (drainer.busy) await drainer.settled();
    if (capture.broken !== null) throw new StateError(`no snapshot before the resync: ${capture.broken}`);
    const { db, pageCount } = local.beginRead();
    try {
      const at = capture.captured.txid;
      await drainer.drain();
      if (!drainer.busy && drainer.record.cached.txid === at) return { db, pageCount, record: drainer.pin() };
    } catch (error) {
      local.endRead(db);
      throw error;
    }
    local.endRead(db);
  }
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
