import type { WriteCache } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { fault } from "./faults.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { Capture } from "./vfs/capture.ts";
import type { DatabasePolicy, ShimDatabase } from "./vfs/shim-database.ts";
import { walFrameHeaderSize } from "./wal/wal-format.ts";

const CACHE_FAILED = "the write cache failed";

/**
 * Bytes of WAL from which SQLite's own checkpoints pass, and the gate drains for them. A commit that does not wait for
 * the loop's drain pays for one of its own with every WAL of this size, so smaller costs more; larger holds it up longer.
 * Measured (test/bench, case commit, synchronous=NORMAL): 4 MiB has 0.8× the throughput of no replication; from 16 to 24
 * MiB the replicated loop takes a tenth less processor time.
 */
const DRAIN_AT = 24 << 20;

export interface GateOptions {
  readonly database: ShimDatabase;
  readonly capture: Capture;
  readonly local: LocalDatabase;
  readonly drainer: Drainer;
  readonly cache: WriteCache;
  readonly fingerprint: () => string | null;
  /** Bytes of WAL that may wait for a cache that fails, before its commits are given up for a resync. */
  readonly walLimit: number;
  /** See OverflowTask. */
  readonly tooMuch: () => string | null;
  readonly onCommit: () => void;
  readonly onFailure: (error: unknown) => void;
  readonly onResync: (reason: string) => void;
  /** The WAL has no room to grow. Called inside a write. */
  readonly onWalFull: () => void;
  readonly statusLine: () => string;
}

/**
 * Decides whether SQLite may restart the WAL, which overwrites its frames: only when every captured commit is cached, or
 * when a durable mark says that the replica must be resynced. It drains at once and lets the request pass, so no commit
 * ever waits for a timer: for a checkpoint that the application asks for, and for
 * SQLite's own once the WAL is large enough to be worth it. Below that the loop drains and checkpoints.
 */
export class RestartGate implements DatabasePolicy {
  readonly #options: GateOptions;
  /** A drain at the gate failed; until the loop's next try it is not repeated with every commit. */
  #failing = false;
  /** Frames that the WAL has room for, where it met the end of it; then it cannot wait for a cache that fails. */
  #room: number | null = null;
  /** Nobody will cache any more (stopped, fenced for good), or a resync is due anyway: the mark decides. */
  #open = false;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  mayRestart(): boolean {
    const { capture } = this.#options;
    if (this.#open) return this.#pass();
    if (capture.broken !== null) return this.#mark(capture.broken);
    if (this.#failing) return this.#giveUpAtLimit();
    return this.#cache(() => this.#drain());
  }

  /** The cache fails. Its commits wait in the WAL, as long as that may grow and can. */
  #giveUpAtLimit(): boolean {
    return this.#walExceeds(this.#room === null ? this.#options.walLimit : 0) && this.#mark(CACHE_FAILED);
  }

  /**
   * Where the cache holds too much already and nobody does anything about it, the application has not yielded since: it leaves
   * no time to merge or to upload. So nothing more is cached, and a resync is to carry it.
   */
  #cache(drain: () => boolean): boolean {
    const { drainer, tooMuch } = this.#options;
    const reason = drainer.busy ? null : tooMuch();
    return reason === null ? this.#try(drain) : this.#mark(reason);
  }

  #try(drain: () => boolean): boolean {
    try {
      return drain();
    } catch (error) {
      this.#failing = true;
      this.#options.onFailure(error);
      return false;
    }
  }

  /** Nobody caches any more: what is not cached is marked, and where all is, the record says so for the next start. */
  #pass(): boolean {
    const { database, capture, drainer, fingerprint } = this.#options;
    if (capture.pending || capture.broken !== null) return this.#mark("replication was not running");
    if (!database.mainDirty) this.#try(() => drainer.drainNow(fingerprint()));
    return true;
  }

  /** All frames are in the main file when a restart is asked for: so the record may say so. */
  #drain(): boolean {
    const { database, local, drainer, fingerprint } = this.#options;
    if (database.mainDirty) local.syncMain();
    const drained = drainer.drainNow(fingerprint());
    fault("gate:drained");
    return drained;
  }

  /**
   * A checkpoint changes the main file, so after it the record's fingerprint no longer fits; a crash is then followed by
   * the WAL alone, and that takes a record that names a frame of this WAL.
   */
  mayCheckpoint(asked: boolean): boolean {
    const { capture, drainer } = this.#options;
    if (this.#open || !capture.pending) return true;
    // What is not checkpointed is never restarted either: past the limit the mark lets both happen.
    if (this.#failing) return this.#giveUpAtLimit();
    if (!asked && !this.#walExceeds(DRAIN_AT)) return false;
    if (this.#recordsThisWal()) return true;
    return this.#cache(() => drainer.drainNow(null));
  }

  #recordsThisWal(): boolean {
    const { capture, drainer } = this.#options;
    const recorded = drainer.record.wal;
    const current = capture.captured.wal;
    return recorded !== null && recorded.salt1 === current?.salt1 && recorded.salt2 === current.salt2;
  }

  committed(): void {
    const { capture, onCommit, onWalFull } = this.#options;
    if (capture.broken !== null) this.#mark(capture.broken);
    // Early, so that the next commits do not meet the end of it again.
    if (this.#room !== null && this.#frames > this.#room / 2) onWalFull();
    onCommit();
  }

  statusLine(): string {
    return this.#options.statusLine();
  }

  /** The loop is about to drain: the gate may too. */
  retry(): void {
    this.#failing = false;
  }

  /** The loop could not. Until its next try the gate does not try either; the WAL may have to make room now. */
  failed(): void {
    this.#failing = true;
    if (this.#room !== null) this.#giveUpAtLimit();
  }

  walFull(): void {
    this.#room = this.#frames;
    this.#options.onWalFull();
  }

  /** The cache has room, and so has the WAL. */
  forgetWalFull(): void {
    this.#room = null;
  }

  get #frames(): number {
    return this.#options.capture.captured.wal?.frame ?? 0;
  }

  /** From now on no commit is cached any more. */
  abandon(): void {
    this.#open = true;
  }

  #walExceeds(bytes: number): boolean {
    return this.#frames * (this.#options.capture.captured.pageSize + walFrameHeaderSize) > bytes;
  }

  /** The mark is durable before the WAL goes; where it cannot be made, the WAL stays and grows. */
  #mark(reason: string): boolean {
    const { capture, cache, drainer } = this.#options;
    if (drainer.busy) return false;
    if (!capture.pending && capture.broken === null) return true;
    if (drainer.record.resync === undefined) {
      try {
        cache.markResync(reason);
      } catch (error) {
        this.#options.onFailure(error);
        return false;
      }
      drainer.adopt({ ...drainer.record, resync: reason });
      this.#options.onResync(reason);
    }
    capture.giveUp(reason);
    return true;
  }
}
