import type { Logger } from "./config.ts";
import { BrokenReplicaError, DatabaseInUseError, FollowError, StateError, StoreError } from "./errors.ts";
import { TypedEventTarget } from "./events.ts";
import { advance, type FollowContext } from "./follow-apply.ts";
import type { CopyState, FollowedCopy } from "./follow-copy.ts";
import { findWays, listTail, TAIL_LIMIT } from "./follow-look.ts";
import type { Codecs } from "./format/codecs.ts";
import type { Position } from "./format/position.ts";
import { isGone } from "./look-again.ts";
import { Loop, type Task } from "./loop.ts";
import type { Clock } from "./platform.ts";
import { findClaim, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { RestoreProgress } from "./restore.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { PatientStore } from "./store/patient-store.ts";
import { Waiters } from "./waiters.ts";
import { writeState } from "./write-state.ts";

/**
 * Level 0 says nothing of what retention took from it, so when so many polls in a row and so many milliseconds found
 * nothing there, the whole replica is looked at. Retention keeps level 0 for a day.
 */
const EMPTY_POLLS = 10;
const EMPTY_MS = 600_000;
/** Looks at the whole replica before what does not fit together in it counts as broken: it may be changing. */
const LOOKS = 3;

/** The copy has come to a newer state. */
export interface AppliedEvent {
  readonly position: Position;
  /** Null: the copy was made. */
  readonly from: Position | null;
  /** Pages written. */
  readonly pages: number;
  /** Objects that were read. */
  readonly objects: number;
  /** Time of the last commit, milliseconds since 1970. */
  readonly time: number;
}

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
  readonly #context: FollowContext;
  /** For polls, which the loop repeats; a catch-up, which may make thousands of requests, has a patient one. */
  readonly #store: ObjectStore;
  readonly #settings: FollowerSettings;
  readonly #loop: Loop;
  readonly #waiters = new Waiters();
  readonly #end = new AbortController();
  #state: FollowerStatus["state"] | "starting" = "created";
  #copy: CopyState | null = null;
  /** Look at the whole replica at the next step. */
  #thorough = true;
  #emptyPolls = 0;
  #lastNews = 0;
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
    this.#context = { store: new PatientStore(store, clock), copy, codecs, clock };
    this.#store = store;
    this.#settings = settings;
    this.#loop = new Loop(clock, [this]);
  }

  /** Where the copy stands; null before `start` has found or made it. */
  get position(): Position | null {
    return this.#copy?.position ?? null;
  }

  status(): FollowerStatus {
    const error = this.#lastError;
    return {
      state: this.#state === "starting" ? "created" : this.#state,
      position: this.position,
      time: this.#copy?.time ?? null,
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
      this.#copy = this.#context.copy.open();
      if (this.#copy === null) await this.#make(signal, options.onProgress ?? (() => {}));
      this.#thorough = true;
      await this.#catchUp(signal);
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

  /** Resolves when the copy has come to `txid`. Rejects when following ends before, or with the signal's reason. */
  async waitFor({ txid, signal }: { readonly txid: number; readonly signal?: AbortSignal }): Promise<void> {
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
    this.#context.copy.release();
  }

  #notFollowing(method: string): unknown {
    if (this.#state === "failed") return this.#lastError;
    return new StateError(`${method}() needs a follower that was started and not stopped`);
  }

  due(): number | null {
    if (this.#state !== "following") return null;
    return (this.#lastPoll ?? 0) + this.#settings.pollIntervalMs;
  }

  run(): Promise<void> {
    return this.#catchUp(this.#end.signal);
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

  /** The first copy: a restore. */
  async #make(signal: AbortSignal, onProgress: (progress: RestoreProgress) => void): Promise<void> {
    const { store, copy, codecs } = this.#context;
    const claim = await findClaim(store, signal);
    let progress = { pages: 0, totalObjects: 0 };
    const report = (now: RestoreProgress) => {
      progress = now;
      onProgress(now);
    };
    const written =
      claim &&
      (await writeState(
        { store, lineage: claim.lineage, codecs, signal },
        "latest",
        () => copy.restoreTarget(),
        report,
      ));
    if (claim === null || written === null)
      throw new FollowError(
        "no-replica",
        `${store.url} holds ${claim ? "no snapshot yet" : "no replica"}. Start its writer, then follow.`,
      );
    const state = { ...written.state, lineage: claim.lineage };
    try {
      await copy.make(written.target, state);
    } catch (error) {
      await written.target.abort();
      throw error;
    }
    this.#applied(null, state, progress.pages, progress.totalObjects);
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    while (await this.#step(signal));
    this.#lastPoll = this.#context.clock.now();
    this.#lastError = null;
  }

  /**
   * One look at the replica, and what is new applied. True: look again. Usually one LIST, of what begins at level 0
   * behind the position; the whole replica where that alone does not lead on, at the start, and when nothing has come for long.
   */
  async #step(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const { txid } = this.#copy!.position;
    const quietMs = this.#context.clock.now() - this.#lastNews;
    if (this.#emptyPolls >= EMPTY_POLLS && quietMs >= EMPTY_MS) this.#thorough = true;
    if (!this.#thorough) {
      const tail = await listTail(this.#store, txid, signal);
      if (tail.length === 0) {
        this.#emptyPolls += 1;
        return false;
      }
      this.#thorough = !(await this.#follows(tail, signal));
      return this.#thorough;
    }
    const more = await this.#lookThoroughly(signal);
    this.#thorough = more;
    this.#seen();
    return more;
  }

  #seen(): void {
    this.#emptyPolls = 0;
    this.#lastNews = this.#context.clock.now();
  }

  /** Applies the tail of level 0. False where it does not lead on from the copy, or where it is long. */
  async #follows(tail: readonly SegmentInfo[], signal: AbortSignal): Promise<boolean> {
    if (tail[0]!.minTxid !== this.#copy!.position.txid + 1 || tail.length > TAIL_LIMIT) return false;
    if ((await this.#tryToAdvance(tail, signal)) !== null) return false;
    this.#seen();
    return true;
  }

  /** False where nothing is left that this look saw. */
  async #lookThoroughly(signal: AbortSignal): Promise<boolean> {
    const { store, codecs } = this.#context;
    for (let look = 1; ; look++) {
      let problem: unknown = null;
      try {
        for await (const { objects, furthest } of findWays(store, this.#copy!, codecs, signal)) {
          problem = await this.#tryToAdvance(objects, signal);
          if (problem === null) return this.#copy!.position.txid < furthest;
        }
      } catch (error) {
        if (!mayBeInFlux(error)) throw error;
        problem = error;
      }
      if (problem === null) return false;
      if (look === LOOKS) throw problem;
    }
  }

  /** Null, or why these objects did not lead on, where others may, or the same a little later. */
  async #tryToAdvance(
    objects: readonly (SegmentInfo | SnapshotInfo)[],
    signal: AbortSignal,
  ): Promise<unknown> {
    try {
      await this.#advance(objects, signal);
      return null;
    } catch (error) {
      if (mayBeInFlux(error)) return error;
      throw error;
    }
  }

  async #advance(objects: readonly (SegmentInfo | SnapshotInfo)[], signal: AbortSignal): Promise<void> {
    const before = this.#copy!;
    const { state, pages } = await advance(this.#context, before, objects, signal);
    this.#applied(before.position, state, pages, objects.length);
  }

  #applied(from: Position | null, state: CopyState, pages: number, objects: number): void {
    this.#copy = state;
    this.#lastError = null;
    this.#waiters.settle(state.position.txid);
    const { position, time } = state;
    this.#settings.logger.info?.(
      `the copy is at transaction ${position.txid}: ${pages} pages from ${objects} objects`,
    );
    this.emit("applied", { position, from, pages, objects, time });
  }
}

/** What compaction or retention does while the replica is read: an object that was listed is gone, or its neighbour. */
function mayBeInFlux(error: unknown): boolean {
  return error instanceof BrokenReplicaError || isGone(error);
}
