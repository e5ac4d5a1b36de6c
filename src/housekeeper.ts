import type { Compactor } from "./compact.ts";
import { isDamage } from "./damage.ts";
import type { SluiceError } from "./errors.ts";
import { pass } from "./housekeeping.ts";
import type { HousekeepingTaskOptions } from "./housekeeping-task.ts";
import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import { isGone } from "./look-again.ts";
import type { Levels } from "./plan-compaction.ts";
import type { SegmentInfo } from "./replica.ts";
import { readNewestState } from "./replica-state.ts";

/** Between two tries to delete by credentials that do not allow it, milliseconds. */
const REFUSED_MS = 6 * 3600 * 1000;

/** What a writer's housekeeping knows of its replica from one run to the next. See `HousekeepingTask` for when. */
export class Housekeeper {
  readonly #o: HousekeepingTaskOptions;
  /** With the part of the replica that decides what comes next; null where that is not known. */
  #compactor: Compactor | null = null;
  /** Problems that were reported: they stay, and each listing finds them again. */
  readonly #told = new Set<string>();
  /** When the credentials were last found not to allow to delete; null when they did, or nobody knows. */
  #refusedAt: number | null = null;

  constructor(options: HousekeepingTaskOptions) {
    this.#o = options;
  }

  get refused(): boolean {
    return this.#refusedAt !== null;
  }

  /** Rights may be given later, but each try reads what stands for the objects that are to go. */
  get mayDelete(): boolean {
    return this.#refusedAt === null || this.#o.platform.clock.now() - this.#refusedAt >= REFUSED_MS;
  }

  get knowsReplica(): boolean {
    return this.#compactor !== null;
  }

  /** Segments that wait to be merged. */
  get waiting(): number {
    return this.#compactor === null ? 0 : this.#compactor.levels[0]!.length;
  }

  /**
   * Lists the replica, merges what can be merged, and deletes what need not stay. `uploaded`: since the last run. What is not
   * there any more, although nobody may have deleted it yet, the store has lost.
   */
  async list(uploaded: readonly SegmentInfo[]): Promise<void> {
    const { platform, store, lineage, compaction, retention, signal, pinned } = this.#o;
    const { codecs, clock } = platform;
    const deletes = retention !== null && this.mayDelete;
    const known = [...(this.#compactor?.levels[0] ?? []), ...uploaded];
    this.#compactor = null;
    const { compactor, outcome } = await pass(
      { codecs, clock, store, lineage, signal },
      {
        compact: compaction,
        retention: deletes ? { ...retention, pinned: pinned() } : null,
      },
    );
    if (outcome.refused) this.#refusedAt = clock.now();
    else if (outcome.deleted.length > 0) this.#refusedAt = null;
    const missing = isMissing(known, compactor.levels, clock.now());
    await this.#settle(compactor, outcome.problems, missing);
  }

  /** Merges by what is known, and what was uploaded since. */
  async merge(uploaded: readonly SegmentInfo[]): Promise<void> {
    const compactor = this.#compactor!;
    for (const segment of uploaded) compactor.add(segment);
    try {
      await compactor.run();
    } catch (error) {
      // Another one merged and deleted what was known here.
      if (isGone(error)) return this.list([]);
      this.#compactor = null;
      throw error;
    }
    await this.#settle(compactor, [], false);
  }

  async #settle(compactor: Compactor, problems: readonly SluiceError[], missing: boolean): Promise<void> {
    const found = [...compactor.problems, ...problems].filter(({ message }) => !this.#told.has(message));
    for (const problem of found) {
      this.#told.add(problem.message);
      this.#o.onFailed(problem);
    }
    compactor.trim();
    this.#compactor = compactor;
    if (missing || found.length > 0) await this.#lookWhole();
  }

  /** What looks like a gap may lie before the newest snapshot, or be what another one does just now. */
  async #lookWhole(): Promise<void> {
    const { store, lineage, platform, signal, onBroken } = this.#o;
    try {
      await readNewestState(store, lineage, platform.codecs, signal);
    } catch (error) {
      if (!isDamage(error)) throw error;
      await onBroken(error);
    }
  }
}

/** Whether one of them is not there, while it is too young for anybody to have deleted it. */
function isMissing(known: readonly SegmentInfo[], levels: Levels, now: number): boolean {
  const there = new Set(levels[0]!.map(({ key }) => key));
  return known.some(({ key, lastModified }) => now - lastModified < LEVEL0_STAYS_MS && !there.has(key));
}
