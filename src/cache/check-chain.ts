import { assert } from "../assert.ts";
import { samePosition } from "../format/position.ts";
import type { CacheEntry, PositionRecord } from "./write-cache.ts";

/**
 * What every change of a write cache keeps: entries form a chain, and end at the cached position, unless a resync is
 * marked and begins anew.
 */
export function checkChain(
  placed: readonly { readonly entry: CacheEntry }[],
  position: PositionRecord,
): void {
  for (const [i, { entry }] of placed.entries()) {
    assert(entry.from.txid < entry.to.txid, "a segment goes forward");
    assert(i === 0 || samePosition(placed[i - 1]!.entry.to, entry.from), "entries form a chain");
  }
  const tail = placed.at(-1)?.entry.to;
  const whole = position.resync !== undefined || tail === undefined || samePosition(tail, position.cached);
  assert(whole, "the entries end at the cached position");
}
