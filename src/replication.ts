import type { CacheEntry } from "./cache/write-cache.ts";
import { ReplicaFencedError, type SluiceError, StateError } from "./errors.ts";
import type { AuditEvent } from "./events.ts";
import type { Position } from "./format/position.ts";
import { leave } from "./leave.ts";
import { loadUpkeep } from "./load.ts";
import type { StoredInfo } from "./replica.ts";
import { type ReplicationStatus, runningStatus } from "./status.ts";
import { Tasks, type TasksContext } from "./tasks.ts";
import type { UploadTaskOptions } from "./upload-task.ts";
import type { ShimVfs } from "./vfs/shim.ts";

export interface ReplicationOptions extends Omit<TasksContext, "signal"> {
  readonly shim: ShimVfs;
}

/**
 * What runs between `start` and `stop`: the watermarks, and one loop of tasks (drain, overflow, upload, snapshot, resync,
 * housekeeping) that says when each is due. How each is done stands in the file of its name, how they are joined in tasks.ts.
 */
export class Replication {
  readonly #o: ReplicationOptions;
  readonly #tasks: Tasks;
  readonly #ending = new AbortController();
  readonly #verifying = new Set<Promise<unknown>>();
  #lastError: unknown = null;
  #lastAudit: ReplicationStatus["lastAudit"] = null;

