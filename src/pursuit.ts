import { BrokenReplicaError, FollowError } from "./errors.ts";
import { advance, type FollowContext } from "./follow-apply.ts";
import type { CopyState } from "./follow-copy.ts";
import { findWays, listTail, TAIL_LIMIT } from "./follow-look.ts";
import type { Position } from "./format/position.ts";
import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import { isGone } from "./look-again.ts";
import { findClaim, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { RestoreProgress } from "./restore.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { writeState } from "./write-state.ts";

/**
 * Level 0 says nothing of what retention took from it, so when so many polls in a row and so many milliseconds found
 * nothing there, the whole replica is looked at. So it is where retention may have taken something since the last look.
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

/** Makes a copy and brings it from state to state. Does nothing by itself. */
export class Pursuit {
  readonly #context: FollowContext;
  /** For polls, which whoever polls repeats; a catch-up, which may make thousands of requests, has a patient one. */
  readonly #pollStore: ObjectStore;
  readonly #onApplied: (event: AppliedEvent) => void;
  #state: CopyState | null = null;
  /** Look at the whole replica at the next step. */
  #thorough = true;
  #emptyPolls = 0;
  #lastNews = 0;
  #sinceLook: Stopwatch | null = null;

  constructor(context: FollowContext, pollStore: ObjectStore, onApplied: (event: AppliedEvent) => void) {
    this.#context = context;
    this.#pollStore = pollStore;
    this.#onApplied = onApplied;
  }

  get state(): CopyState | null {
    return this.#state;
  }

  /** Takes up the copy that is there, or makes it, and brings it to the newest state. */
  async begin(signal: AbortSignal, onProgress: (progress: RestoreProgress) => void): Promise<void> {
    this.#state = this.#context.copy.open();
    if (this.#state === null) await this.#make(signal, onProgress);
    this.#thorough = true;
    await this.catchUp(signal);
  }

  async catchUp(signal: AbortSignal): Promise<void> {
    while (await this.#step(signal));
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

  /**
   * One look at the replica, and what is new applied. True: look again. Usually one LIST, of what begins at level 0
   * behind the position; the whole replica where that alone does not lead on, at the start, and when nothing has come for long.
   */
  async #step(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const { txid } = this.#state!.position;
    const quietMs = this.#context.clock.now() - this.#lastNews;
    if (this.#emptyPolls >= EMPTY_POLLS && quietMs >= EMPTY_MS) this.#thorough = true;
    if (this.#sinceLook !== null && this.#sinceLook() >= LEVEL0_STAYS_MS / 2) this.#thorough = true;
    const sinceThis = this.#context.clock.stopwatch();
    if (!this.#thorough) {
      const tail = await listTail(this.#pollStore, txid, signal);
      this.#sinceLook = sinceThis;
      if (tail.length === 0) {
        this.#emptyPolls += 1;
        return false;
      }
      this.#thorough = !(await this.#follows(tail, signal));
      return this.#thorough;
    }
    const more = await this.#lookThoroughly(signal);
    this.#thorough = more;
    this.#sinceLook = sinceThis;
    this.#seen();
    return more;
  }

  #seen(): void {
    this.#emptyPolls = 0;
    this.#lastNews = this.#context.clock.now();
  }

  /** Applies the tail of level 0. False where it does not lead on from the copy, or where it is long. */
  async #follows(tail: readonly SegmentInfo[], signal: AbortSignal): Promise<boolean> {
    if (tail[0]!.minTxid !== this.#state!.position.txid + 1 || tail.length > TAIL_LIMIT) return false;
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
        for await (const { objects, furthest } of findWays(store, this.#state!, codecs, signal)) {
          problem = await this.#tryToAdvance(objects, signal);
          if (problem === null) return this.#state!.position.txid < furthest;
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
    const before = this.#state!;
    const { state, pages } = await advance(this.#context, before, objects, signal);
    this.#applied(before.position, state, pages, objects.length);
  }

  #applied(from: Position | null, state: CopyState, pages: number, objects: number): void {
    this.#state = state;
    const { position, time } = state;
    this.#onApplied({ position, from, pages, objects, time });
  }
}

/** What compaction or retention does while the replica is read: an object that was listed is gone, or its neighbour. */
function mayBeInFlux(error: unknown): boolean {
  return error instanceof BrokenReplicaError || isGone(error);
}
