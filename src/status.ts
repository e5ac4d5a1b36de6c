import type { Audit } from "./audit.ts";
import type { StoreCapabilities } from "./store/object-store.ts";

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
  readonly lastError: string | null;
}

/** One line for logs and people. */
export function statusLine(status: ReplicationStatus): string {
  const { state, captured, cached, uploaded, pendingSegments, pendingBytes } = status;
  return `${state} captured=${captured} cached=${cached} uploaded=${uploaded} pending=${pendingSegments}/${pendingBytes}B`;
}
