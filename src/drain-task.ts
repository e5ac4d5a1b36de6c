import type { Drainer } from "./drainer.ts";
import { fault } from "./faults.ts";
import type { RestartGate } from "./gate.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { Task } from "./loop.ts";
import type { Clock } from "./platform.ts";
import { saysDiskFull } from "./vfs/abi.ts";
import type { Capture } from "./vfs/capture.ts";

export interface DrainTaskOptions {
  readonly clock: Clock;
  readonly capture: Capture;
  readonly local: LocalDatabase;
  readonly drainer: Drainer;
  readonly gate: RestartGate;
  /** Milliseconds from a commit until it is drained, at most. */
  readonly syncIntervalMs: number;
  /** WAL frames after which a drain is followed by a checkpoint. */
  readonly checkpointPages: number;
  /** Nothing is to be drained as things stand. */
  readonly paused: () => boolean;
  /** Somebody waits for what is committed. */
  readonly awaited: () => boolean;
  readonly onFailed: (error: unknown) => void;
}

/** Drains what was committed, at its interval or at once when somebody waits, and checkpoints after it. */
export class DrainTask implements Task {
  readonly holding = true;
  readonly #o: DrainTaskOptions;
  /** Since when a commit waits to be drained; null when none does. */
  #since: number | null = null;
  #makingRoom = false;

  constructor(options: DrainTaskOptions) {
    this.#o = options;
  }

  /** Something was committed. False where something waited already. On the commit path: nothing here but a note. */
  noteCommit(): boolean {
    if (this.#since !== null) return false;
    this.#since = this.#o.clock.now();
    return true;
  }

  /** Something was cached, here or at the gate. */
  noteCached(): void {
    if (!this.#o.capture.pending) this.#since = null;
  }

  /** Whatever waits now has waited since now. */
  begin(): void {
    this.#since = this.#o.capture.pending ? this.#o.clock.now() : null;
  }

  due(): number | null {
    const { paused, awaited, syncIntervalMs } = this.#o;
    if (this.#since === null || paused()) return null;
    return awaited() ? this.#since : this.#since + syncIntervalMs;
  }

  async run(): Promise<void> {
    const { capture, local, drainer, gate, checkpointPages } = this.#o;
    gate.retry();
    await drainer.drain();
    this.begin();
    if ((capture.captured.wal?.frame ?? 0) < checkpointPages) return;
    fault("drain:before-checkpoint");
    local.checkpoint("PASSIVE");
    fault("drain:after-checkpoint");
  }

  failed(error: unknown): boolean {
    this.#o.onFailed(error);
    return true;
  }

  /**
   * The WAL cannot grow, or soon cannot. What it holds is cached now, by `drain`; where the cache has no room either, a
   * resync will carry it. Then it may begin anew, which takes no room at all.
   */
  async makeRoom(drain: () => Promise<void>, ending: AbortSignal): Promise<void> {
    const { gate, local, drainer, onFailed } = this.#o;
    if (this.#makingRoom || ending.aborted) return;
    this.#makingRoom = true;
    let drained = true;
    try {
      await drain().catch(() => {
        drained = false;
      });
      // Who stops drains once more, and decides then.
      if (ending.aborted) return;
      if (!drained) gate.failed();
      local.checkpoint("PASSIVE");
      if (drainer.record.resync === undefined) gate.forgetWalFull();
    } catch (error) {
      // The drain has told that there is no room.
      if (drained || !saysDiskFull(error)) onFailed(error);
    } finally {
      this.#makingRoom = false;
    }
  }
}
