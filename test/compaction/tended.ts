import { AsyncLocalStorage } from "node:async_hooks";
import { armFaults } from "../../src/faults.ts";
import { compact, pruneReplica } from "../../src/housekeeping.ts";
import type { Clock } from "../../src/platform.ts";
import type {
  GetOptions,
  ListOptions,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreOptions,
} from "../../src/store/object-store.ts";
import { codecs } from "../format/objects.ts";
import { TestClock } from "./chain.ts";

const DAY_SECS = 24 * 3600;
export const RETENTION_SECS = 2 * DAY_SECS;
/** The shortest that is allowed. */
export const FINE_RETENTION_SECS = 6 * 3600;

/** The fault points of compaction and retention. */
export const FAULT_POINTS = [
  "compact:before-put",
  "compact:after-put",
  "prune:before-delete",
  "prune:after-delete",
] as const;
/** In the middle of a delete of several objects. */
export const WITHIN_DELETE = "within a delete";
export const DEATHS = [...FAULT_POINTS, WITHIN_DELETE] as const;

/** Where an instance dies, and at which time that it passes there. */
export interface Death {
  readonly at: (typeof DEATHS)[number];
  readonly pass: number;
}

/** What one instance is to do. */
export interface Work {
  readonly verb: "compact" | "prune";
  readonly fineRetentionSecs?: number;
  /** How far its clock is off, milliseconds. */
  readonly skewMs: number;
  /** Null: it lives. */
  readonly death: Death | null;
}

/** A replica that several instances work on at once. */
export interface Tended {
  /** The store's clock. */
  readonly clock: TestClock;
  /** For who writes to it and restores from it. */
  readonly store: ObjectStore;
  /** Lets everything in the store become older. */
  age(ms: number): Promise<void>;
  /** Another instance begins at once. Resolves to whether it died; rejects when it failed otherwise. */
  tend(work: Work): Promise<boolean>;
}

/** Does the work, by whatever instance. */
export async function carryOut(
  { verb, fineRetentionSecs = FINE_RETENTION_SECS }: Work,
  store: ObjectStore,
  clock: Clock,
): Promise<void> {
  const report =
    verb === "compact"
      ? await compact(store, codecs, clock, {})
      : await pruneReplica(store, codecs, clock, { retentionSecs: RETENTION_SECS, fineRetentionSecs });
  if (report === null) throw new Error("there is no replica");
  if (report.problems.length > 0) throw report.problems[0];
}

class Died extends Error {}

interface Instance {
  readonly death: Death | null;
  passes: number;
}
const instances = new AsyncLocalStorage<Instance>();

function pass(point: string): boolean {
  const instance = instances.getStore();
  return instance?.death?.at === point && ++instance.passes === instance.death.pass;
}

/**
 * Instances in this process, each with a store of its own to the same objects, whose ages a clock of the test's says.
 * Disarm the fault points when the test is over.
 */
export function tendedHere(open: () => ObjectStore): Tended {
  const clock = new TestClock();
  const times = new Map<string, number>();
  armFaults((point) => {
    if (pass(point)) throw new Died(point);
  });
  return {
    clock,
    store: new AgeingStore(open(), clock, times),
    async age(ms) {
      clock.time += ms;
    },
    tend: (work) =>
      instances.run({ death: work.death, passes: 0 }, async () => {
        const own = {
          now: () => clock.now() + work.skewMs,
          stopwatch: () => clock.stopwatch(),
          after: clock.after,
          turn: clock.turn,
        };
        try {
          await carryOut(work, new AgeingStore(open(), clock, times), own);
          return false;
        } catch (error) {
          if (error instanceof Died) return true;
          throw error;
        }
      }),
  };
}

/** A store that is asked for everything but the time. */
class AgeingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #clock: TestClock;
  readonly #times: Map<string, number>;

  /** `times`: when each object was put, for all instances. */
  constructor(store: ObjectStore, clock: TestClock, times: Map<string, number>) {
    this.#store = store;
    this.#clock = clock;
    this.#times = times;
  }

  get url(): string {
    return this.#store.url;
  }

  async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    await this.#store.put(key, body, options);
    this.#times.set(key, this.#clock.now());
  }

  async putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void> {
    await this.#store.putStream(key, body, options);
    this.#times.set(key, this.#clock.now());
  }

  get(key: string, options?: GetOptions) {
    return this.#store.get(key, options);
  }

  async *list(prefix: string, options?: ListOptions) {
    for await (const info of this.#store.list(prefix, options)) {
      // One that another instance puts at this moment was put just now.
      const lastModified = this.#times.get(info.key) ?? this.#clock.now();
      yield { ...info, lastModified, age: this.#clock.now() - lastModified };
    }
  }

  async delete(keys: readonly string[], options?: StoreOptions): Promise<void> {
    if (!pass(WITHIN_DELETE)) return this.#store.delete(keys, options);
    await this.#store.delete(
      keys.filter((_, i) => i % 2 === 0),
      options,
    );
    throw new Died(WITHIN_DELETE);
  }

  capabilities(options?: StoreOptions) {
    return this.#store.capabilities(options);
  }
}
