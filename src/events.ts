import type { Audit } from "./audit.ts";
import type { SluiceError } from "./errors.ts";
import type { Position } from "./format/position.ts";

/** Commits were captured and cached as one segment. */
export interface WalEvent {
  /** Transactions in the segment. */
  readonly minTxid: number;
  readonly maxTxid: number;
  /** Bytes of the segment object. */
  readonly size: number;
}
export interface UploadEvent {
  readonly key: string;
  readonly position: Position;
  readonly size: number;
}
export interface SnapshotEvent {
  readonly key: string;
  readonly position: Position;
  /** Pages of the database. */
  readonly pages: number;
}
export interface SnapshotProgressEvent {
  readonly pages: number;
  readonly totalPages: number;
}
/** Before a snapshot at `position` is published, it is compared with what the replica's objects add up to. */
export type AuditEvent = Audit & { readonly position: Position };
export interface CacheOverflowEvent {
  /** Bytes of segments that were given up; a resync makes up for them. */
  readonly droppedBytes: number;
}
/** Local history could not be followed. `needed`: it is marked. `done`: one segment, now cached, makes up for it. */
export type ResyncEvent =
  | { readonly reason: string; readonly phase: "needed" }
  | {
      readonly reason: string;
      readonly phase: "done";
      /** Pages in that segment, of how many of the database: those that differed from the replica. */
      readonly pages: number;
      readonly pageCount: number;
      /** Why all pages had to go; null where the replica could be compared with. */
      readonly whole: string | null;
    };

/** The events of a replicator, by name. */
export interface ReplicatorEvents {
  wal: WalEvent;
  upload: UploadEvent;
  snapshot: SnapshotEvent;
  "snapshot-progress": SnapshotProgressEvent;
  audit: AuditEvent;
  "cache-overflow": CacheOverflowEvent;
  resync: ResyncEvent;
  fenced: SluiceError;
  /** Something failed that is being retried or that stopped replication; `status()` says which. */
  error: unknown;
}

/** An event of `Events`, which says for each name what its `detail` is. */
export class TypedEvent<Events, K extends keyof Events & string> extends Event {
  constructor(
    override readonly type: K,
    readonly detail: Events[K],
  ) {
    super(type);
  }
}

/** An EventTarget whose listeners know their event's `detail`. */
export class TypedEventTarget<Events> {
  readonly #target = new EventTarget();

  addEventListener<K extends keyof Events & string>(
    type: K,
    listener: (event: TypedEvent<Events, K>) => void,
    options?: { once?: boolean; signal?: AbortSignal },
  ): void {
    this.#target.addEventListener(type, listener as unknown as (event: Event) => void, options);
  }

  removeEventListener<K extends keyof Events & string>(
    type: K,
    listener: (event: TypedEvent<Events, K>) => void,
  ): void {
    this.#target.removeEventListener(type, listener as unknown as (event: Event) => void);
  }

  protected emit<K extends keyof Events & string>(type: K, detail: Events[K]): void {
    this.#target.dispatchEvent(new TypedEvent(type, detail));
  }
}

export type ReplicatorEvent<K extends keyof ReplicatorEvents> = TypedEvent<ReplicatorEvents, K>;
