import { History, type Reached } from "./history.ts";
import type { Listing, SegmentInfo } from "./replica.ts";

/** States that follow one another without a gap, at one grain or a finer one. */
export interface Span {
  readonly from: Reached;
  readonly to: Reached;
  /** How many states there are to restore. */
  readonly states: number;
  /** Each state but the first is where a segment of this level ends, or of a lower one. Null where it is one snapshot. */
  readonly level: number | null;
}

/**
 * What can be restored, as far as keys tell, oldest first: how far back at the grain of each level, and what stands alone
 * behind a gap. Pure.
 */
export function restorableSpans(listing: Listing): Span[] {
  const history = new History(listing);
  const states = history
    .walk(Number.POSITIVE_INFINITY)
    .reached.filter((state) => history.isRestorable(state));
  const grains = grainsOf(history, listing.segments, states);
  const spans: Span[] = [];
  let last = states.length - 1;
  while (last >= 0) {
    const level = grains[last]!;
    let first = last;
    while (grains[first] !== null && grains[first]! <= (level ?? -1)) first -= 1;
    // The state before a coarser step begins this span and ends the one before.
    spans.push({ from: states[first]!, to: states[last]!, states: last - first + 1, level });
    last = grains[first] === null ? first - 1 : first;
  }
  return spans.reverse();
}

/**
 * For each state the lowest level of a segment that leads there from another state; for a snapshot within a segment that
 * leads over it, that one's level. Null where neither is.
 */
function grainsOf(
  history: History,
  segments: readonly SegmentInfo[],
  states: readonly Reached[],
): (number | null)[] {
  const known = new Set(states.map(({ txid }) => txid));
  const steps = segments
    .map((info) => ({ from: info.minTxid - 1, to: history.endOf(info) ?? info.minTxid, level: info.level }))
    .filter(({ from }) => known.has(from))
    .sort((a, b) => a.from - b.from);
  const finest = new Map<number, number>();
  for (const { to, level } of steps) finest.set(to, Math.min(level, finest.get(to) ?? level));
  let next = 0;
  let farthest = { to: 0, level: 0 };
  return states.map(({ txid }) => {
    for (; next < steps.length && steps[next]!.from < txid; next++)
      if (steps[next]!.to > farthest.to) farthest = steps[next]!;
    return finest.get(txid) ?? (farthest.to > txid ? farthest.level : null);
  });
}
