import { BrokenReplicaError, CorruptObjectError, type SluiceError, StoreError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectHeader } from "./format/header.ts";
import { indexPayloadSize } from "./format/index-table.ts";
import { maxLevel, segmentKey } from "./format/keys.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";
import { mergeSegments } from "./merge.ts";
import {
  type Facts,
  firstFrom,
  frontier,
  groupsToRemake,
  type Levels,
  nextGroups,
  type Remake,
} from "./plan-compaction.ts";
import type { Clock } from "./platform.ts";
import { prefetch } from "./prefetch.ts";
import { findObject, openStored, readIndexSize, type SegmentInfo } from "./replica.ts";
import type { ObjectInfo, ObjectStore } from "./store/object-store.ts";

/**
 * Bytes that the indexes of a group's objects may have together, so that a merge fits into memory whatever their size: a
 * group ends before the object that would exceed it, and one that exceeds it alone is never part of a group. Counted by
 * the index, which is the same whoever made the object; its blocks may be compressed differently.
 */
export const INDEX_LIMIT = 2 << 20;
/** Bytes up to which an object is held until it is complete, so that it can be created by one request that never replaces. */
const HELD_BYTES = 4 << 20;
const OPEN_AHEAD = 8;

export interface CompactionContext {
  readonly store: ObjectStore;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly lineage: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CompactProgress) => void) | undefined;
}

/** How far a compaction is, in objects that it makes; those of the next levels are known when it gets there. */
export interface CompactProgress {
  readonly made: number;
  readonly total: number;
}

/** Merges neighbouring segments of a replica into larger ones. Holds what it knows of the replica, and what it made. */
export class Compactor {
  readonly #context: CompactionContext;
  readonly #facts: Facts = { unmergeable: new Set(), breaks: new Set() };
  #levels: SegmentInfo[][];
  /** Segments that do not belong together or cannot be read: reported, never merged. */
  readonly problems: SluiceError[] = [];
  /** Keys of the objects made, or found made by another. */
  readonly made: string[] = [];

  /** `levels` ascending; what is made is added to them. */
  constructor(context: CompactionContext, levels: SegmentInfo[][]) {
    this.#context = context;
    this.#levels = levels;
  }

  get levels(): Levels {
    return this.#levels;
  }

  /** Makes every object that can be made. Throws StoreError; where what was listed `isGone`, list again. */
  async run(): Promise<void> {
    for (let level = 1; level <= maxLevel; level++)
      await this.#mergeAll(level, () => nextGroups(this.#levels, level, this.#facts));
  }

  /** Makes objects of level 1 again, of segments that are about to go. */
  async remake(isExpired: (segment: SegmentInfo) => boolean): Promise<void> {
    await this.#mergeAll(1, () => this.toRemake(isExpired).map(({ group }) => group));
  }

  toRemake(isExpired: (segment: SegmentInfo) => boolean): Remake[] {
    return groupsToRemake(this.#levels, this.#facts, isExpired);
  }

  /** A segment that was uploaded, or that is taken for made. */
  add(segment: SegmentInfo): void {
    insert(this.#levels[segment.level]!, segment);
  }

  /** Forgets what decides nothing any more. */
  trim(): void {
    this.#levels = frontier(this.#levels);
    this.made.length = 0;
    this.problems.length = 0;
  }

  async #mergeAll(level: number, plan: () => SegmentInfo[][]): Promise<void> {
    const { signal, onProgress } = this.#context;
    for (let groups = plan(); groups.length > 0; groups = plan()) {
      const total = this.made.length + groups.length;
      for (const group of groups) {
        signal?.throwIfAborted();
        const whole = await this.#mergeGroup(level, group);
        onProgress?.({ made: this.made.length, total });
        // What follows begins elsewhere now.
        if (!whole) break;
      }
    }
  }

  /** Returns whether all of the group became one object. */
  async #mergeGroup(level: number, group: readonly SegmentInfo[]): Promise<boolean> {
    const opened = await this.#open(group);
    if (opened === null) return false;
    if (opened.length < 2) {
      this.#facts.unmergeable.add(group[0]!.key);
      return false;
    }
    const header = headerOf(opened);
    const key = segmentKey(level, header.from!.txid + 1, header.to.txid);
    const size = await this.#publish(key, header, opened);
    const { txid } = header.to;
    const now = this.#context.clock.now();
    const minTxid = header.from!.txid + 1;
    this.add({ key, size, level, minTxid, maxTxid: txid, lastModified: now, age: 0 });
    this.made.push(key);
    return opened.length === group.length;
  }

