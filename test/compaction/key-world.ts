import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { type Facts, groupsToRemake, levelsOf, nextGroups } from "../../src/plan-compaction.ts";
import {
  type Deletion,
  PLAN_VALID_MS,
  planRetention,
  type RetentionRules,
} from "../../src/plan-retention.ts";
import type { Listing, SegmentInfo, SnapshotInfo } from "../../src/replica.ts";

export const HOUR_MS = 3600 * 1000;

export function noFacts(): Facts {
  return { unmergeable: new Set(), breaks: new Set() };
}

/** A segment as a listing has it, and where it really ends. */
interface Stored {
  readonly key: string;
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly time: number;
}

/** A replica of which only keys, ends and times exist, with a clock of its own. */
export class KeyWorld {
  now = 1_800_000_000_000;
  txid = 0;
  readonly segments = new Map<string, Stored>();
  readonly snapshots = new Map<number, number>();
  /** Every segment of level 0 that ever was: where it ends, and when it was uploaded. */
  readonly uploads: { readonly end: number; readonly time: number }[] = [];
  /** Ends of the groups of level 1 that are the right ones. */
  readonly groupEnds = new Set<number>();

  upload(commits: number): void {
    const minTxid = this.txid + 1;
    this.txid += commits;
    this.#put(0, minTxid, this.txid);
    this.uploads.push({ end: this.txid, time: this.now });
    if (this.uploads.length % 16 === 0) this.groupEnds.add(this.txid);
  }

  #put(level: number, minTxid: number, maxTxid: number): void {
    const key = segmentKey(level, minTxid, maxTxid);
    if (!this.segments.has(key)) this.segments.set(key, { key, level, minTxid, maxTxid, time: this.now });
  }

  snapshot(): void {
    if (!this.snapshots.has(this.txid)) this.snapshots.set(this.txid, this.now);
  }

  list(): Listing {
    const info = (key: string, time: number) => ({
      key,
      size: 100,
      lastModified: time,
      age: this.now - time,
    });
    const segments: SegmentInfo[] = [...this.segments.values()]
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .map(({ key, level, minTxid, maxTxid, time }) => {
        return { ...info(key, time), level, minTxid, maxTxid: level === 0 ? null : maxTxid };
      });
    const snapshots: SnapshotInfo[] = [...this.snapshots]
      .sort(([a], [b]) => a - b)
      .map(([txid, time]) => ({ ...info(snapshotKey(txid), time), txid }));
    return { snapshots, segments };
  }

  /** Makes the object, if everything it is made of is there. */
  merge(level: number, group: readonly SegmentInfo[]): boolean {
    const inputs = group.map(({ key }) => this.segments.get(key));
    if (inputs.some((input) => input === undefined)) return false;
    this.#put(level, inputs[0]!.minTxid, inputs.at(-1)!.maxTxid);
    return true;
  }

  /** Up to `count` merges by a listing that may be old. */
  compact(count = Number.POSITIVE_INFINITY): void {
    for (let level = 1; level <= 3; level++)
      for (const group of nextGroups(levelsOf(this.list()), level, noFacts())) {
        if (count-- <= 0) return;
        this.merge(level, group);
      }
  }

  remake(fineRetentionMs: number, count = Number.POSITIVE_INFINITY): void {
    const expired = ({ age }: SegmentInfo) => age >= fineRetentionMs;
    for (const { group, maxTxid } of groupsToRemake(levelsOf(this.list()), noFacts(), expired)) {
      if (count-- <= 0) return;
      const last = this.segments.get(group.at(-1)!.key)!;
      if (last.maxTxid !== maxTxid)
        throw new Error(`a group ends at ${last.maxTxid}, planned was ${maxTxid}`);
      this.merge(1, group);
    }
  }

  plan(rules: RetentionRules): { at: number; deletions: Deletion[] } {
    return { at: this.now, deletions: planRetention(this.list(), rules) };
  }

  /** Carries out those that `chosen` names of a plan, as `prune` does: not when it is old, nor without the cover. */
  delete({ at, deletions }: { at: number; deletions: Deletion[] }, chosen: (i: number) => boolean): void {
    if (this.now - at > PLAN_VALID_MS) return;
    deletions.forEach(({ object, coveredBy }, i) => {
      const covered =
        "txid" in coveredBy ? this.snapshots.has(coveredBy.txid) : this.segments.has(coveredBy.key);
      if (!chosen(i) || !covered) return;
      if ("txid" in object) this.snapshots.delete(object.txid);
      else this.segments.delete(object.key);
    });
  }

  /** Every transaction to which some snapshot and segments lead, exactly. */
  restorable(): Set<number> {
    const from = new Map<number, number[]>();
    for (const { minTxid, maxTxid } of this.segments.values())
      from.set(minTxid - 1, [...(from.get(minTxid - 1) ?? []), maxTxid]);
    const found = new Set(this.snapshots.keys());
    // A set that grows while it is walked is walked to its end.
    for (const txid of found) for (const end of from.get(txid) ?? []) found.add(end);
    return found;
  }

  /** What retention promises, of what could be restored at all. */
  promised({ retentionMs, fineRetentionMs }: RetentionRules, first: number): number[] {
    const promised = this.uploads
      .filter(({ end, time }) => {
        const age = this.now - time;
        return age < fineRetentionMs || (age < retentionMs && this.groupEnds.has(end));
      })
      .map(({ end }) => end);
    return [...promised, this.txid].filter((txid) => txid >= first);
  }

  /** Objects that a restore of the newest state opens, the longest at each place. */
  newestCount(): number {
    const byStart = new Map<number, number>();
    for (const { minTxid, maxTxid } of this.segments.values())
      byStart.set(minTxid, Math.max(maxTxid, byStart.get(minTxid) ?? 0));
    let count = 1;
    for (let end = Math.max(...this.snapshots.keys()); end < this.txid; count++) end = byStart.get(end + 1)!;
    return count;
  }
}
