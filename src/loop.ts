import { StateError, StoreError } from "./errors.ts";
import type { Clock } from "./platform.ts";

/** Delays after failures, milliseconds: exponential with full jitter between these. */
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 60_000;
/** The longest delay that timers take; a longer one would be none. Waking early is harmless. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const NEVER = Number.POSITIVE_INFINITY;

/** Something to be done when it is due. One run at a time. */
export interface Task {
  /** When it wants to run, milliseconds since 1970; null: not at all, as things stand. */
  due(): number | null;
  run(): Promise<void>;
  /** Whether waiting for it keeps a Node process alive. */
  readonly holding: boolean;
  /** Called for a failure; false: do not try again by itself. */
  failed(error: unknown): boolean;
}

interface TaskState {
  readonly task: Task;
  running: Promise<{ cause: unknown } | null> | null;
  failures: number;
  notBefore: number;
}

/** The one timer: asks each task when it is due, sleeps until then, runs what is due. Failures wait longer each time. */
export class Loop {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #tasks: TaskState[];
  #timer: { cancel(): void } | null = null;
  #ended = false;

  constructor(clock: Clock, tasks: readonly Task[], random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
    this.#tasks = tasks.map((task) => ({ task, running: null, failures: 0, notBefore: 0 }));
  }

  /** Something changed: look again when the next task is due. */
  wake(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#ended) return;
    let next: { at: number; holding: boolean } | null = null;
    for (const state of this.#tasks) {
      const at = this.#dueOf(state);
      if (at !== null && (next === null || at < next.at)) next = { at, holding: state.task.holding };
    }
    if (next === null) return;
    const holding = this.#tasks.some((state) => state.task.holding && this.#dueOf(state) !== null);
    const delay = Math.min(LONGEST_TIMER_MS, Math.max(0, next.at - this.#clock.now()));
    this.#timer = this.#clock.after(delay, holding, () => this.#runDue());
  }

  /** What failed is not kept waiting any longer. */
  retry(): void {
    for (const state of this.#tasks) if (state.notBefore !== NEVER) state.notBefore = 0;
    this.wake();
  }

  #dueOf(state: TaskState): number | null {
    if (state.running !== null) return null;
    const due = state.task.due();
    return due === null || state.notBefore === NEVER ? null : Math.max(due, state.notBefore);
  }

  #runDue(): void {
    for (const state of this.#tasks) {
      const due = this.#dueOf(state);
      // By the time of each: what begins takes time, and a task that is due at once would otherwise never be.
      if (due !== null && due <= this.#clock.now()) void this.#start(state);
    }
    this.wake();
  }

  /** Resolves when the run has ended, with what it threw. */
  #start(state: TaskState): Promise<{ cause: unknown } | null> {
    state.running = this.#attempt(state).finally(() => {
      state.running = null;
      this.wake();
    });
    return state.running;
  }

  async #attempt(state: TaskState): Promise<{ cause: unknown } | null> {
    try {
      await state.task.run();
      state.failures = 0;
      state.notBefore = 0;
      return null;
    } catch (error) {
      state.failures += 1;
      state.notBefore = state.task.failed(error)
        ? this.#clock.now() + this.#delay(state.failures, error)
        : NEVER;
      return { cause: error };
    }
  }

  #delay(failures: number, error: unknown): number {
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
    const wished = error instanceof StoreError ? (error.detail.retryAfterMs ?? 0) : 0;
    return Math.max(wished, this.#random() * ceiling);
  }

  /** Runs a task now, due or not, after the run that may be under way. Rejects when it fails, or the loop has ended meanwhile. */
  async run(task: Task): Promise<void> {
    const state = this.#tasks.find((candidate) => candidate.task === task)!;
    while (state.running !== null) await state.running;
    if (this.#ended) throw new StateError("it was stopped before its turn came");
    const error = await this.#start(state);
    if (error !== null) throw error.cause;
  }

  /** No task begins any more. Resolves when those under way have ended. */
  async end(): Promise<void> {
    this.#ended = true;
    this.wake();
    await Promise.all(this.#tasks.map((state) => state.running));
  }
}