  /** As many of the group's first as may be merged; null where something came out that changes the groups. */
  async #open(group: readonly SegmentInfo[]): Promise<ObjectReader[] | null> {
    const { lineage } = this.#context;
    // No object is smaller than its index.
    const fits = group.reduce((sum, { size }) => sum + size, 0) <= INDEX_LIMIT;
    const opened: ObjectReader[] = [];
    let weight = 0;
    for await (const [info, object] of prefetch(group, fits ? OPEN_AHEAD : 1, (info) =>
      this.#openOne(info),
    )) {
      if (object === "too-large") break;
      if (object instanceof CorruptObjectError) return this.#note(this.#facts.unmergeable, info.key, object);
      const before = opened.at(-1);
      const { key, from, header } = object;
      if (header.lineage !== lineage) {
        const problem = new BrokenReplicaError(`${key} belongs to another history`, { key });
        return this.#note(this.#facts.unmergeable, key, problem);
      }
      if (before && (!samePosition(before.to, from!) || before.pageSize !== object.pageSize)) {
        const txid = before.to.txid + 1;
        const problem = new BrokenReplicaError(`${key} does not continue ${before.key}`, { key, txid });
        return this.#note(this.#facts.breaks, info.minTxid, problem);
      }
      weight += indexPayloadSize(object.pgnos.length, object.blockCount);
      if (weight > INDEX_LIMIT) break;
      opened.push(object);
    }
    return opened;
  }

  #note<T>(facts: Set<T>, fact: T, problem: SluiceError): null {
    facts.add(fact);
    this.problems.push(problem);
    return null;
  }

  async #openOne(
    info: SegmentInfo,
  ): Promise<readonly [SegmentInfo, ObjectReader | "too-large" | CorruptObjectError]> {
    const { store, codecs, signal } = this.#context;
    try {
      // Reading a large index would need the memory that this is to spare.
      const large = info.size > INDEX_LIMIT && (await readIndexSize(store, info, signal)) > INDEX_LIMIT;
      if (large) return [info, "too-large"];
      return [info, await openStored(store, info, codecs, signal)];
    } catch (error) {
      if (error instanceof CorruptObjectError) return [info, error];
      throw error;
    }
  }

  /** Creates the object, or finds that it is there. Returns its size. Throws BrokenReplicaError where another stands there. */
  async #publish(key: string, header: ObjectHeader, inputs: ObjectReader[]): Promise<number> {
    const { store, codecs, clock, signal } = this.#context;
    const options = signal && { signal };
    const chunks = mergeSegments(inputs, header, codecs);
    const held: Uint8Array[] = [];
    let heldBytes = 0;
    let step = await chunks.next();
    for (; !step.done && heldBytes <= HELD_BYTES; step = await chunks.next()) {
      held.push(step.value);
      heldBytes += step.value.length;
      signal?.throwIfAborted();
      await clock.turn();
    }
    fault("compact:before-put");
    let size = heldBytes;
    if (step.done)
      try {
        await store.put(key, joined(held, heldBytes), { ...options, ifNoneMatch: "*" });
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "precondition-failed") throw error;
        const standing = await findObject(store, key, signal);
        // Another one has deleted it since: what is there now, a new listing tells.
        if (standing === null) throw new StoreError("not-found", `${key} is gone again`, { key });
        return await this.#sizeOf(standing, header);
      }
    else {
      // A stream replaces what is there: the same pages, but under a reader.
      const standing = await findObject(store, key, signal);
      if (standing !== null) return await this.#sizeOf(standing, header);
      const rest = async function* () {
        yield* held.splice(0);
        for (; !step.done; step = await chunks.next()) {
          yield step.value;
          await clock.turn();
        }
        size = step.value.size;
      };
      await store.putStream(key, rest(), { ...options });
    }
    fault("compact:after-put");
    return size;
  }

  /** The size of what stands under the key already, where it is what would have been made. */
  async #sizeOf(standing: ObjectInfo, header: ObjectHeader): Promise<number> {
    const { store, codecs, signal } = this.#context;
    const { key, size } = standing;
    const { from, to, header: other } = await openStored(store, standing, codecs, signal);
    const same = samePosition(from!, header.from!) && to.txid === header.to.txid && to.id === header.to.id;
    if (same && other.lineage === header.lineage) return size;
    throw new BrokenReplicaError(`${key} is made of other segments than those that are there`, { key });
  }
}

/** Made of nothing but the inputs, so that whoever merges them makes the same object. */
function headerOf(inputs: readonly ObjectReader[]): ObjectHeader {
  const [first] = inputs as [ObjectReader];
  const { header, to } = inputs.at(-1)!;
  const { last } = header.commits;
  return {
    ...header,
    from: first.from,
    to,
    commits: { first: Math.min(first.header.commits.first, last), last },
  };
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function insert(segments: SegmentInfo[], segment: SegmentInfo): void {
  const at = firstFrom(segments, segment.minTxid);
  segments.splice(at, segments[at]?.key === segment.key ? 1 : 0, segment);
}