  constructor(options: ReplicationOptions) {
    this.#o = options;
    const context = { ...options, signal: this.#ending.signal };
    this.#tasks = new Tasks(context, {
      fail: (error) => this.#fail(error),
      soon: (note) => this.#soon(note),
      onCommit: () => this.#noteCommit(),
      onCached: (entry) => this.#noteCached(entry),
      onUploaded: (entry, object) => this.#noteUploaded(entry, object),
      onAudit: (audit) => this.#noteAudit(audit),
      requireResync: (reason) => this.#requireResync(reason),
      giveUp: (head, error) => this.#giveUp(head, error),
      mergeBacklog: () => this.#mergeBacklog(),
      makeRoom: () => this.#makeRoom(),
      uploadedPosition: () => this.#uploadedPosition,
      onBroken: (damage) => this.#oweSnapshot(damage),
    });
  }

  begin(): void {
    const { resync: reason } = this.#o.started;
    if (reason !== null) this.#o.emit("resync", { reason, phase: "needed" });
    this.#tasks.drains.begin();
    this.#tasks.loop.wake();
  }

  #noteCommit(): void {
    if (this.#tasks.drains.noteCommit()) this.#tasks.loop.wake();
  }

  /** Also called from within a lock request. */
  #noteCached(entry: CacheEntry): void {
    this.#tasks.drains.noteCached();
    const { from, to, size } = entry;
    this.#soon(() => this.#o.emit("wal", { minTxid: from.txid + 1, maxTxid: to.txid, size }));
  }

  #noteUploaded({ from, to }: CacheEntry, object: StoredInfo): void {
    this.#tasks.snapshots.uploaded(object);
    this.#tasks.housekeeping.uploaded(from, object);
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
    while (this.#tasks.drainer.busy) await this.#tasks.drainer.settled();
    if (this.#tasks.drainer.record.resync !== undefined) return;
    this.#tasks.drainer.markResync(reason);
    this.#o.emit("resync", { reason, phase: "needed" });
    this.#tasks.loop.wake();
  }

  /** A snapshot makes the replica whole again, also where this process does not come to it. */
  async #oweSnapshot(damage: SluiceError): Promise<void> {
    const { drainer, snapshots } = this.#tasks;
    while (drainer.busy) await drainer.settled();
    const owing = { ...drainer.record, snapshotOwed: this.#uploaded };
    this.#o.platform.cache.savePosition(owing);
    drainer.adopt(owing);
    this.#fail(damage);
    snapshots.want();
  }

  async #giveUp(...why: Parameters<UploadTaskOptions["giveUp"]>): Promise<void> {
    const { giveUp } = await loadUpkeep();
    const reason = await giveUp(this.#o.platform.cache, this.#tasks.drainer, ...why);
    if (reason !== null) this.#o.emit("resync", { reason, phase: "needed" });
  }

  /** For notes made inside SQLite's calls: listeners run outside of them. */
  #soon(note: () => void): void {
    this.#o.platform.clock.after(0, true, () => {
      note();
      this.#tasks.loop.wake();
    });
  }

  #fail(error: unknown): true {
    this.#lastError = error;
    // Whoever found out: a snapshot, which claims the prefix too, or a resync, which looks at the end of the chain.
    if (error instanceof ReplicaFencedError) {
      this.#tasks.gate.abandon();
      this.#tasks.uploads.fence(error);
    }
    const type = error instanceof ReplicaFencedError ? "fenced" : "error";
    if (!this.#ending.signal.aborted) this.#soon(() => this.#o.emit(type, error as ReplicaFencedError));
    return true;
  }

  get #uploadedPosition(): Position {
    return this.#o.platform.cache.entries()[0]?.from ?? this.#tasks.drainer.record.cached;
  }

  get #uploaded(): number {
    return this.#uploadedPosition.txid;
  }

  #makeRoom(): void {
    void this.#tasks.drains.makeRoom(() => this.#tasks.loop.run(this.#tasks.drains), this.#ending.signal);
  }

  /** Requests cost, and many small segments as much as few. Where it fails they go up as they are. */
  async #mergeBacklog(): Promise<void> {
    // A drain is due when uploads are; what it adds is worth the wait, which nobody minds: see UploadTask.
    while (this.#tasks.drainer.busy) await this.#tasks.drainer.settled();
    if (this.#tasks.drainer.record.resync !== undefined) return;
    await this.#tasks.drainer.merge().catch((error: unknown) => this.#fail(error));
  }

  async waitUntilUploaded(txid?: number, signal?: AbortSignal): Promise<void> {
    const last = this.#o.started.capture.captured.txid;
    if (txid !== undefined && txid > last)
      throw new StateError(`transaction ${txid} is not committed; the last one is ${last}`);
    await this.#waitFor(txid ?? last, signal);
  }

  async #waitFor(txid: number, signal?: AbortSignal): Promise<void> {
    const { capture } = this.#o.started;
    if (this.#uploaded >= txid && this.#tasks.drainer.record.resync === undefined) return;
    // What capture lost is in the store when the resync is, which counts as one transaction more.
    const done = this.#tasks.uploads.wait(capture.broken === null ? txid : capture.captured.txid + 1, signal);
    this.#tasks.loop.wake();
    await done;
  }

  async flush(): Promise<void> {
    await this.#tasks.loop.run(this.#tasks.drains);
    await this.#tasks.loop.run(this.#tasks.uploads);
    if (this.#tasks.drainer.record.resync === undefined) return;
    await this.#tasks.loop.run(this.#tasks.resyncs);
    await this.#tasks.loop.run(this.#tasks.uploads);
  }

  lookAgain(): void {
    this.#tasks.uploads.forgetTail();
    this.#tasks.loop.retry();
  }

  async snapshot(): Promise<void> {
    if (this.#tasks.uploads.fenced !== null) throw this.#tasks.uploads.fenced;
    if (this.#tasks.drainer.record.resync !== undefined) await this.flush();
    this.#tasks.snapshots.want();
    await this.#tasks.loop.run(this.#tasks.snapshots);
    // The run before it may have found out: this one then took none.
    if (this.#tasks.uploads.fenced !== null) throw this.#tasks.uploads.fenced;
  }

  async verify(): Promise<AuditEvent> {
    if (this.#tasks.uploads.fenced !== null) throw this.#tasks.uploads.fenced;
    if (this.#tasks.drainer.record.resync !== undefined) await this.flush();
    const { verifyLocal } = await loadUpkeep();
    const verifying = verifyLocal(this.#tasks.pinning, this.#ending.signal);
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
      record: this.#tasks.drainer.record,
      uploads: this.#tasks.uploads,
      lastSnapshot: this.#tasks.snapshots.newest,
      lastAudit: this.#lastAudit,
      deletionRefused: this.#tasks.housekeeping.refused,
      lastError: this.#lastError,
    });
  }

  /** Flushes within the time limit, ends the loop, and leaves one plain file where that is possible. */
  async stop(detach: boolean): Promise<void> {
    const { platform, settings } = this.#o;
    const timer = platform.clock.after(settings.stopTimeoutMs, true, () => this.#ending.abort(stopped()));
    try {
      await this.#tasks.loop.run(this.#tasks.drains);
      await this.#waitFor(this.#o.started.capture.captured.txid, this.#ending.signal);
      // Without a first snapshot nothing can be restored, nor without one behind what is damaged.
      if (this.#tasks.snapshots.holding) await this.#tasks.loop.run(this.#tasks.snapshots);
    } catch (error) {
      this.#lastError = error;
    } finally {
      timer.cancel();
    }
    this.#ending.abort(stopped());
    this.#tasks.uploads.end(stopped());
    await Promise.allSettled([this.#tasks.loop.end(), ...this.#verifying]);
    while (this.#tasks.drainer.busy) await this.#tasks.drainer.settled();
    await leave(
      {
        platform,
        database: this.#o.database,
        started: this.#o.started,
        gate: this.#tasks.gate,
        drainer: this.#tasks.drainer,
        connected: this.connected,
      },
      detach,
    );
  }
}

function stopped(): StateError {
  return new StateError("replication was stopped");
}
