import { assert } from "../assert.ts";
import type { Clock } from "../platform.ts";
import type { Staged } from "./take-over.ts";
import type { CacheEntry, PositionRecord, SegmentQueue } from "./write-cache.ts";

/** Milliseconds until a step that the queue did not take is offered again. */
const RETRY_MS = 1000;

/** What a queue's record says beside: how many steps it has taken over. */
export type QueueRecord = PositionRecord & { readonly staged?: number };

export interface StepMoverOptions {
  readonly queue: SegmentQueue;
  readonly clock: Clock;
  /** The bytes of a step's segment. */
  readonly read: (step: Staged) => Iterable<Uint8Array>;
  /** All that was staged is in the queue. */
  readonly onEmpty: () => void;
  /** The queue fails: what is staged stays, and is offered again. */
  readonly onTrouble: (error: unknown) => void;
}

/** Moves staged steps into the queue, in order, one at a time. The queue's record counts those that it has. */
export class StepMover {
  readonly #o: StepMoverOptions;
  #steps: Staged[] = [];
  /** The last step that the queue has. */
  #queued = 0;
  #moving: Promise<void> | null = null;
  /** When what the queue did not take is offered again. */
  #retry: { cancel(): void } | null = null;
  #ended = false;

  constructor(options: StepMoverOptions) {
    this.#o = options;
  }

  /** What a crash left. Nothing moves before `soon`. */
  load(steps: readonly Staged[], queued: number): void {
    this.#steps = [...steps];
    this.#queued = queued;
  }

  get empty(): boolean {
    return this.#steps.length === 0;
  }

  get busy(): boolean {
    return this.#moving !== null;
  }

  get queuedSerial(): number {
    return this.#queued;
  }

  has(step: Staged): boolean {
    return this.#steps.includes(step);
  }

  stepOf(entry: CacheEntry): Staged | undefined {
    return this.#steps.find((step) => step.entry === entry);
  }

  add(step: Staged): void {
    this.#steps.push(step);
    this.soon();
  }

  /** Moves when the caller, who may be inside a call of SQLite's, is done. */
  soon(): void {
    if (this.#steps.length > 0 && this.#moving === null)
      void Promise.resolve()
        .then(() => this.#moveOne())
        .catch(() => undefined);
  }

  /**
   * Resolves when the entry is in the queue: from there on it can be read and leave, also where nothing more goes in, and
   * where more is staged all the while.
   */
  async moved(entry: CacheEntry): Promise<void> {
    while (!this.#ended && this.stepOf(entry) !== undefined) await this.#moveOne();
  }

  /** Resolves when what is being moved is, or failed. The next may be under way then: ask `busy` again. */
  async settled(): Promise<void> {
    await this.#moving?.catch(() => undefined);
  }

  /** Nothing is moved meanwhile but by `act`; what is left is, afterwards. */
  async exclusively(act: () => Promise<void>): Promise<void> {
    assert(this.#moving === null, "nothing is being moved");
    this.#moving = act().finally(() => {
      this.#moving = null;
      this.soon();
    });
    await this.#moving;
  }

  /** Within `exclusively`: moves until the entry is in the queue. */
  async moveUpTo(entry: CacheEntry): Promise<void> {
    while (this.stepOf(entry) !== undefined) await this.#moveFirst();
  }

  /** Within `exclusively`: the queue, which has nothing before it, counts a step as taken whose entry need not be there any more. */
  async skip(step: Staged): Promise<void> {
    await this.#o.queue.savePosition(counted(step));
    this.#queued = step.serial;
    this.#steps = this.#steps.slice(this.#steps.indexOf(step) + 1);
  }

  /** Within `exclusively`: none of them is to be moved any more. */
  drop(): void {
    this.#steps = [];
  }

  /** Moves what the queue takes, and nothing from then on. */
  async end(): Promise<void> {
    if (this.#retry === null) await this.#moveAll().catch(() => undefined);
    this.#retry?.cancel();
    await this.#moving?.catch(() => undefined);
    this.#ended = true;
  }

  async #moveAll(): Promise<void> {
    while (this.#steps.length > 0) await this.#moveOne();
  }

  /** The first step, or the one under way. The next follows by itself. */
  async #moveOne(): Promise<void> {
    if (this.#steps.length === 0 || this.#ended) return;
    this.#moving ??= this.#move()
      .finally(() => {
        this.#moving = null;
      })
      .then(() => this.soon());
    await this.#moving;
  }

  async #move(): Promise<void> {
    this.#retry?.cancel();
    this.#retry = null;
    try {
      await this.#moveFirst();
    } catch (error) {
      this.#retry = this.#o.clock.after(RETRY_MS, false, () => this.soon());
      this.#o.onTrouble(error);
      throw error;
    }
  }

  async #moveFirst(): Promise<void> {
    const step = this.#steps[0]!;
    const { entry, serial } = step;
    // Of positions only the last one counts.
    if (entry !== null || this.#steps.length === 1) {
      if (entry !== null) await this.#moveEntry(step, entry);
      else await this.#o.queue.savePosition(counted(step));
      this.#queued = serial;
    }
    this.#steps.shift();
    if (this.#steps.length === 0) this.#o.onEmpty();
  }

  async #moveEntry(step: Staged, entry: CacheEntry): Promise<void> {
    const append = this.#o.queue.append(step.replacing);
    try {
      for (const part of this.#o.read(step)) await append.write(part);
      await append.commit(entry, counted(step));
    } catch (error) {
      await append.abort();
      throw error;
    }
  }
}

function counted({ serial, record }: Staged): QueueRecord {
  return { ...record, staged: serial };
}
