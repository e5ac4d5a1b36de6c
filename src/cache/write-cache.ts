import type { Position } from "../format/position.ts";
import type { PutBody } from "../store/object-store.ts";

/**
 * A durable FIFO of finished, immutable level-0 segment objects, and beside them the one position record that says how far
 * capture has come. One contract suite (test/suites/write-cache.ts) holds for all. Every method that changes something is
 * durable when it returns or resolves.
 */
export interface SegmentQueue {
  /**
   * Opens the cache, once and before anything else, and drops what a crash left unfinished. Throws CacheError for an
   * unknown record version, and where what is there is damaged or does not form one chain; nothing is deleted then. An entry
   * that is damaged may stay in its place, if that is known: reading it says so.
   */
  load(): Promise<CacheState>;

  /**
   * Begins a segment. At most one is open at a time. `replacing`: entries that the new one stands for (a merge); they
   * are neighbours, they leave in the same durable step in which it arrives, and its range of txids covers theirs. None
   * of them is the head, whose upload may be under way: before the commit the caller makes sure that none has become it,
   * and aborts otherwise. (A queue behind a write cache leaves that to the write cache, and takes any neighbours.)
   */
  append(replacing?: readonly CacheEntry[]): QueueAppend;

  /**
   * Replaces the position record (a checkpoint, a restart of the WAL, a restore). While there are entries, `cached` is
   * where they end, unless the record says `resync`.
   */
  savePosition(record: PositionRecord): Awaitable;

  /**
   * Marks the replica for resync: durable before it returns, also on a full disk, and kept until a record without
   * `resync` is saved. On a full disk the reason may be replaced by a general one at the next load. Does nothing where
   * there is no record yet: nothing can be followed then anyway. Throws CacheError when even that is not possible.
   */
  markResync(reason: string): Awaitable;

  /** The entries, oldest first. The first is the head: its upload may be under way, so it is never merged or dropped. */
  entries(): readonly CacheEntry[];

  /**
   * The bytes of an entry, readable again and again until it is acknowledged, replaced or dropped. They are those that were
   * written, or reading them throws before its end: DamagedEntryError.
   */
  read(entry: CacheEntry): PutBody;

  /**
   * Exactly `length` bytes of an entry from `offset`. Throws DamagedEntryError where the entry has fewer; that they are those that
   * were written is for who reads to check.
   */
  readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array>;

  /**
   * Removes the head, which must be `entry`, after its upload. The position record stays. A failed ack is tried again;
   * until it succeeds the entry is listed, while its bytes may be gone.
   */
  ack(entry: CacheEntry): Promise<void>;

  /** Removes all entries but the head. Only while the replica is marked for resync. */
  dropBacklog(): Promise<void>;

  close(): Promise<void>;
}

/**
 * The queue between capture and upload. What the restart gate needs inside SQLite's lock requests, where nothing can be
 * awaited, is done when it returns.
 */
export interface WriteCache extends SegmentQueue {
  append(replacing?: readonly CacheEntry[]): CacheAppend;
  savePosition(record: PositionRecord): undefined;
  markResync(reason: string): undefined;

  /** Bytes that are free where it writes; no such method where nobody can say at once. */
  free?(): number;
}

export type Awaitable = undefined | Promise<void>;

export interface QueueAppend {
  /** Adds bytes of the object. The array may be reused by the caller once this returned or resolved. */
  write(chunk: Uint8Array): Awaitable;
  /**
   * Makes the entry and the position record durable in one step: after a crash both are there or neither. Entries form a
   * chain, each `from` the `to` before it, which ends at the record's `cached` (unless the record says `resync`). When it
   * fails, nothing has changed and the segment is forgotten.
   */
  commit(entry: CacheEntry, position: PositionRecord): Awaitable;
  /** Forgets the segment. Safe to call after a failed write or commit. */
  abort(): Awaitable;
}

export interface CacheAppend extends QueueAppend {
  write(chunk: Uint8Array): undefined;
  commit(entry: CacheEntry, position: PositionRecord): undefined;
  abort(): undefined;
  /**
   * Makes what was written durable beside the calling thread, so that `commit` is shorter; no such method where it would
   * not be. It may still be under way when the segment is committed or forgotten. What fails shows at the commit.
   */
  readonly syncBeside?: () => Promise<void>;
}

export interface CacheState {
  /** Null where nothing was ever recorded. */
  readonly position: PositionRecord | null;
  readonly entries: readonly CacheEntry[];
}

/**
 * The reason in a record whose entries were lost, and with them where the chain in the store ends: that has to be asked
 * there before anything is appended.
 */
export const CACHE_LOST = "the write cache lost its queue";

/** The reason in the record of a database that was put back to an earlier state: `onUnknownLocal` decides when it starts. */
export const WENT_BACK = "the database was restored to an earlier state";

/**
 * The reason while that is under way: the database may still be the one before. Which
 * one it is, a comparison with the replica's newest state tells.
 */
export const GOING_BACK = "the database is being restored to an earlier state";

/** One segment waiting for upload. */
export interface CacheEntry {
  readonly from: Position;
  readonly to: Position;
  /** Bytes of the object. */
  readonly size: number;
  /** Time of the first commit in it, milliseconds since 1970. */
  readonly time: number;
}

/** Of their objects together. */
export function bytesOf(entries: readonly CacheEntry[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}

/**
 * How far capture has come, and how to recognise at the next start that the local database continues from there.
 * All of it is JSON; `version` is checked before anything else is read.
 */
export interface PositionRecord {
  readonly version: 1;
  /** 32 hex digits, the replica's identity, fixed when replication of this database began. */
  readonly lineage: string;
  /** 32 hex digits, this cache's identity, fixed when it was made. */
  readonly writer: string;
  /** The last cached position. */
  readonly cached: Position;
  /** Database size in pages at `cached`, as SQLite counts them: never more than the WAL does. */
  readonly pageCount: number;
  /** Bytes. */
  readonly pageSize: number;
  /** Time of the last commit up to `cached`, milliseconds since 1970; never goes backwards. */
  readonly time: number;
  /** Where in the WAL `cached` stands; null: the WAL was empty and all is in the main file. */
  readonly wal: WalPosition | null;
  /** The main file as it was after the last checkpoint and its sync; null when it was never taken. */
  readonly fingerprint: string | null;
  /** Present: local history cannot be followed from here, and why. */
  readonly resync?: string;
  /**
   * Present: the chain that leads to this transaction is damaged, and nothing from it on restores without a snapshot at it or
   * later. It stays when there is one, which the store tells.
   */
  readonly snapshotOwed?: number;
  /** Present: heads that were given up, and may have been sent before: what of them arrives late is our own. */
  readonly givenUp?: GivenUp;
}

/** Heads of the cache at one position, each of which was to lead on from there. */
export interface GivenUp {
  readonly from: Position;
  readonly to: readonly Position[];
}

export interface WalPosition {
  readonly salt1: number;
  readonly salt2: number;
  /** Number of the last cached frame, from 1. */
  readonly frame: number;
  /** That frame's cumulative checksum. */
  readonly checksum1: number;
  readonly checksum2: number;
}
