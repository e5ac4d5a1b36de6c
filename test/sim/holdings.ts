import type { Retention } from "../../src/config.ts";
import type { Random } from "../replicator/random.ts";
import type { World } from "./world.ts";

interface Held {
  readonly level: number | null;
  /** Null: a snapshot. */
  readonly from: number | null;
  readonly to: number;
}

/**
 * The reference model of what the store holds: which transactions can be restored, and which of them no delete may take.
 * Positions need no ids here, since the chain has checked that there is one at each transaction.
 */
export class Holdings {
  readonly #world: World;
  readonly #retention: Retention;
  readonly #held = new Map<string, Held>();
  /** Until when each transaction was the newest in the store. */
  readonly #newestUntil = new Map<number, number>();
  #newest = 0;
  /** Ends of merged segments, which stay as long as history does. */
  readonly #merged = new Set<number>();

  /** `retention`: the shortest that anybody has who deletes. */
  constructor(world: World, retention: Retention) {
    this.#world = world;
    this.#retention = retention;
  }

  landed(key: string, held: Held): void {
    this.#held.set(key, held);
    if (held.level === 0 && held.to > this.#newest) {
      this.#newestUntil.set(this.#newest, this.#world.time);
      this.#newest = held.to;
    }
    if (held.level !== null && held.level > 0) this.#merged.add(held.to);
  }

  /** Of what could be restored, what retention keeps still can. */
  deleted(keys: readonly string[]): void {
    const before = this.restorable();
    for (const key of keys) this.#held.delete(key);
    const after = this.restorable();
    for (const txid of before)
      this.#world.require(
        after.has(txid) || !this.isKept(txid),
        () => `transaction ${txid} cannot be restored any more without ${keys.join()}`,
      );
  }

  /**
   * Some of what leads on from the newest snapshot or merged segment goes without anybody's asking. Returns its keys, and the
   * transaction at which the chain ends then.
   */
  loseEnd(random: Random): { keys: string[]; end: number } {
    const held = [...this.#held];
    const safe = Math.max(...held.filter(([, { level }]) => level !== 0).map(([, { to }]) => to));
    const last = held
      .filter(([, { level, from }]) => level === 0 && from! >= safe)
      .sort(([, a], [, b]) => a.from! - b.from!);
    const lost = last.slice(random.below(last.length + 1));
    const keys = lost.map(([key]) => key);
    for (const key of keys) this.#held.delete(key);
    if (keys.length > 0) this.#newest = lost[0]![1].from!;
    this.#newestUntil.delete(this.#newest);
    return { keys, end: this.#newest };
  }

  /** Whether retention keeps it. What is older goes bit by bit, and nobody promises which of it can be restored meanwhile. */
  isKept(txid: number): boolean {
    const { retentionMs, fineRetentionMs } = this.#retention;
    const until = this.#newestUntil.get(txid) ?? Number.POSITIVE_INFINITY;
    return until > this.#world.time - (this.#merged.has(txid) ? retentionMs : fineRetentionMs);
  }

  restorable(): Set<number> {
    const held = [...this.#held.values()];
    const reached = new Set(held.filter(({ from }) => from === null).map(({ to }) => to));
    for (const { from, to } of held.sort((a, b) => (a.from ?? -1) - (b.from ?? -1)))
      if (from !== null && reached.has(from)) reached.add(to);
    return reached;
  }
}
