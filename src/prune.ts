import { BrokenReplicaError, CorruptObjectError, type SluiceError, StoreError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";
import { isGone } from "./look-again.ts";
import { type Deletion, PLAN_VALID_MS } from "./plan-retention.ts";
import { openStored, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Keys in one request; S3 takes as many. */
const BATCH = 1000;

export interface PruneContext {
  readonly store: ObjectStore;
  readonly codecs: Codecs;
  readonly lineage: string;
  /** Started with the listing that the plan was made of. */
  readonly sinceListing: Stopwatch;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PruneProgress) => void) | undefined;
}

/** How far a prune is, in objects. */
export interface PruneProgress {
  readonly done: number;
  readonly total: number;
}

export interface PruneOutcome {
  readonly deleted: readonly string[];
  /** Why something stays that could go: what should stand for it is damaged, or not what it should be. */
  readonly problems: readonly SluiceError[];
  /** The credentials do not allow it. */
  readonly refused: boolean;
}

/**
 * Carries out a plan of retention. Before objects go, the one that stands for them is opened, and has to lead from where
 * the first of them begins to where the last one ends. A plan that has become old is left, for another to be made.
 */
export async function prune(context: PruneContext, plan: readonly Deletion[]): Promise<PruneOutcome> {
  const { store, sinceListing, signal, onProgress } = context;
  const deleted: string[] = [];
  const problems: SluiceError[] = [];
  let done = 0;
  let keys: string[] = [];
  // A machine may sleep while anything is awaited, so it is asked last before a delete.
  const isOld = () => sinceListing() > PLAN_VALID_MS;
  /** Returns whether the credentials allow it. */
  const flush = async () => {
    if (keys.length === 0 || isOld()) return true;
    fault("prune:before-delete");
    try {
      await store.delete(keys, { ...(signal && { signal }) });
    } catch (error) {
      if (error instanceof StoreError && error.kind === "access-denied") return false;
      throw error;
    }
    fault("prune:after-delete");
    deleted.push(...keys);
    keys = [];
    return true;
  };
  for (const group of byCover(plan)) {
    signal?.throwIfAborted();
    if (isOld()) break;
    const finding = await examine(context, group);
    if (finding === "covered") keys.push(...group.map(({ object }) => object.key));
    else if (finding !== "changed") problems.push(finding);
    done += group.length;
    onProgress?.({ done, total: plan.length });
    if (keys.length >= BATCH && !(await flush())) return { deleted, problems, refused: true };
  }
  return { deleted, problems, refused: !(await flush()) };
}

/** Deletions that follow each other in the plan and have one cover. */
function byCover(plan: readonly Deletion[]): Deletion[][] {
  const groups: Deletion[][] = [];
  for (const deletion of plan) {
    const group = groups.at(-1);
    if (group?.at(-1)?.coveredBy === deletion.coveredBy && group.length < BATCH) group.push(deletion);
    else groups.push([deletion]);
  }
  return groups;
}

/**
 * Whether the cover stands for all of the group: opening it checks header, index and id. "changed" where another one has
 * deleted, replaced or added some of it meanwhile: the plan is not true there.
 */
async function examine(
  context: PruneContext,
  group: readonly Deletion[],
): Promise<"covered" | "changed" | SluiceError> {
  const { coveredBy, lastWithin } = group[0]!;
  try {
    const cover = await open(context, coveredBy);
    if (cover.header.lineage !== context.lineage)
      return new BrokenReplicaError(`${cover.key} belongs to another history`, { key: cover.key });
    for (const edge of edgesOf(group, cover)) {
      const opened = await open(context, edge);
      if (!isPartOf(opened, cover))
        return new BrokenReplicaError(`${edge.key} is not part of ${cover.key}`, { key: edge.key });
      if (edge === lastWithin && opened.to.txid !== cover.to.txid) return "changed";
    }
    return "covered";
  } catch (error) {
    if (error instanceof CorruptObjectError) return error;
    if (isGone(error)) return "changed";
    throw error;
  }
}

/** The segments of a group that tell whether the cover, another segment, holds all of it. */
function edgesOf(group: readonly Deletion[], { from }: ObjectReader): ReadonlySet<SegmentInfo> {
  if (from === null) return new Set();
  const segments = group.map(({ object }) => object as SegmentInfo);
  const edges = segments.filter(({ minTxid }, i) => minTxid === from.txid + 1 || i === segments.length - 1);
  const { lastWithin } = group[0]!;
  return new Set(lastWithin === undefined ? edges : [...edges, lastWithin]);
}

/** As far as one can see that has both: they lie within each other, and have one position where they begin or end together. */
function isPartOf({ from, to }: ObjectReader, cover: ObjectReader): boolean {
  return (
    from!.txid >= cover.from!.txid &&
    to.txid <= cover.to.txid &&
    (from!.txid !== cover.from!.txid || samePosition(from!, cover.from!)) &&
    (to.txid !== cover.to.txid || samePosition(to, cover.to))
  );
}

function open(
  { store, codecs, signal }: PruneContext,
  info: SegmentInfo | SnapshotInfo,
): Promise<ObjectReader> {
  return openStored(store, info, codecs, signal);
}
