import { Random } from "../replicator/random.ts";
import { Trace } from "./trace.ts";

/** The process is gone: nothing that it does from here on has an effect. */
export class Crash extends Error {}

/** An invariant does not hold. */
export class Violation extends Error {}

interface Event {
  at: number;
  readonly order: number;
  /** Null: it happens outside of any process (a request arrives, the weather changes). */
  readonly life: Life | null;
  readonly label: string;
  readonly act: () => void | Promise<void>;
  cancelled: boolean;
}

/** 2030-01-01: what the clocks of servers show when a simulation begins. */
const BEGINNING = 1_893_456_000_000;
/** Beyond this a simulation does not come to rest. */
const MOST_EVENTS = 40_000;

/**
 * Time, chance and order of everything that is simulated, all of it from one seed. One event at a time, and between two
 * of them all that was promised is kept: no event of the real loop takes part.
 */
export class World {
  readonly random: Random;
  readonly trace: Trace;
  /** True time, milliseconds since 1970. */
  time = BEGINNING;
  /** The process whose event it is. */
  current: Life | null = null;
  failure: unknown = null;
  #queue: Event[] = [];
  #order = 0;
  #events = 0;

  constructor(
    readonly seed: number,
    verbose: boolean,
  ) {
    this.random = new Random(seed);
    this.trace = new Trace(verbose);
  }

  note(line: string): void {
    this.trace.note(line);
  }

  fail(error: unknown): void {
    this.failure ??= error;
  }

  require(condition: unknown, message: string | (() => string)): void {
    if (condition) return;
    const violation = new Violation(typeof message === "string" ? message : message());
    this.fail(violation);
    throw violation;
  }

  schedule(
    delay: number,
    life: Life | null,
    label: string,
    act: () => void | Promise<void>,
  ): { cancel(): void } {
    this.#order += 1;
    const event = { at: this.time + delay, order: this.#order, life, label, act, cancelled: false };
    this.#push(event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  /** Until nothing is left to happen, `done` says so, or something failed. */
  async run(done: () => boolean): Promise<void> {
    while (this.failure === null && !done()) {
      const event = this.#pop();
      if (event === undefined) return;
      if (event.cancelled || event.life?.dead) continue;
      if (event.life?.defer(event)) continue;
      this.#events += 1;
      this.require(this.#events < MOST_EVENTS, "the simulation does not come to rest");
      this.time = Math.max(this.time, event.at);
      this.current = event.life;
      this.note(`${event.label} ${this.time.toFixed(3)}`);
      try {
        event.life?.operation();
        const acting = event.act();
        if (acting !== undefined) acting.catch((error: unknown) => this.#raise(error));
      } catch (error) {
        this.#raise(error);
      }
      await settle();
      this.current = null;
    }
  }

  /** What a process had to do while it slept is done at once when it wakes. */
  again(event: Event): void {
    event.at = this.time;
    this.#push(event);
  }

  #raise(error: unknown): void {
    if (!(error instanceof Crash)) this.fail(error);
  }

  #push(event: Event): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!before(event, queue[up]!)) break;
      queue[at] = queue[up]!;
      at = up;
    }
    queue[at] = event;
  }

  #pop(): Event | undefined {
    const queue = this.#queue;
    const first = queue[0];
    const last = queue.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= queue.length) break;
      if (down + 1 < queue.length && before(queue[down + 1]!, queue[down]!)) down += 1;
      if (!before(queue[down]!, last)) break;
      queue[at] = queue[down]!;
      at = down;
    }
    queue[at] = last;
    return first;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** All that is promised and not waiting for an event is done. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One run of a process, from its start to its end. */
export class Life {
  dead = false;
  /** Until then nothing happens in it: its machine sleeps, or it was stopped. What it sent before is on its way. */
  asleepUntil = 0;
  #deferred: Event[] = [];
  /** Called once, when it ends by itself. */
  onEnd = (): void => undefined;
  /** Operations until it crashes. */
  remaining: number;
  readonly begun: number;

  constructor(
    readonly world: World,
    readonly name: string,
    remaining: number,
  ) {
    this.remaining = remaining;
    this.begun = world.time;
  }

  /** Something outside of the process is about to be done: that is where it may end. */
  operation(label?: string): void {
    if (this.dead) throw new Crash(this.name);
    if (label !== undefined) this.world.note(`${this.name} ${label}`);
    this.remaining -= 1;
    if (this.remaining > 0) return;
    this.end();
    throw new Crash(this.name);
  }

  end(): void {
    if (this.dead) return;
    this.world.note(`${this.name} ends`);
    this.dead = true;
    this.onEnd();
  }

  sleep(until: number): void {
    const { world } = this;
    if (until <= Math.max(this.asleepUntil, world.time)) return;
    this.asleepUntil = until;
    world.schedule(until - world.time, null, `${this.name} wakes`, () => {
      if (this.asleepUntil === until) this.wake();
    });
  }

  wake(): void {
    this.asleepUntil = 0;
    for (const event of this.#deferred.splice(0)) this.world.again(event);
  }

  /** Whether the event waits for this process to wake. */
  defer(event: Event): boolean {
    if (this.asleepUntil === 0) return false;
    this.#deferred.push(event);
    return true;
  }

  schedule(delay: number, label: string, act: () => void | Promise<void>): { cancel(): void } {
    if (this.dead) return { cancel: () => undefined };
    return this.world.schedule(delay, this, `${this.name} ${label}`, act);
  }

  /** Never resolves when the process ends before. */
  wait(delay: number, label: string): Promise<void> {
    return new Promise((resolve) => this.schedule(delay, label, resolve));
  }
}
