import type { Position } from "./format/position.ts";
import type { RestoreTarget } from "./restore.ts";

/** Where a followed copy stands. */
export interface CopyState {
  /** Id of the replica's history. */
  readonly lineage: string;
  readonly position: Position;
  /** Time of the last commit, milliseconds since 1970. */
  readonly time: number;
  readonly pageSize: number;
  readonly pageCount: number;
  /** The object that ends at the position, as it was found there. */
  readonly key: string;
}

/**
 * A database that follows a replica and that others read while it changes. It goes from one state to the next in one
 * transaction of SQLite's, and knows after a crash at which of the two it is.
 */
export interface FollowedCopy {
  readonly path: string;

  /** Where the copy stands; null where there is none yet. Throws FollowError, LocalDatabaseError, DatabaseInUseError. */
  open(): CopyState | null;

  /** Makes the copy, whole or not at all. `write` gives all pages of the state that it resolves to. */
  restore(write: (target: RestoreTarget) => Promise<CopyState>): Promise<void>;

  /** A page as it is now; null past the end. It differs from the replica's in page 1 only. */
  page(pgno: number): Uint8Array | null;

  /** An empty place for the pages of the next state, outside of memory. */
  stage(): PageStage;

  /**
   * Brings the copy to `next`, which differs from the present state in the staged pages only. Waits a while for readers
   * to leave. Throws DatabaseInUseError when they do not, FollowError "changed", LocalDatabaseError; the copy is then as it was.
   */
  apply(stage: PageStage, next: CopyState, signal: AbortSignal): Promise<void>;

  release(): void;
}

/** Pages on their way into the copy. Each is put once. */
export interface PageStage {
  /** Bytes of `page` may be reused when this returns. */
  put(pgno: number, page: Uint8Array): void;
  close(): void;
}
