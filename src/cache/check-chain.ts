import { assert } from "../assert.ts";
import { samePosition } from "../format/position.ts";
import type { CacheEntry, PositionRecord } from "./write-cache.ts";

/**
 * What every change of a write cache keeps: entries form a chain, and end at the cached position, unless a resync is
 * marked and begins anew.
 */
export function checkChain(entries: readonly CacheEntry[], position: PositionRecord): void {
  for (const [i, { from, to }] of entries.entries()) {
    assert(from.txid < to.txid, "a segment goes forward");
    assert(i === 0 || samePosition(entries[i - 1]!.to, from), "entries form a chain");
  }
  const tail = entries.at(-1)?.to;
  const whole = position.resync !== undefined || tail === undefined || samePosition(tail, position.cached);
  assert(whole, "the entries end at the cached position");
}

/** Whether both are the same segment. */
export function sameEntry(a: Pick<CacheEntry, "from" | "to">, b: Pick<CacheEntry, "from" | "to">): boolean {
  return samePosition(a.from, b.from) && samePosition(a.to, b.to);
}

/** Where in the queue a segment goes that replaces these, which are neighbours there: behind all if none. */
export function placeOf<T>(entries: readonly T[], replaced: readonly T[]): number {
  const first = replaced[0];
  if (first === undefined) return entries.length;
  const at = entries.indexOf(first);
  assert(at >= 0, "what is replaced is in the queue");
  assert(
    replaced.every((entry, i) => entries[at + i] === entry),
    "what is replaced are neighbours",
  );
  return at;
}

/** The same for a write cache, whose head may be under way to the store. */
export function placeBehindHead<T>(entries: readonly T[], replaced: readonly T[]): number {
  const at = placeOf(entries, replaced);
  assert(at > 0 || replaced.length === 0, "what is replaced is behind the head");
  return at;
}
