import { choosePlan, type RestorePoint } from "./choose-plan.ts";
import { BrokenReplicaError, NotRestorableError } from "./errors.ts";
import { lookAgain } from "./look-again.ts";
import type { Plan } from "./plan.ts";
import type { DatabaseTarget } from "./platform.ts";
import { listReplica } from "./replica.ts";
import { Restoration, type RestoredState, type RestoreProgress, type RestoreSource } from "./restore.ts";

/** A target that holds all pages of a state; the caller finishes or aborts it. */
export interface WrittenState {
  readonly state: RestoredState;
  readonly target: DatabaseTarget;
  /** Whether the replica held nothing beyond. */
  readonly newest: boolean;
  /** Bytes received, and bytes that were not because the old database had the same pages. */
  readonly fetched: number;
  readonly saved: number;
}

/**
 * Plans and writes until one plan is carried out whole. Compaction and retention go on meanwhile: an object that is gone, or
 * another by now, means to list and plan again. What is written stays where the new plan ends at the same position, and
 * otherwise all begins again, so a target never holds a mixture. Null where the replica holds nothing at all.
 */
export async function writeState(
  source: RestoreSource,
  point: RestorePoint,
  openTarget: () => DatabaseTarget,
  onProgress: (progress: RestoreProgress) => void,
): Promise<WrittenState | null> {
  let begun: { readonly target: DatabaseTarget; readonly restoration: Restoration } | null = null;
  const attempt = async () => {
    const continued: Plan | null = begun && (await planAgain(source, begun.restoration.txid));
    const chosen = continued ?? (await choose(source, point));
    if (begun !== null && continued === null) {
      await begun.target.abort();
      begun = null;
    }
    if (chosen === null) return null;
    if (begun === null) {
      const target = openTarget();
      begun = { target, restoration: new Restoration(source, target, onProgress) };
    }
    const { target, restoration } = begun;
    const state = await restoration.apply(chosen);
    requireTime(source, state, point);
    const { fetched, saved } = restoration;
    return { state, target, newest: point === "latest" || chosen.newest, fetched, saved };
  };
  try {
    return await lookAgain(attempt);
  } catch (error) {
    await (begun as { target: DatabaseTarget } | null)?.target.abort();
    throw error;
  }
}

async function choose({ store, codecs, signal }: RestoreSource, point: RestorePoint): Promise<Plan | null> {
  return choosePlan(store, await listReplica(store, signal), point, codecs, signal);
}

/** Another plan that ends at exactly `txid`; null where there is none any more, or nothing was begun. */
async function planAgain(source: RestoreSource, txid: number | null): Promise<Plan | null> {
  if (txid === null) return null;
  try {
    const chosen = await choose(source, { txid });
    return chosen?.txid === txid ? chosen : null;
  } catch (error) {
    if (error instanceof BrokenReplicaError || error instanceof NotRestorableError) return null;
    throw error;
  }
}

/** The search for a time relies on times that never go back. */
function requireTime({ store }: RestoreSource, { position, time }: RestoredState, point: RestorePoint): void {
  if (typeof point !== "object" || !("timestamp" in point) || time <= point.timestamp) return;
  throw new BrokenReplicaError(
    `${store.url} has commit times that go back, at transaction ${position.txid}`,
    {
      txid: position.txid,
    },
  );
}
