import { type CompactionContext, Compactor, type CompactProgress } from "./compact.ts";
import { checkRetention, checkSignal, type Retention, refuseUnknown } from "./config.ts";
import type { SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { segmentKey } from "./format/keys.ts";
import { isGone } from "./look-again.ts";
import { levelsOf, type Remake } from "./plan-compaction.ts";
import { PLAN_VALID_MS, planRetention, type RetentionRules } from "./plan-retention.ts";
import type { Clock } from "./platform.ts";
import { type PruneOutcome, type PruneProgress, prune } from "./prune.ts";
import { findClaim, listReplica, type SegmentInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

export interface CompactOptions {
  readonly onProgress?: (progress: CompactProgress) => void;
  readonly signal?: AbortSignal;
}

/** What a compaction did. */
export interface CompactReport {
  /** Keys of the objects it made. */
  readonly made: readonly string[];
  /** Segments that do not belong together or cannot be read; they were left as they are. */
  readonly problems: readonly SluiceError[];
}

export interface PruneOptions {
  /** Seconds of history that stay restorable; 0: everything stays. Default 7 days. */
  readonly retentionSecs?: number;
  /** Seconds of history of which every segment stays; 0: all of `retentionSecs`. At least 6 hours. Default 1 day. */
  readonly fineRetentionSecs?: number;
  /** Delete nothing, only tell what would go. Default false. */
  readonly dryRun?: boolean;
  readonly onProgress?: (progress: PruneProgress) => void;
  readonly signal?: AbortSignal;
}

/** What a prune did, or would do. */
export interface PruneReport {
  /** What may go, and what stands for it. */
  readonly planned: readonly { readonly key: string; readonly size: number; readonly coveredBy: string }[];
  /** Keys that were deleted. None in a dry run. */
  readonly deleted: readonly string[];
  /** Why something stays that could go. */
  readonly problems: readonly SluiceError[];
  /** The credentials do not allow to delete. */
  readonly refused: boolean;
}

/** Makes every merged segment that can be made. Null where no replica is. */
export async function compact(
  store: ObjectStore,
  codecs: Codecs,
  clock: Clock,
  options: CompactOptions,
): Promise<CompactReport | null> {
  refuseUnknown(options, ["onProgress", "signal"], "compact options");
  const signal = checkSignal("signal", options.signal);
  const claim = await findClaim(store, signal);
  if (claim === null) return null;
  const context = { store, codecs, clock, lineage: claim.lineage, signal, onProgress: options.onProgress };
  const { compactor } = await pass(context, { compact: true, retention: null });
  const { made, problems } = compactor;
  return { made, problems };
}

/** Deletes what retention does not keep. Null where no replica is. */
export async function pruneReplica(
  store: ObjectStore,
  codecs: Codecs,
  clock: Clock,
  options: PruneOptions,
): Promise<PruneReport | null> {
  const known = ["retentionSecs", "fineRetentionSecs", "dryRun", "onProgress", "signal"];
  refuseUnknown(options, known, "prune options");
  const signal = checkSignal("signal", options.signal);
  const retention = checkRetention(options.retentionSecs, options.fineRetentionSecs);
  const claim = await findClaim(store, signal);
  if (claim === null) return null;
  const context = { store, codecs, clock, lineage: claim.lineage, signal };
  const { plan, outcome, compactor } = await pass(context, {
    compact: false,
    retention: retention && { ...retention, pinned: [] },
    dryRun: options.dryRun === true,
    onPruned: options.onProgress,
  });
  const planned = plan.map(({ object: { key, size }, coveredBy }) => ({
    key,
    size,
    coveredBy: coveredBy.key,
  }));
  const { deleted, refused } = outcome;
  return { planned, deleted, refused, problems: [...compactor.problems, ...outcome.problems] };
}

export interface PassOptions {
  readonly compact: boolean;
  /** Null: nothing is deleted. */
  readonly retention: (Retention & Pick<RetentionRules, "pinned">) | null;
  readonly dryRun?: boolean;
  readonly onPruned?: ((progress: PruneProgress) => void) | undefined;
}

const NOTHING_DONE: PruneOutcome = { deleted: [], problems: [], refused: false };
/** Listings in one pass. Each but the first means that another one deleted or replaced what was listed. */
const TRIES = 5;

/** Lists a replica once, merges what can be merged, and deletes what need not stay. */
export async function pass(context: CompactionContext, options: PassOptions) {
  for (let tries = 1; ; tries++) {
    try {
      return await onePass(context, options);
    } catch (error) {
      if (!isGone(error) || tries === TRIES) throw error;
    }
  }
}

async function onePass(context: CompactionContext, { compact, retention, dryRun, onPruned }: PassOptions) {
  const { store, clock, signal } = context;
  let sinceListing = clock.stopwatch();
  let listing = await listReplica(store, signal);
  const compactor = new Compactor(context, levelsOf(listing));
  if (compact) await compactor.run();
  if (retention === null) return { compactor, plan: [], outcome: NOTHING_DONE };
  const { conditionalCreate } = await store.capabilities({ signal });
  const rules = { ...retention, deletesLevel0: conditionalCreate === "atomic" };
  const isExpired = ({ age }: SegmentInfo) => age >= rules.fineRetentionMs;
  if (rules.deletesLevel0 && rules.fineRetentionMs < rules.retentionMs) {
    if (dryRun) for (const remake of compactor.toRemake(isExpired)) compactor.add(assumed(remake));
    else await compactor.remake(isExpired);
  }
  if (sinceListing() > PLAN_VALID_MS / 2) {
    sinceListing = clock.stopwatch();
    listing = await listReplica(store, signal);
  } else listing = { snapshots: listing.snapshots, segments: compactor.levels.flat() };
  const plan = planRetention(listing, rules);
  if (dryRun) return { compactor, plan, outcome: NOTHING_DONE };
  return { compactor, plan, outcome: await prune({ ...context, sinceListing, onProgress: onPruned }, plan) };
}

/** What a dry run takes for made. */
function assumed({ group, maxTxid }: Remake): SegmentInfo {
  const [{ minTxid, lastModified }] = group as [SegmentInfo];
  const size = group.reduce((sum, segment) => sum + segment.size, 0);
  return { key: segmentKey(1, minTxid, maxTxid), size, level: 1, minTxid, maxTxid, lastModified, age: 0 };
}
