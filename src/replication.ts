import type { CacheEntry } from "./cache/write-cache.ts";
import type { Settings } from "./config.ts";
import { DrainTask } from "./drain-task.ts";
import { Drainer } from "./drainer.ts";
import { ReplicaFencedError, StateError } from "./errors.ts";
import type { AuditEvent, ReplicatorEvents } from "./events.ts";
import type { Position } from "./format/position.ts";
import { RestartGate } from "./gate.ts";
import { HousekeepingTask } from "./housekeeping-task.ts";
import { KnownTail } from "./known-tail.ts";
import { leave } from "./leave.ts";
import { loadUpkeep } from "./load.ts";
import { Loop } from "./loop.ts";
import { OverflowTask } from "./overflow-task.ts";
import type { Platform } from "./platform.ts";
import type { StoredInfo } from "./replica.ts";
import { ResyncTask } from "./resync-task.ts";
import { SnapshotTask } from "./snapshot-task.ts";
import type { Started } from "./start.ts";
import { type ReplicationStatus, runningStatus } from "./status.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { SnapshotContext } from "./take-snapshot.ts";
import { UploadTask, type UploadTaskOptions } from "./upload-task.ts";
import type { ShimVfs } from "./vfs/shim.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";

/** Bytes of WAL that may wait for a cache that fails, before a resync is marked and the WAL may be restarted. */
const WAL_LIMIT = 64 << 20;

export interface ReplicationOptions {
  readonly platform: Platform;
  readonly store: ObjectStore;
  readonly settings: Settings;
  readonly shim: ShimVfs;
  readonly database: ShimDatabase;
  readonly started: Started;
  readonly emit: <K extends keyof ReplicatorEvents>(type: K, detail: ReplicatorEvents[K]) => void;
  readonly statusLine: () => string;
}

/**
 * What runs between `start` and `stop`: the watermarks, and one loop of tasks (drain, overflow, upload, snapshot, resync,
 * housekeeping) that says when each is due. How each is done stands in the file of its name.
 */
export class Replication {
  readonly #o: ReplicationOptions;
  readonly #drainer: Drainer;
  readonly #gate: RestartGate;
  readonly #loop: Loop;
  readonly #drains: DrainTask;
  readonly #resyncs: ResyncTask;
  readonly #uploads: UploadTask;
  /** What taking and checking a state of the database needs. */
  readonly #pinning: SnapshotContext;
  readonly #snapshots: SnapshotTask;
  readonly #housekeeping: HousekeepingTask;
  readonly #ending = new AbortController();
  readonly #verifying = new Set<Promise<unknown>>();
  #lastError: unknown = null;
  #lastAudit: ReplicationStatus["lastAudit"] = null;

