import type { CacheEntry } from "./cache/write-cache.ts";
import type { Settings } from "./config.ts";
import { DrainTask } from "./drain-task.ts";
import { Drainer } from "./drainer.ts";
import type { AuditEvent, ReplicatorEvents } from "./events.ts";
import type { Position } from "./format/position.ts";
import { RestartGate } from "./gate.ts";
import { HousekeepingTask, type HousekeepingTaskOptions } from "./housekeeping-task.ts";
import { KnownTail } from "./known-tail.ts";
import { Loop } from "./loop.ts";
import { OverflowTask } from "./overflow-task.ts";
import type { Platform } from "./platform.ts";
import { ResyncTask } from "./resync-task.ts";
import { SnapshotTask } from "./snapshot-task.ts";
import type { Started } from "./start.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { SnapshotContext } from "./take-snapshot.ts";
import { UploadTask, type UploadTaskOptions } from "./upload-task.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";

/** Bytes of WAL that may wait for a cache that fails, before a resync is marked and the WAL may be restarted. */
const WAL_LIMIT = 64 << 20;

export interface TasksContext {
  readonly platform: Platform;
  readonly store: ObjectStore;
  readonly settings: Settings;
  readonly database: ShimDatabase;
  readonly started: Started;
  readonly signal: AbortSignal;
  readonly emit: <K extends keyof ReplicatorEvents>(type: K, detail: ReplicatorEvents[K]) => void;
  readonly statusLine: () => string;
}

/** What the tasks leave to whoever runs them. */
export interface TasksHost {
  readonly fail: (error: unknown) => void;
  /** Of something that happened inside of a call of SQLite's: told outside of it. */
  readonly soon: (note: () => void) => void;
  readonly onCommit: () => void;
  readonly onCached: (entry: CacheEntry) => void;
  readonly onUploaded: UploadTaskOptions["onUploaded"];
  readonly onAudit: (audit: AuditEvent) => void;
  readonly requireResync: (reason: string) => Promise<void>;
  readonly giveUp: UploadTaskOptions["giveUp"];
  readonly mergeBacklog: () => Promise<void>;
  readonly makeRoom: () => void;
  readonly uploadedPosition: () => Position;
  readonly onBroken: HousekeepingTaskOptions["onBroken"];
}

/** What most of them work on. */
function commonOf({ platform, store, started, signal }: TasksContext) {
  const { cache, codecs, clock } = platform;
  const { local, capture, record } = started;
  const { lineage, writer } = record;
  return { platform, store, signal, cache, codecs, clock, local, capture, lineage, writer };
}

type Shared = ReturnType<typeof commonOf> & {
  readonly drainer: Drainer;
  readonly onFailed: (error: unknown) => void;
};

/** What runs beside the application, made and joined: who tells whom. */
export class Tasks {
  readonly #o: TasksContext;
  readonly #host: TasksHost;
  readonly drainer: Drainer;
  readonly gate: RestartGate;
  readonly loop: Loop;
  readonly drains: DrainTask;
  readonly resyncs: ResyncTask;
  readonly uploads: UploadTask;
  /** What taking and checking a state of the database needs. */
  readonly pinning: SnapshotContext;
  readonly snapshots: SnapshotTask;
  readonly housekeeping: HousekeepingTask;
  readonly #tail: KnownTail;
  readonly #fenced = () => this.uploads.fenced !== null;
  /** Nothing leads on from what is cached until the resync is done. */
  readonly #broken = () => this.#fenced() || this.drainer.record.resync !== undefined;

