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
 * deleted or replaced some of it meanwhile: the plan is no longer true there.
 */
async function examine(
  context: PruneContext,
  group: readonly Deletion[],
): Promise<"covered" | "changed" | SluiceError> {
  const { coveredBy } = group[0]!;
  try {
    const cover = await open(context, coveredBy);
    if (cover.header.lineage !== context.lineage)
      return new BrokenReplicaError(`${cover.key} belongs to another history`, { key: cover.key });
    for (const { object } of group) {
      const atEdge =
        cover.from !== null &&
        "minTxid" in object &&
        (object.minTxid === cover.from.txid + 1 || object === group.at(-1)!.object);
      if (atEdge && !isPartOf(await open(context, object), cover))
        return new BrokenReplicaError(`${object.key} is not part of ${cover.key}`, { key: object.key });
    }
    return "covered";
  } catch (error) {
    if (error instanceof CorruptObjectError) return error;
    if (isGone(error)) return "changed";
    throw error;
  }
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