  constructor(options: ReplicationOptions) {
    this.#o = options;
    const { platform, settings, started, store, database, emit } = options;
    const { cache, codecs, clock } = platform;
    const { local, capture, record } = started;
    const { signal } = this.#ending;
    const fail = (error: unknown) => this.#fail(error);
    this.#drainer = new Drainer({
      capture,
      wal: local.wal,
      cache,
      codecs,
      clock,
      record,
      maxCacheSize: settings.maxCacheSize,
      mainPage: (pgno, pageSize) => local.mainPage(pgno, pageSize),
      onCached: (entry) => this.#noteCached(entry),
    });
    this.#gate = new RestartGate({
      database,
      capture,
      local,
      cache,
      drainer: this.#drainer,
      fingerprint: () => platform.fingerprint(),
      walLimit: WAL_LIMIT,
      tooMuch: () => overflows.tooMuch(),
      onCommit: () => this.#noteCommit(),
      onFailure: fail,
      onResync: (reason) => this.#soon(() => emit("resync", { reason, phase: "needed" })),
      onWalFull: () => this.#soon(() => this.#makeRoom()),
      statusLine: options.statusLine,
    });
    const { lineage, writer } = record;
    const claim = { version: 1, lineage, writer, created: clock.now() } as const;
    const onBare = () => {
      this.#uploads.forgetClaim();
      this.#snapshots.lost();
    };
    const tail = new KnownTail({ store, lineage, writer, codecs, clock, onBare });
    this.#uploads = new UploadTask({
      context: {
        store,
        cache,
        codecs,
        clock,
        tail,
        claim,
        claimed: false,
        isStored: (entry) => this.#drainer.isStored(entry),
      },
      intervalMs: settings.uploadIntervalMs,
      signal,
      merge: () => this.#mergeBacklog(),
      uploaded: () => this.#uploadedPosition,
      onUploaded: (entry, object) => this.#noteUploaded(entry, object),
      giveUp: (head, error) => this.#giveUp(head, error),
      onFailed: fail,
    });
    this.#pinning = {
      platform,
      store,
      local,
      capture,
      drainer: this.#drainer,
      onPages: (pages, totalPages) => emit("snapshot-progress", { pages, totalPages }),
      onAudit: (audit) => this.#noteAudit(audit),
      requireResync: (reason) => this.#requireResync(reason),
      uploadedPosition: () => this.#uploadedPosition,
      uploaded: async (txid) => {
        // The one that uploads looks, so that nothing goes up meanwhile.
        if (!tail.known) {
          this.#uploads.forgetTail();
          await this.#loop.run(this.#uploads);
        }
        await this.#uploads.claim();
        if (this.#uploaded >= txid) return;
        const done = this.#uploads.waitWithoutRetry(txid, signal);
        this.#loop.wake();
        await done;
      },
      requireNoOther: async () => {
        this.#uploads.lookForOther();
        await this.#loop.run(this.#uploads);
        await this.#uploads.claim();
      },
    };
    this.#snapshots = new SnapshotTask({
      context: this.#pinning,
      intervalMs: settings.snapshotIntervalSecs * 1000,
      signal,
      paused: () => this.#uploads.fenced !== null || this.#drainer.record.resync !== undefined,
      onTaken: ({ key, position, pageCount }) => {
        this.#housekeeping.snapshotTaken();
        emit("snapshot", { key, position, pages: pageCount });
      },
      onFailed: fail,
    });
    this.#housekeeping = new HousekeepingTask({
      platform,
      store,
      lineage,
      compaction: settings.compaction,
      retention: settings.retention,
      signal,
      paused: () => this.#uploads.fenced !== null,
      pinned: () => this.#drainer.pinned,
      onFailed: fail,
    });
    this.#drains = new DrainTask({
      clock,
      capture,
      local,
      drainer: this.#drainer,
      gate: this.#gate,
      syncIntervalMs: settings.syncIntervalMs,
      checkpointPages: settings.checkpointPages,
      paused: () => this.#uploads.fenced !== null || this.#drainer.record.resync !== undefined,
      awaited: () => this.#uploads.awaited,
      onFailed: fail,
    });
    this.#resyncs = new ResyncTask({
      platform,
      store,
      local,
      capture,
      drainer: this.#drainer,
      signal,
      paused: () => this.#uploads.fenced !== null,
      onDone: (done) => {
        this.#drains.begin();
        // What could not be read cannot be restored either, until there is a snapshot behind it.
        if (done.whole !== null) this.#snapshots.want();
        emit("resync", done);
      },
      onFailed: fail,
    });
    const overflows = new OverflowTask({
      platform,
      drainer: this.#drainer,
      maxCacheSize: settings.maxCacheSize,
      onOverflow: (droppedBytes, reason) => {
        emit("cache-overflow", { droppedBytes });
        if (reason !== null) emit("resync", { reason, phase: "needed" });
      },
      onFailed: fail,
    });
    this.#loop = new Loop(clock, [
      this.#drains,
      overflows,
      this.#uploads,
      this.#snapshots,
      this.#resyncs,
      this.#housekeeping,
    ]);
    database.policy = this.#gate;
  }

  begin(): void {
    const { resync: reason } = this.#o.started;
    if (reason !== null) this.#o.emit("resync", { reason, phase: "needed" });
    this.#drains.begin();
    this.#loop.wake();
  }

  #noteCommit(): void {
    if (this.#drains.noteCommit()) this.#loop.wake();
  }

  /** Also called from within a lock request. */
  #noteCached(entry: CacheEntry): void {
    this.#drains.noteCached();
    const { from, to, size } = entry;
    this.#soon(() => this.#o.emit("wal", { minTxid: from.txid + 1, maxTxid: to.txid, size }));
  }

  #noteUploaded({ from, to }: CacheEntry, object: StoredInfo): void {
    this.#snapshots.uploaded(object);
    this.#housekeeping.uploaded(from, object);
    this.#o.emit("upload", { ...object, position: to });
  }

  #noteAudit(audit: AuditEvent): void {
    const { position, outcome } = audit;
    this.#lastAudit = { txid: position.txid, time: this.#o.platform.clock.now(), outcome };
    this.#o.emit("audit", audit);
    // Where it differs, the snapshot itself fails.
    if (audit.outcome === "unreadable") this.#fail(audit.error);
  }

  async #requireResync(reason: string): Promise<void> {
    while (this.#drainer.busy) await this.#drainer.settled();
    if (this.#drainer.record.resync !== undefined) return;
    this.#drainer.markResync(reason);
    this.#o.emit("resync", { reason, phase: "needed" });
    this.#loop.wake();
  }

  async #giveUp(...why: Parameters<UploadTaskOptions["giveUp"]>): Promise<void> {
    const { giveUp } = await loadUpkeep();
    const reason = await giveUp(this.#o.platform.cache, this.#drainer, ...why);
    if (reason !== null) this.#o.emit("resync", { reason, phase: "needed" });
  }

  /** For notes made inside SQLite's calls: listeners run outside of them. */
  #soon(note: () => void): void {
    this.#o.platform.clock.after(0, true, () => {
      note();
      this.#loop.wake();
    });
  }

  #fail(error: unknown): true {
    this.#lastError = error;
    // Whoever found out: a snapshot, which claims the prefix too, or a resync, which looks at the end of the chain.
    if (error instanceof ReplicaFencedError) {
      this.#gate.abandon();
      this.#uploads.fence(error);
    }
    const type = error instanceof ReplicaFencedError ? "fenced" : "error";
    if (!this.#ending.signal.aborted) this.#soon(() => this.#o.emit(type, error as ReplicaFencedError));
    return true;
  }

  get #uploadedPosition(): Position {
    return this.#o.platform.cache.entries()[0]?.from ?? this.#drainer.record.cached;
  }

  get #uploaded(): number {
    return this.#uploadedPosition.txid;
  }

  #makeRoom(): void {
    void this.#drains.makeRoom(() => this.#loop.run(this.#drains), this.#ending.signal);
  }

  /** Requests cost, and many small segments as much as few. Where it fails they go up as they are. */
  async #mergeBacklog(): Promise<void> {
    // A drain is due when uploads are; what it adds is worth the wait, which nobody minds: see UploadTask.
    while (this.#drainer.busy) await this.#drainer.settled();
    if (this.#drainer.record.resync !== undefined) return;
    await this.#drainer.merge().catch((error: unknown) => this.#fail(error));
  }

  async waitUntilUploaded(txid?: number, signal?: AbortSignal): Promise<void> {
    const last = this.#o.started.capture.captured.txid;
    if (txid !== undefined && txid > last)
      throw new StateError(`transaction ${txid} is not committed; the last one is ${last}`);
    await this.#waitFor(txid ?? last, signal);
  }

  async #waitFor(txid: number, signal?: AbortSignal): Promise<void> {
    const { capture } = this.#o.started;
    if (this.#uploaded >= txid && this.#drainer.record.resync === undefined) return;
    // What capture lost is in the store when the resync is, which counts as one transaction more.
    const done = this.#uploads.wait(capture.broken === null ? txid : capture.captured.txid + 1, signal);
    this.#loop.wake();
    await done;
  }

  async flush(): Promise<void> {
    await this.#loop.run(this.#drains);
    await this.#loop.run(this.#uploads);
    if (this.#drainer.record.resync === undefined) return;
    await this.#loop.run(this.#resyncs);
    await this.#loop.run(this.#uploads);
  }

  lookAgain(): void {
    this.#uploads.forgetTail();
    this.#loop.retry();
  }

  async snapshot(): Promise<void> {
    if (this.#uploads.fenced !== null) throw this.#uploads.fenced;
    if (this.#drainer.record.resync !== undefined) await this.flush();
    this.#snapshots.want();
    await this.#loop.run(this.#snapshots);
    // The run before it may have found out: this one then took none.
    if (this.#uploads.fenced !== null) throw this.#uploads.fenced;
  }

  async verify(): Promise<AuditEvent> {
    if (this.#uploads.fenced !== null) throw this.#uploads.fenced;
    if (this.#drainer.record.resync !== undefined) await this.flush();
    const { verifyLocal } = await loadUpkeep();
    const verifying = verifyLocal(this.#pinning, this.#ending.signal);
    this.#verifying.add(verifying);
    return verifying.finally(() => this.#verifying.delete(verifying));
  }

  /** Whether the application has connections open. */
  get connected(): boolean {
    const { shim, database, started } = this.#o;
    return shim.connections(database) > started.local.connections;
  }

  status(): ReplicationStatus {
    const { platform, started } = this.#o;
    return runningStatus({
      cache: platform.cache,
      now: platform.clock.now(),
      capture: started.capture,
      record: this.#drainer.record,
      uploads: this.#uploads,
      lastSnapshot: this.#snapshots.newest,
      lastAudit: this.#lastAudit,
      deletionRefused: this.#housekeeping.refused,
      lastError: this.#lastError,
    });
  }

  /** Flushes within the time limit, ends the loop, and leaves one plain file where that is possible. */
  async stop(detach: boolean): Promise<void> {
    const { platform, settings } = this.#o;
    const timer = platform.clock.after(settings.stopTimeoutMs, true, () => this.#ending.abort(stopped()));
    try {
      await this.#loop.run(this.#drains);
      await this.#waitFor(this.#o.started.capture.captured.txid, this.#ending.signal);
      // Without a first snapshot nothing can be restored, nor without one behind what is damaged.
      if (this.#snapshots.holding) await this.#loop.run(this.#snapshots);
    } catch (error) {
      this.#lastError = error;
    } finally {
      timer.cancel();
    }
    this.#ending.abort(stopped());
    this.#uploads.end(stopped());
    await Promise.allSettled([this.#loop.end(), ...this.#verifying]);
    while (this.#drainer.busy) await this.#drainer.settled();
    await leave(
      {
        platform,
        database: this.#o.database,
        started: this.#o.started,
        gate: this.#gate,
        drainer: this.#drainer,
        connected: this.connected,
      },
      detach,
    );
  }
}

function stopped(): StateError {
  return new StateError("replication was stopped");
}
