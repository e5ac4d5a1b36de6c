/**
 * Every error that Sluice raises on purpose. Each class says when it occurs and what the caller can do; `code` is the
 * literal to switch on (instanceof fails across bundles and realms). Messages never hold credentials or signed URLs.
 */
export abstract class SluiceError extends Error {
  abstract readonly code: string;
  /** Said by each class itself: what bundlers make of class names says nothing. */
  abstract override get name(): string;
}

/** The configuration is unknown, contradictory or of the wrong type. Correct the named field; nothing was done. */
export class ConfigError extends SluiceError {
  readonly code = "SLUICE_CONFIG";
  override get name() {
    return "ConfigError";
  }
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(`${field}: ${message}`);
  }
}

/** A method was called in a state that does not allow it (before start, after stop). Nothing was done. */
export class StateError extends SluiceError {
  readonly code = "SLUICE_STATE";
  override get name() {
    return "StateError";
  }
}

/** Another process, tab or replicator holds the database. Close it there, or wait and try again. */
export class DatabaseInUseError extends SluiceError {
  readonly code = "SLUICE_IN_USE";
  override get name() {
    return "DatabaseInUseError";
  }
  constructor(
    readonly path: string,
    readonly holder: string,
  ) {
    super(`${path} is in use by ${holder}. Close it there and try again.`);
  }
}

/**
 * Nothing here keeps a second writer away: no exclusive file locks (no native binary for this platform; see `unsafeNoLock`),
 * or no Web Locks in this browser.
 */
export class LockUnavailableError extends SluiceError {
  readonly code = "SLUICE_LOCK_UNAVAILABLE";
  override get name() {
    return "LockUnavailableError";
  }
}

/** Why a browser has no place for a database. */
export type OpfsReason = "insecure-context" | "not-a-dedicated-worker" | "old-browser" | "blocked";

/** The browser offers no origin private file system here, and a database in memory only would be lost. Nothing was done. */
export class OpfsUnavailableError extends SluiceError {
  readonly code = "SLUICE_OPFS_UNAVAILABLE";
  override get name() {
    return "OpfsUnavailableError";
  }
  constructor(
    readonly reason: OpfsReason,
    advice: string,
    options?: ErrorOptions,
  ) {
    super(`There is no place for a database here (${reason}). ${advice}`, options);
  }
}

/** The opfs-sahpool has no free slot for a file, or storage has no room for another. Nothing was changed. */
export class PoolFullError extends SluiceError {
  readonly code = "SLUICE_POOL_FULL";
  override get name() {
    return "PoolFullError";
  }
  constructor(
    readonly path: string,
    /** Files that the pool can hold. */
    readonly capacity: number,
    options?: ErrorOptions,
  ) {
    super(
      `${path}: the pool has room for ${capacity} files, and all are taken. Call its addCapacity(), or delete files.`,
      options,
    );
  }
}

/**
 * A part of Sluice itself, which is loaded when it is needed, could not be: the network is away, or the server has another
 * release by now. What needed it is tried again; where that does not help, the page has to be loaded anew. Nothing is lost.
 */
export class CodeUnavailableError extends SluiceError {
  readonly code = "SLUICE_CODE_UNAVAILABLE";
  override get name() {
    return "CodeUnavailableError";
  }
  constructor(cause: unknown) {
    super(`a part of sqlite-sluice could not be loaded: ${cause}`, { cause });
  }
}

/** The local database cannot be used: not a database, unreadable, read-only, no space. The file was not changed. */
export class LocalDatabaseError extends SluiceError {
  readonly code = "SLUICE_LOCAL_DATABASE";
  override get name() {
    return "LocalDatabaseError";
  }
  constructor(
    readonly path: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${path}: ${message}`, options);
  }
}

/** The write cache failed, or holds records of a version that this release does not know. `full` when space ran out. */
export class CacheError extends SluiceError {
  readonly code = "SLUICE_CACHE";
  override get name() {
    return "CacheError";
  }
  constructor(
    message: string,
    readonly full: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** One object of the replica is damaged: truncated, altered, swapped. `key` names it, `part` the piece that is wrong. */
export class CorruptObjectError extends SluiceError {
  readonly code = "SLUICE_CORRUPT_OBJECT";
  override get name() {
    return "CorruptObjectError";
  }
  constructor(
    readonly key: string,
    readonly part: ObjectPart,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${key}: ${part}: ${message}`, options);
  }
}
export type ObjectPart = "size" | "header" | "block" | "page" | "index" | "trailer" | "id";

