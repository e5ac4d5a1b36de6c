import { type Position, samePosition } from "../format/position.ts";
import type { Mark, Step } from "./side-file.ts";
import { CACHE_LOST, type CacheEntry, type PositionRecord } from "./write-cache.ts";

/** A step that is on its way into the queue; `entry` is null for a position alone. */
export interface Staged extends Step {
  readonly replacing: readonly CacheEntry[];
}

/** What a crash left: of the queue, and of the side file. */
export interface Left {
  readonly position: PositionRecord | null;
  readonly entries: readonly CacheEntry[];
  /** How many steps the queue has taken over. */
  readonly queued: number;
  readonly steps: readonly Step[];
  readonly mark: Mark | null;
}

/** What a write cache goes on with. */
export interface TakenOver {
  readonly position: PositionRecord | null;
  readonly entries: readonly CacheEntry[];
  /** The steps that the queue does not have. */
  readonly staged: readonly Staged[];
  readonly serial: number;
  /** The queue was lost, and with it what waited there: nothing of the side file continues it. */
  readonly lost: boolean;
}

/** The two do not make one history. */
export class BrokenStagingError extends Error {}

/** Puts together what the queue has and what the side file holds beyond. Pure. Throws BrokenStagingError. */
export function takeOver(left: Left): TakenOver {
  const { queued, steps, mark } = left;
  if (queued === 0 && (steps.length > 0 || mark !== null) && steps[0]?.serial !== 1)
    return goOnWithoutQueue(steps.at(-1));
  const later = steps.filter(({ serial }) => serial > queued);
  if (later.length > 0 && later[0]!.serial !== queued + 1)
    throw new BrokenStagingError(`it has step ${queued} and then step ${later[0]!.serial}`);
  const last = later.at(-1);
  const serial = last?.serial ?? queued;
  const record = last?.record ?? left.position;
  const marked = mark !== null && mark.serial >= serial && record !== null;
  const position = marked ? { resync: mark.reason, ...record } : record;
  return { position, serial, lost: false, ...follow(left, later, position?.resync) };
}

/** The newest step still says who wrote, and how far. */
function goOnWithoutQueue(last: Step | undefined): TakenOver {
  const position = last === undefined ? null : { ...last.record, resync: CACHE_LOST };
  return { position, entries: [], staged: [], serial: last?.serial ?? 0, lost: true };
}

/**
 * Adds the entries of the steps, each where it continues the others. One that does not was dropped before a crash, which a
 * mark has to say.
 */
function follow(
  left: Left,
  later: readonly Step[],
  resync: string | undefined,
): Pick<TakenOver, "entries" | "staged"> {
  let { entries } = left;
  let cached = left.position?.cached;
  const staged = later.map((step): Staged => {
    const { entry, replaced, record } = step;
    const at = entry === null ? -1 : placeOf(entries, entry, replaced, cached);
    cached = record.cached;
    if (entry === null) return { ...step, replacing: [] };
    if (at === -1) {
      if (resync === undefined)
        throw new BrokenStagingError(`nothing leads to transaction ${entry.from.txid}`);
      return { ...step, entry: null, record: { resync, ...record }, replacing: [] };
    }
    const replacing = entries.slice(at, at + replaced);
    entries = entries.toSpliced(at, replaced, entry);
    return { ...step, replacing };
  });
  const tail = entries.at(-1)?.to;
  if (tail && resync === undefined && !(cached && samePosition(tail, cached)))
    throw new BrokenStagingError(`its entries end at ${tail.txid}, its record at ${cached?.txid}`);
  return { entries, staged };
}

/** Where among the entries one belongs; -1: nowhere. */
function placeOf(
  entries: readonly CacheEntry[],
  { from }: CacheEntry,
  replaced: number,
  cached: Position | undefined,
): number {
  if (replaced > 0) return entries.findIndex((each) => samePosition(each.from, from));
  const end = entries.at(-1)?.to ?? cached;
  return end === undefined || samePosition(from, end) ? entries.length : -1;
}