  constructor(context: TasksContext, host: TasksHost) {
    this.#o = context;
    this.#host = host;
    const { started, settings, database, emit } = context;
    const { fail } = host;
    const common = commonOf(context);
    const onBare = () => {
      this.uploads.forgetClaim();
      this.snapshots.lost();
    };
    this.#tail = new KnownTail({ ...common, onBare, givenUp: () => this.drainer.record.givenUp });
    this.drainer = new Drainer({
      ...common,
      wal: started.local.wal,
      record: started.record,
      maxCacheSize: settings.maxCacheSize,
      mainPage: (pgno, pageSize) => started.local.mainPage(pgno, pageSize),
      onCached: host.onCached,
    });
    const shared = { ...common, drainer: this.drainer, onFailed: fail };
    const overflows = new OverflowTask({
      ...shared,
      maxCacheSize: settings.maxCacheSize,
      onOverflow: (droppedBytes, reason) => {
        emit("cache-overflow", { droppedBytes });
        if (reason !== null) emit("resync", { reason, phase: "needed" });
      },
    });
    this.gate = this.#makeGate(shared, overflows);
    this.drains = new DrainTask({
      ...shared,
      gate: this.gate,
      syncIntervalMs: settings.syncIntervalMs,
      checkpointPages: settings.checkpointPages,
      paused: this.#broken,
      awaited: () => this.uploads.awaited,
    });
    this.uploads = this.#makeUploads(shared);
    this.pinning = this.#makePinning(shared);
    this.snapshots = this.#makeSnapshots();
    this.resyncs = this.#makeResyncs(shared);
    this.housekeeping = new HousekeepingTask({
      ...shared,
      compaction: settings.compaction,
      retention: settings.retention,
      paused: this.#fenced,
      pinned: () => this.drainer.pinned,
      onBroken: host.onBroken,
    });
    const { clock } = common;
    const { drains, uploads, snapshots, resyncs, housekeeping } = this;
    this.loop = new Loop(clock, [drains, overflows, uploads, snapshots, resyncs, housekeeping]);
    database.policy = this.gate;
  }

  #makeGate(shared: Shared, overflows: OverflowTask): RestartGate {
    const { platform, database, emit, statusLine } = this.#o;
    const { soon, onCommit, makeRoom } = this.#host;
    return new RestartGate({
      ...shared,
      database,
      fingerprint: () => platform.fingerprint(),
      walLimit: WAL_LIMIT,
      tooMuch: () => overflows.tooMuch(),
      onCommit,
      onFailure: shared.onFailed,
      onResync: (reason) => soon(() => emit("resync", { reason, phase: "needed" })),
      onWalFull: () => soon(makeRoom),
      statusLine,
    });
  }

  #makeUploads(shared: Shared): UploadTask {
    const { lineage, writer, clock } = shared;
    const { mergeBacklog, uploadedPosition, onUploaded, giveUp } = this.#host;
    return new UploadTask({
      ...shared,
      context: {
        ...shared,
        tail: this.#tail,
        claim: { version: 1, lineage, writer, created: clock.now() },
        claimed: false,
        isStored: (entry) => this.drainer.isStored(entry),
      },
      intervalMs: this.#o.settings.uploadIntervalMs,
      merge: mergeBacklog,
      uploaded: uploadedPosition,
      onUploaded,
      giveUp,
    });
  }

  #makePinning(shared: Shared): SnapshotContext {
    const { signal, emit } = this.#o;
    const { onAudit, requireResync, uploadedPosition } = this.#host;
    return {
      ...shared,
      onPages: (pages, totalPages) => emit("snapshot-progress", { pages, totalPages }),
      onAudit,
      requireResync,
      uploadedPosition,
      uploaded: async (txid) => {
        // The one that uploads looks, so that nothing goes up meanwhile.
        if (!this.#tail.known) {
          this.uploads.forgetTail();
          await this.loop.run(this.uploads);
        }
        await this.uploads.claim();
        if (uploadedPosition().txid >= txid) return;
        const done = this.uploads.waitWithoutRetry(txid, signal);
        this.loop.wake();
        await done;
      },
      requireNoOther: async () => {
        this.uploads.lookForOther();
        await this.loop.run(this.uploads);
        await this.uploads.claim();
      },
    };
  }

  #makeSnapshots(): SnapshotTask {
    const { settings, signal, emit } = this.#o;
    return new SnapshotTask({
      context: this.pinning,
      intervalMs: settings.snapshotIntervalSecs * 1000,
      signal,
      paused: this.#broken,
      onTaken: ({ key, position, pageCount }) => {
        this.housekeeping.snapshotTaken();
        emit("snapshot", { key, position, pages: pageCount });
      },
      onFailed: this.#host.fail,
    });
  }

  #makeResyncs(shared: Shared): ResyncTask {
    return new ResyncTask({
      ...shared,
      paused: this.#fenced,
      onDone: (done) => {
        this.drains.begin();
        // What could not be read cannot be restored either, until there is a snapshot behind it.
        if (done.whole !== null) this.snapshots.want();
        this.#o.emit("resync", done);
      },
    });
  }
}
