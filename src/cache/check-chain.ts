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
