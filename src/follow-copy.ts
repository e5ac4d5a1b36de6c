import type { DatabaseTarget } from "./platform.ts";
import type { RestoredState } from "./restore.ts";

/** Where a followed copy stands, and the object that ends there, as it was found. */
export interface CopyState extends RestoredState {
  /** Id of the replica's history. */
  readonly lineage: string;
}

/**
 * A database that follows a replica and that others read while it changes. It goes from one state to the next in one
 * transaction of SQLite's, and knows after a crash at which of the two it is.
 */
export interface FollowedCopy {
  readonly path: string;

  /** Where the copy stands; null where there is none yet. Throws FollowError, LocalDatabaseError, DatabaseInUseError. */
  open(): CopyState | null;

  /** A place for the first state, beside the copy. */
  restoreTarget(): DatabaseTarget;

  /** Puts that in place, checked by SQLite. The caller aborts the target when this throws. */
  make(target: DatabaseTarget, state: CopyState): Promise<void>;

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
