import { assert } from "./assert.ts";
import { bytesOf, type CacheEntry, type PositionRecord, type WriteCache } from "./cache/write-cache.ts";
import { type DrainContext, type Drained, drain, pace, runSteps, type Steps } from "./drain.ts";
import { CacheError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { Interruption } from "./interruption.ts";
import { loadUpkeep } from "./load.ts";
import type { Clock } from "./platform.ts";
import type { Capture } from "./vfs/capture.ts";
import type { WalReader } from "./wal/wal-reader.ts";

export interface DrainerOptions {
  readonly capture: Capture;
  readonly wal: WalReader;
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly mainPage: DrainContext["mainPage"];
  readonly clock: Clock;
  readonly record: PositionRecord;
  /** Bytes that the cache may hold. */
  readonly maxCacheSize: number;
  readonly onCached: (entry: CacheEntry) => void;
}

/** Bytes of a segment that a gate stores as it is, at the most: to be packed in memory before it goes up. */
const STORE_MOST = 32 << 20;

/**
 * Of what the disk has free, as much may be taken for what is much smaller packed: the checkpoint that follows may need as
 * much again for the main file, and without it the WAL has no room to grow.
 */
const STORE_OF_FREE = 1 / 4;

/** A cached position that somebody names. */
export interface Pin {
  readonly txid: number;
  /** The record of that position; null as long as it is not cached. */
  record: PositionRecord | null;
}

/**
 * One drain at a time, whoever asks: the loop, step by step between turns of the event loop, or the restart gate, all at
 * once inside a lock request. A drain that the loop has begun is then simply finished by the gate.
 */
export class Drainer {
  readonly #options: DrainerOptions;
  #record: PositionRecord;
  #steps: Steps<void> | null = null;
  #taken = false;
  /** The merge that has taken it, and that a gate may interrupt. */
  #merge: Interruption | null = null;
  #waiting: (() => void)[] = [];
  readonly #pins = new Set<Pin>();
  /** Ids of segments whose blocks are stored as they are. A later run does not know of them, and sends them so. */
  #stored: readonly string[] = [];

  constructor(options: DrainerOptions) {
    this.#options = options;
    this.#record = options.record;
  }

  /** The newest durable record. */
  get record(): PositionRecord {
    return this.#record;
  }

  /** Whether something holds the cache open for writing. */
  get busy(): boolean {
    return this.#steps !== null || this.#taken;
  }

  /** Resolves when nothing holds the cache open for writing. Somebody may again by the time it is heard. */
  async settled(): Promise<void> {
    if (this.busy) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #settle(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /**
   * Caches what is captured now. When nobody is `busy`, what it carries is fixed before it returns its promise. Rejects
   * when that fails; the commits are then still pending.
   */
  async drain(): Promise<void> {
    const { capture, clock } = this.#options;
    const { txid } = capture.captured;
    do {
      while (this.busy) await this.settled();
      const steps = this.#begin(null, null);
      if (steps === null) return;
      await pace(
        steps,
        () => clock.now(),
        () => clock.turn(),
      );
      // A gate that ran it may have failed, and told nobody who waits here.
    } while (this.#record.cached.txid < txid);
  }

  /**
   * The same without leaving the stack, for the gate: afterwards everything captured is cached, and the record says that
   * the main file, as `fingerprint` describes it, holds all of it. A merge under way is given up for it. False where the
   * cache is taken otherwise.
   */
  drainNow(fingerprint: string | null): boolean {
    if (this.#merge !== null) this.#interrupt(this.#merge);
    if (this.#taken) return false;
    if (this.#steps !== null) runSteps(this.#steps);
    if (!this.#runNow(fingerprint) && this.#record.fingerprint !== fingerprint) {
      const record = { ...this.#record, fingerprint };
      this.#options.cache.savePosition(record);
      this.#record = record;
    }
    return true;
  }

  /** False where nothing is to be drained. What the disk has no room for as it is, although it seemed so, may fit in packed. */
  #runNow(fingerprint: string | null): boolean {
    const room = this.#room();
    const steps = this.#begin(fingerprint, room);
    if (steps === null) return false;
    try {
      runSteps(steps);
    } catch (error) {
      if (room === 0 || !(error instanceof CacheError && error.full)) throw error;
      runSteps(this.#begin(fingerprint, 0)!);
    }
    return true;
  }

  #noteStored(entry: CacheEntry): void {
    const waiting = this.#options.cache.entries().filter((other) => this.isStored(other));
    this.#stored = [...waiting, entry].map(({ to }) => to.id);
  }

  /** Whether the blocks of an entry wait to be packed. */
  isStored(entry: CacheEntry): boolean {
    return this.#stored.includes(entry.to.id);
  }

  /**
   * Bytes that the cache may take of pages as they are. None where it is empty: what is its head stays as it is for as long
   * as the store cannot be reached, and all others are merged when room gets scarce.
   */
  #room(): number {
    const { cache, maxCacheSize } = this.#options;
    const entries = cache.entries();
    if (entries.length === 0) return 0;
    const free = cache.free?.() ?? Number.POSITIVE_INFINITY;
    return Math.min(STORE_MOST, maxCacheSize - bytesOf(entries), free * STORE_OF_FREE);
  }

  #begin(fingerprint: string | null, storeUpTo: number | null): Steps<void> | null {
    const span = this.#options.capture.span();
    if (span === null) return null;
    const now = () => this.#options.clock.now();
    const context = { ...this.#options, record: this.#record, now, storeUpTo };
    this.#steps = this.#run(drain(context, span, fingerprint));
    return this.#steps;
  }

  *#run(steps: Steps<Drained>): Steps<void> {
    try {
      const { entry, record, stored } = yield* steps;
      this.#record = record;
      if (stored) this.#noteStored(entry);
      for (const pin of this.#pins) if (pin.txid === record.cached.txid) pin.record ??= record;
      this.#options.onCached(entry);
    } finally {
      this.#steps = null;
      this.#settle();
    }
  }

  /** Takes the cache for something else that writes to it (a resync, the end of a backlog), whose record replaces the newest one. */
  async exclusively(write: () => Promise<PositionRecord>): Promise<void> {
    assert(!this.busy, "one writer of the cache at a time");
    this.#taken = true;
    try {
      this.#record = await write();
    } finally {
      this.#taken = false;
      this.#settle();
    }
  }

  /**
   * The position after a transaction, now or when the drain that begins next has cached it, keeps its id until `unpin`: a
   * merge would give the end of what it merges another. Noted as it is cached: the drain behind that may end before
   * anybody is told.
   */
  pin(txid: number): Pin {
    assert(
      !this.busy && txid >= this.#record.cached.txid,
      "a position is pinned before anything behind it is cached",
    );
    const pin = { txid, record: this.#record.cached.txid === txid ? this.#record : null };
    this.#pins.add(pin);
    return pin;
  }

  unpin(pin: Pin): void {
    this.#pins.delete(pin);
  }

  /** False once the pinned position will not be in the store. */
  holds(pin: Pin): boolean {
    return this.#pins.has(pin);
  }

  /** The transactions of the positions that are pinned. */
  get pinned(): number[] {
    return [...this.#pins].map(({ txid }) => txid);
  }

  /** What is cached behind a transaction is to be dropped, and pinned positions with it. */
  dropBehind(txid: number): void {
    for (const pin of this.#pins) if (pin.txid > txid) this.#pins.delete(pin);
  }

  /** Nothing can be followed from here on: durable when it returns, and from then on nothing is drained until a resync. */
  markResync(reason: string): void {
    assert(!this.busy, "a resync is marked while nothing is written");
    this.#options.cache.markResync(reason);
    this.adopt({ ...this.#record, resync: reason });
    this.#options.capture.giveUp(reason);
  }

  /** Merges the backlog, unless a gate needs the cache before it is done. Returns whether fewer wait than before. */
  async merge(): Promise<boolean> {
    const { mergeBacklog } = await loadUpkeep();
    if (this.busy) return false;
    const merge = new Interruption();
    this.#merge = merge;
    this.#taken = true;
    try {
      const keepUpTo = Math.max(0, ...[...this.#pins].map(({ txid }) => txid));
      const context = { ...this.#options, record: this.#record, keepUpTo };
      return await mergeBacklog(context, merge, (record) => this.adopt(record));
    } finally {
      if (!merge.given) this.#interrupt(merge);
    }
  }

  #interrupt(merge: Interruption): void {
    merge.give();
    this.#merge = null;
    this.#taken = false;
    this.#settle();
  }

  /** A record that was made durable elsewhere. */
  adopt(record: PositionRecord): void {
    this.#record = record;
  }
}
