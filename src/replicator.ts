import type { Database } from "@sqlite.org/sqlite-wasm";
import { bytesOf, type PositionRecord } from "./cache/write-cache.ts";
import {
  checkStartOptions,
  checkWaitOptions,
  type RestoreOptions,
  type Settings,
  type WaitOptions,
} from "./config.ts";
import { StateError } from "./errors.ts";
import { type AuditEvent, type ReplicatorEvents, TypedEventTarget } from "./events.ts";
import { loadRestore } from "./load.ts";
import { mendRecord } from "./mend-record.ts";
import type { Platform } from "./platform.ts";
import { Replication } from "./replication.ts";
import type { RestoreOutcome } from "./restore-database.ts";
import type { start } from "./start.ts";
import { type ReplicationStatus, statusLine } from "./status.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { PatientStore } from "./store/patient-store.ts";
import { ShimVfs } from "./vfs/shim.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";

/** What a replicator is made of. */
export interface Opened {
  readonly platform: Platform;
  readonly store: PatientStore;
  readonly settings: Settings;
  /** What the cache held when it was loaded. */
  readonly record: PositionRecord | null;
  /** Given, so that it loads with what opens the database, and not with the package. */
  readonly start: typeof start;
}

/**
 * Continuous replication of one database. Use it in the order `create`, `restore` if wanted, `start`, `openDatabase`,
 * `stop`. The subclasses of the entries know how to `create` one for Node or for the browser.
 */
export class Replicator extends TypedEventTarget<ReplicatorEvents> {
  readonly #platform: Platform;
  readonly #store: ObjectStore;
  readonly #settings: Settings;
  readonly #shim: ShimVfs;
  readonly #database: ShimDatabase;
  readonly #begin: typeof start;
  #record: PositionRecord | null;
  #state: "created" | "restoring" | "starting" | "running" | "stopping" | "stopped" = "created";
  #stopping: Promise<{ uploaded: boolean }> | null = null;
  #replication: Replication | null = null;
  #last: ReplicationStatus;

  protected constructor({ platform, store, settings, record, start }: Opened) {
    super();
    this.#platform = platform;
    this.#store = store;
    this.#settings = settings;
    this.#record = record;
    this.#begin = start;
    this.#shim = shimOf(platform);
    this.#database = this.#shim.watch(platform.dbPath);
    this.#last = statusBeforeStart(platform, record);
  }

  /** Name of the VFS to open the database with, for code that opens its own connections. After `start`. */
  get vfsName(): string {
    return this.#shim.name;
  }

