import { checkWaitOptions, type Logger, type WaitOptions } from "./config.ts";
import { ConfigError, DatabaseInUseError, StateError, StoreError } from "./errors.ts";
import { TypedEventTarget } from "./events.ts";
import type { FollowedCopy } from "./follow-copy.ts";
import type { Codecs } from "./format/codecs.ts";
import type { Position } from "./format/position.ts";
import { Loop, type Task } from "./loop.ts";
import type { Clock } from "./platform.ts";
import { type AppliedEvent, Pursuit } from "./pursuit.ts";
import type { RestoreProgress } from "./restore.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { PatientStore } from "./store/patient-store.ts";
import { Waiters } from "./waiters.ts";

/** The events of a follower, by name. */
export interface FollowerEvents {
  applied: AppliedEvent;
  /** Something failed that is being retried, or that ended following; `status().state` says which. */
  error: unknown;
}

/** Where a follower stands. */
export interface FollowerStatus {
  /** `failed`: an error that does not heal by itself ended following; the copy stays as it is, and readable. */
  readonly state: "created" | "following" | "failed" | "stopped";
  /** Null: there is no copy yet. */
  readonly position: Position | null;
  /** Time of the last commit in the copy, milliseconds since 1970. */
  readonly time: number | null;
  /** When the replica was last seen to hold nothing newer or was caught up with, milliseconds since 1970. */
  readonly lastPollTime: number | null;
  readonly lastError: string | null;
}

export interface FollowerSettings {
  readonly pollIntervalMs: number;
  readonly logger: Logger;
}

/** Options of a follower's `start`. */
export interface FollowOptions {
  /** How far the restore is that makes the copy. */
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

/** Keeps a read-only copy of a replicated database current. See FollowedCopy and `#step`. */
export class Follower extends TypedEventTarget<FollowerEvents> implements Task {
  readonly #copy: FollowedCopy;
  readonly #clock: Clock;
  readonly #pursuit: Pursuit;
  readonly #settings: FollowerSettings;
  readonly #loop: Loop;
  readonly #waiters = new Waiters();
  readonly #end = new AbortController();
  #state: FollowerStatus["state"] | "starting" = "created";
  #lastPoll: number | null = null;
  #lastError: unknown = null;
  #starting: Promise<void> | null = null;
  #stopping: Promise<void> | null = null;

  /** A follower is a service: its process lives until `stop`. */
  readonly holding = true;

  constructor(
    copy: FollowedCopy,
    store: ObjectStore,
    codecs: Codecs,
    clock: Clock,
    settings: FollowerSettings,
  ) {
    super();
    this.#copy = copy;
    this.#clock = clock;
    const context = { store: new PatientStore(store, clock), copy, codecs, clock };
    this.#pursuit = new Pursuit(context, store, (event) => this.#applied(event));
    this.#settings = settings;
    this.#loop = new Loop(clock, [this]);
  }

  /** Where the copy stands; null before `start` has found or made it. */
  get position(): Position | null {
    return this.#pursuit.state?.position ?? null;
  }

  status(): FollowerStatus {
    const error = this.#lastError;
    return {
      state: this.#state === "starting" ? "created" : this.#state,
      position: this.position,
      time: this.#pursuit.state?.time ?? null,
      lastPollTime: this.#lastPoll,
      lastError: error === null ? null : error instanceof Error ? error.message : String(error),
    };
  }

  /**
   * Makes the copy, or takes an older one up, catches up with the replica, and goes on following. When it rejects nothing
   * follows, and it may be called again.
   * @throws FollowError, BrokenReplicaError, CorruptObjectError, UnsupportedFormatError, StoreError, LocalDatabaseError,
   * DatabaseInUseError; StateError when it was called before.
   */
  async start(options: FollowOptions = {}): Promise<void> {
    if (this.#state !== "created") throw new StateError("start() may be called once");
    this.#state = "starting";
    this.#starting = this.#start(options);
    await this.#starting;
  }

  async #start(options: FollowOptions): Promise<void> {
    const signal = options.signal ? AbortSignal.any([options.signal, this.#end.signal]) : this.#end.signal;
    try {
      await this.#pursuit.begin(signal, options.onProgress ?? (() => {}));
      this.#seen();
    } catch (error) {
      if (this.#state === "starting") this.#state = "created";
      throw error;
    }
    this.#end.signal.throwIfAborted();
    this.#state = "following";
    this.#loop.wake();
  }

  /** Looks at the replica now, and resolves when what was new is in the copy. */
  async poll(): Promise<void> {
    if (this.#state !== "following") throw this.#notFollowing("poll");
    await this.#loop.run(this);
  }

  /** Resolves when the copy has come to `txid`. Rejects with ConfigError, when following ends before, or with the signal's reason. */
  async waitFor(options: WaitOptions & { readonly txid: number }): Promise<void> {
    checkWaitOptions(options, "waitFor");
    const { txid, signal } = options;
    if (txid === undefined) throw new ConfigError("txid", "is missing: the transaction to wait for");
    if (this.position !== null && this.position.txid >= txid) return;
    if (this.#state === "failed" || this.#state === "stopped") throw this.#notFollowing("waitFor");
    await this.#waiters.wait(txid, signal);
  }

  /** Ends following. The copy stays, readable, and a later follower takes it up. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    const reason = new StateError("the follower was stopped");
    this.#state = "stopped";
    this.#end.abort(reason);
    await this.#starting?.catch(() => undefined);
    await this.#loop.end();
    this.#waiters.fail(reason);
    this.#copy.release();
  }

  #notFollowing(method: string): unknown {
    if (this.#state === "failed") return this.#lastError;
    return new StateError(`${method}() needs a follower that was started and not stopped`);
  }

  due(): number | null {
    if (this.#state !== "following") return null;
    return (this.#lastPoll ?? 0) + this.#settings.pollIntervalMs;
  }

  async run(): Promise<void> {
    await this.#pursuit.catchUp(this.#end.signal);
    this.#seen();
  }

  /** What heals by itself is tried again; anything else ends following, for somebody to decide. */
  failed(error: unknown): boolean {
    if (this.#state !== "following") return false;
    const heals = (error instanceof StoreError && error.transient) || error instanceof DatabaseInUseError;
    this.#lastError = error;
    if (!heals) {
      this.#state = "failed";
      this.#waiters.fail(error);
    }
    const message = error instanceof Error ? error.message : String(error);
    if (heals) this.#settings.logger.warn?.(`following is tried again: ${message}`);
    else this.#settings.logger.error?.(`following ended: ${message}`);
    this.emit("error", error);
    return heals;
  }

  #seen(): void {
    this.#lastPoll = this.#clock.now();
    this.#lastError = null;
  }

  #applied(event: AppliedEvent): void {
    const { position, pages, objects } = event;
    this.#lastError = null;
    this.#waiters.settle(position.txid);
    this.#settings.logger.info?.(
      `the copy is at transaction ${position.txid}: ${pages} pages from ${objects} objects`,
    );
    this.emit("applied", event);
  }
}