/** An object was written by a newer format version or with a feature that this release does not have. Upgrade Sluice. */
export class UnsupportedFormatError extends SluiceError {
  readonly code = "SLUICE_UNSUPPORTED_FORMAT";
  override get name() {
    return "UnsupportedFormatError";
  }
  constructor(
    readonly key: string,
    readonly what: string,
  ) {
    super(`${key}: ${what} is not known to this release. Upgrade sqlite-sluice.`);
  }
}

/** The replica is there but its chain is not whole: a gap, a fork, a repeat, a missing snapshot. Nothing local was touched. */
export class BrokenReplicaError extends SluiceError {
  readonly code = "SLUICE_BROKEN_REPLICA";
  override get name() {
    return "BrokenReplicaError";
  }
  /** `txid`: the first transaction that cannot be reached. `key`: the object at fault, where one is. */
  constructor(
    message: string,
    readonly detail: { readonly key?: string; readonly txid?: number },
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * The replica is whole, but holds no state for the moment that was asked for: that lies before the oldest state that is
 * kept, or is a transaction after the newest. Ask for one in between; nothing was touched.
 */
export class NotRestorableError extends SluiceError {
  readonly code = "SLUICE_NOT_RESTORABLE";
  override get name() {
    return "NotRestorableError";
  }
  /** The ends of what can be restored. `time`, milliseconds since 1970, where a time was asked for. */
  constructor(
    message: string,
    readonly oldest: { readonly txid: number; readonly time?: number },
    readonly newest: { readonly txid: number; readonly time?: number },
  ) {
    super(message);
  }
}

/** Another writer has extended the same replica. Uploading has stopped, the local database still works. */
export class ReplicaFencedError extends SluiceError {
  readonly code = "SLUICE_FENCED";
  override get name() {
    return "ReplicaFencedError";
  }
  constructor(
    message: string,
    readonly detail: { readonly key?: string; readonly writer?: string },
  ) {
    super(message);
  }
}

/** A local database and a replica both exist and nothing proves which is newer. `onUnknownLocal` decides. */
export class UnknownLocalHistoryError extends SluiceError {
  readonly code = "SLUICE_UNKNOWN_LOCAL_HISTORY";
  override get name() {
    return "UnknownLocalHistoryError";
  }
}

/** Why a copy cannot follow its replica. */
export type FollowProblem =
  /** There is no replica, or no snapshot in it yet, so there is nothing to begin with. */
  | "no-replica"
  /** A database stands where the copy shall be, and it was not made by following. */
  | "not-a-copy"
  /** Somebody wrote to the copy. */
  | "changed"
  /** The prefix holds another history by now, or none. */
  | "another-history"
  /** The replica ends before the copy, or went another way. */
  | "diverged";

/** A copy cannot follow its replica, and nothing was overwritten. The message says what to do for each `problem`. */
export class FollowError extends SluiceError {
  readonly code = "SLUICE_FOLLOW";
  override get name() {
    return "FollowError";
  }
  constructor(
    readonly problem: FollowProblem,
    message: string,
  ) {
    super(message);
  }
}

/** Why a store refused or failed. `network`, `throttled` and `unavailable` heal by themselves and are retried. */
export type StoreErrorKind =
  | "not-found"
  | "precondition-failed"
  | "no-such-bucket"
  | "access-denied"
  | "expired-credentials"
  | "clock-skew"
  | "throttled"
  | "unavailable"
  | "network"
  | "no-space"
  | "invalid-request";

/** The object store refused or could not be reached. `retryAfterMs` is the store's own wish, where it stated one. */
export class StoreError extends SluiceError {
  readonly code = "SLUICE_STORE";
  override get name() {
    return "StoreError";
  }
  constructor(
    readonly kind: StoreErrorKind,
    message: string,
    readonly detail: { readonly key?: string; readonly status?: number; readonly retryAfterMs?: number } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
  /** True where the same request may succeed later without anybody doing anything. */
  get transient(): boolean {
    return this.kind === "network" || this.kind === "throttled" || this.kind === "unavailable";
  }
}