  /**
   * Restores the newest state of the replica, before `start`. An existing database is only replaced with
   * `overwrite: true`.
   * @throws StateError after `start`; BrokenReplicaError, CorruptObjectError, UnsupportedFormatError, StoreError,
   * LocalDatabaseError, with nothing local touched.
   */
  async restore(options: RestoreOptions = {}): Promise<RestoreOutcome> {
    this.#require("created", "restore");
    this.#state = "restoring";
    try {
      this.#record = await mendRecord(this.#platform.cache, this.#record);
      const { restoreDatabase } = await loadRestore();
      const onRecord = (record: PositionRecord) => {
        this.#record = record;
      };
      const { outcome, record } = await restoreDatabase(
        { ...this.#context(), onRecord },
        this.#record,
        options,
      );
      this.#record = record;
      return outcome;
    } finally {
      this.#state = "created";
    }
  }

  /**
   * Opens the database, restoring it first where there is none, and begins to replicate.
   * @throws UnknownLocalHistoryError where a database and a replica exist that do not belong together;
   * LocalDatabaseError; what `restore` throws.
   */
  async start(options: Pick<RestoreOptions, "onProgress"> = {}): Promise<void> {
    this.#require("created", "start");
    checkStartOptions(options);
    this.#state = "starting";
    const { signal, autoRestore, onUnknownLocal } = this.#settings;
    try {
      this.#record = await mendRecord(this.#platform.cache, this.#record);
      const restoreOptions = { ...options, ...(signal && { signal }) };
      const started = await this.#begin(
        { ...this.#context(), autoRestore, onUnknownLocal, restoreOptions },
        this.#record,
      );
      this.#replication = new Replication({
        platform: this.#platform,
        store: this.#store,
        settings: this.#settings,
        shim: this.#shim,
        database: this.#database,
        started,
        emit: (type, detail) => this.#raise(type, detail),
        statusLine: () => statusLine(this.status()),
      });
      this.#database.admitting = true;
      this.#state = "running";
      this.#replication.begin();
    } catch (error) {
      this.#database.capture = null;
      this.#state = "created";
      throw error;
    }
  }

  /**
   * Opens a connection to the replicated database. Any number may be open.
   * @param flags as of sqlite-wasm's `oo1.DB`; default "c": read, write, create.
   */
  openDatabase(flags = "c"): Database {
    this.#require("running", "openDatabase");
    const { sqlite3, dbPath } = this.#platform;
    try {
      return new sqlite3.oo1.DB({ filename: dbPath, flags, vfs: this.#shim.name });
    } catch (error) {
      throw this.#platform.explainOpenFailure?.() ?? error;
    }
  }

  /**
   * Resolves when a commit is in the store: `txid`, or everything committed so far. It does not wait for the intervals;
   * while the store cannot be reached it waits. Rejects with ReplicaFencedError, StateError when stopped, or the
   * signal's reason.
   *
   * The replica restores to that commit then, once it has its first snapshot; and where the replica itself was damaged, so that
   * all pages had to go up (`resync` with `whole`), once it has the one that follows: see the event `snapshot`, or `snapshot()`.
   */
  async waitUntilUploaded(options: WaitOptions = {}): Promise<void> {
    checkWaitOptions(options, "waitUntilUploaded");
    await this.#running("waitUntilUploaded").waitUntilUploaded(options.txid, options.signal);
  }

  /**
   * Caches and uploads everything committed so far, now. Rejects when that fails; it is then retried as ever. Does not wait
   * for a snapshot: see `waitUntilUploaded`.
   */
  async flush(): Promise<void> {
    await this.#running("flush").flush();
  }

  /**
   * Looks at the store again now: after a sleep, when the network is back, when a page comes back from the back/forward
   * cache. What waits for its next try is tried, and whether another writer took over is found out.
   */
  wake(): void {
    this.#replication?.lookAgain();
  }

  /** Takes a snapshot now. Resolves when it is published. Rejects when that fails; it is then retried as ever. */
  async snapshot(): Promise<void> {
    await this.#running("snapshot").snapshot();
  }

  /**
   * Compares the database, as it is now, with what the replica's objects add up to, by hashes: no page is fetched. It waits
   * for what is not uploaded yet. Only says what it found.
   * @throws ReplicaFencedError, UnsupportedFormatError, StoreError.
   */
  async verify(): Promise<AuditEvent> {
    return this.#running("verify").verify();
  }

  status(): ReplicationStatus {
    return this.#replication?.status() ?? this.#last;
  }

  /**
   * Uploads what it can within `stopTimeoutMs`, then lets go of the database. When all is cached and the application's
   * connections are closed, the WAL is checkpointed and one plain file remains (in a browser with an empty WAL, whose absence
   * tells the next start of somebody else). What is not uploaded stays in the cache.
   * @returns whether everything committed is in the store.
   */
  async stop(): Promise<{ uploaded: boolean }> {
    return this.#stop(false);
  }

  /**
   * Stops, and leaves a plain database in rollback mode behind. Connections of the application must be closed.
   * @throws StateError while connections are open; replication then goes on. StateError also where the file cannot be
   * made a plain one; replication has then ended.
   */
  async detach(): Promise<void> {
    this.#running("detach");
    if (this.#replication!.connected) throw new StateError("close your connections before detach()");
    await this.#stop(true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(detach: boolean): Promise<{ uploaded: boolean }> {
    if (this.#state === "stopped") return { uploaded: this.#last.uploaded === this.#last.captured };
    if (this.#stopping !== null) return this.#stopping;
    if (this.#state === "starting" || this.#state === "restoring")
      throw new StateError(`stop() was called while ${this.#state}; wait for that, or abort its signal`);
    this.#state = "stopping";
    this.#stopping = this.#end(detach);
    return this.#stopping;
  }

  async #end(detach: boolean): Promise<{ uploaded: boolean }> {
    const replication = this.#replication;
    try {
      if (replication !== null) {
        await replication.stop(detach);
        this.#last = { ...replication.status(), state: "stopped" };
      }
    } finally {
      this.#replication = null;
      this.#state = "stopped";
      this.#last = { ...this.#last, state: "stopped" };
      await this.#release();
    }
    return { uploaded: this.#last.uploaded === this.#last.captured };
  }

  /** Locks and cache are held as long as the application has connections open: their commits still need the gate. */
  async #release(): Promise<void> {
    const database = this.#database;
    database.admitting = false;
    const release = async () => {
      database.onIdle = null;
      this.#shim.unwatch(database);
      await this.#platform.release();
    };
    const connected = () => this.#shim.inUse(database);
    if (!connected()) return release();
    this.#platform.outlived?.(connected);
    database.onIdle = () => this.#platform.clock.after(0, true, () => void release());
  }

  #context() {
    return { platform: this.#platform, shim: this.#shim, database: this.#database, store: this.#store };
  }

  #running(method: string): Replication {
    this.#require("running", method);
    return this.#replication!;
  }

  #require(state: "created" | "running", method: string): void {
    if (this.#state === state) return;
    throw new StateError(`${method}() needs a replicator that is ${state}; this one is ${this.#state}`);
  }

  /** A listener that throws must not disturb replication. */
  #raise<K extends keyof ReplicatorEvents>(type: K, detail: ReplicatorEvents[K]): void {
    const { logger } = this.#settings;
    if (type === "error" || type === "fenced") logger.error?.(`sluice: ${String(detail)}`);
    this.emit(type, detail);
  }
}

/** One shim for each base VFS of a module instance. */
const shims = new WeakMap<object, Map<string, ShimVfs>>();

function shimOf(platform: Platform): ShimVfs {
  const { sqlite3, shimName, baseVfs, canonicalPath } = platform;
  const isFull = () => platform.isFull?.() ?? false;
  const byName = shims.get(sqlite3) ?? new Map<string, ShimVfs>();
  shims.set(sqlite3, byName);
  const shim = byName.get(shimName) ?? new ShimVfs(sqlite3, shimName, baseVfs, canonicalPath, isFull);
  byName.set(shimName, shim);
  return shim;
}

function statusBeforeStart({ cache }: Platform, record: PositionRecord | null): ReplicationStatus {
  const entries = cache.entries();
  const cached = record?.cached.txid ?? 0;
  return {
    state: "created",
    captured: cached,
    cached,
    uploaded: entries[0]?.from.txid ?? cached,
    pendingSegments: entries.length,
    pendingBytes: bytesOf(entries),
    oldestUnuploadedAgeMs: 0,
    lastSnapshot: null,
    lastAudit: null,
    lastUploadTime: null,
    failedUploads: 0,
    walFrames: 0,
    storeCapabilities: null,
    deletionRefused: false,
    lastError: null,
  };
}
