import type { Audit } from "./audit.ts";
import { bytesOf, type PositionRecord, type WriteCache } from "./cache/write-cache.ts";
import type { StoreCapabilities } from "./store/object-store.ts";
import type { UploadTask } from "./upload-task.ts";
import type { Capture } from "./vfs/capture.ts";

/** Where a replicator stands. Every field is true at the moment of the call. */
export interface ReplicationStatus {
  /**
   * `created`: not started. `running`: all is well, or being retried (see `lastError`). `resync`: local history could not
   * be followed, a segment with what differs from the replica is under way. `fenced`: another writer took over, nothing is
   * uploaded any more. `stopped`.
   */
  readonly state: "created" | "running" | "resync" | "fenced" | "stopped";
  /** The three watermarks: commits that SQLite has, that the cache has, that the store has. */
  readonly captured: number;
  readonly cached: number;
  readonly uploaded: number;
  readonly pendingSegments: number;
  readonly pendingBytes: number;
  /** Milliseconds since the oldest commit that is not in the store; 0 when all are. */
  readonly oldestUnuploadedAgeMs: number;
  readonly lastSnapshot: { readonly txid: number; readonly time: number } | null;
  /** What the last snapshot that could be compared with the replica's other objects found; null before. */
  readonly lastAudit: {
    readonly txid: number;
    readonly time: number;
    readonly outcome: Audit["outcome"];
  } | null;
  /** Milliseconds since 1970. */
  readonly lastUploadTime: number | null;
  /** Uploads that failed since the last one that succeeded. */
  readonly failedUploads: number;
  /** Frames in the WAL now. */
  readonly walFrames: number;
  /** Null until the store was asked. */
  readonly storeCapabilities: StoreCapabilities | null;
  /** The credentials do not allow to delete what retention no longer keeps: all works, and everything stays. */
  readonly deletionRefused: boolean;
  readonly lastError: string | null;
}

interface Running {
  readonly cache: Pick<WriteCache, "entries">;
  readonly now: number;
  readonly capture: Pick<Capture, "captured" | "pendingSince">;
  readonly record: PositionRecord;
  readonly uploads: Pick<UploadTask, "fenced" | "lastUploadTime" | "failures" | "capabilities">;
  readonly lastSnapshot: { readonly txid: number; readonly time: number } | null;
  readonly lastAudit: ReplicationStatus["lastAudit"];
  readonly deletionRefused: boolean;
  readonly lastError: unknown;
}

/** Between `start` and `stop`. */
export function runningStatus(running: Running): ReplicationStatus {
  const { cache, now, capture, record, uploads, lastSnapshot, lastAudit, deletionRefused, lastError } =
    running;
  const entries = cache.entries();
  const { captured } = capture;
  const oldest = entries[0]?.time ?? capture.pendingSince;
  return {
    state: uploads.fenced ? "fenced" : record.resync === undefined ? "running" : "resync",
    captured: captured.txid,
    cached: record.cached.txid,
    uploaded: (entries[0]?.from ?? record.cached).txid,
    pendingSegments: entries.length,
    pendingBytes: bytesOf(entries),
    oldestUnuploadedAgeMs: oldest === null ? 0 : Math.max(0, now - oldest),
    lastSnapshot: lastSnapshot && { txid: lastSnapshot.txid, time: lastSnapshot.time },
    lastAudit,
    lastUploadTime: uploads.lastUploadTime,
    failedUploads: uploads.failures,
    walFrames: captured.wal?.frame ?? 0,
    storeCapabilities: uploads.capabilities,
    deletionRefused,
    lastError: lastError === null ? null : String(lastError),
  };
}

/** One line for logs and people. */
export function statusLine(status: ReplicationStatus): string {
  const { state, captured, cached, uploaded, pendingSegments, pendingBytes } = status;
  return `${state} captured=${captured} cached=${cached} uploaded=${uploaded} pending=${pendingSegments}/${pendingBytes}B`;
}
