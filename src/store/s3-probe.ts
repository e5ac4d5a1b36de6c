import { StoreError } from "../errors.ts";

/**
 * Finds out whether a store honours `If-None-Match: *`. Some servers do not know it, some accept and ignore it, and some
 * check it without holding out against writers at the same moment (Swift), which one request cannot tell. So several
 * race for one key that is not there, and exactly one must win.
 */
export type ConditionalCreate =
  | "atomic"
  /** Accepted, and then more than one wins. Sent all the same: it may still stop most. */
  | "unreliable"
  /** Refused as not implemented. */
  | "unsupported";

/** One fixed key, so that credentials which may not delete leave one object behind, and no more each start. */
export const PROBE_KEY = ".sluice-probe";
export const PROBE_TEXT = "Sluice finds out here whether this store honours If-None-Match. Safe to delete.\n";

const RACERS = 8;
/** Racers that must have got an answer. All of them need a better network than the rest of replication does. */
const ANSWERS = 4;

/**
 * `create` puts the probe key conditionally. Throws what it throws where that is no trouble of the moment, or most had
 * that: then nothing is known.
 */
export async function probeConditionalCreate(
  create: () => Promise<"created" | "refused" | "unsupported">,
  remove: () => Promise<void>,
): Promise<ConditionalCreate> {
  const outcomes: string[] = [];
  const failures: unknown[] = [];
  await Promise.all(
    Array.from({ length: RACERS }, () =>
      create().then(
        (outcome) => outcomes.push(outcome),
        (error: unknown) => failures.push(error),
      ),
    ),
  );
  const created = outcomes.filter((outcome) => outcome === "created").length;
  // Only who created it deletes it: another may be in the middle of its own probe, and would see two winners.
  if (created > 0) await remove().catch(() => undefined);
  const lasting = failures.find((error) => !(error instanceof StoreError && error.transient));
  if (lasting !== undefined) throw lasting;
  if (outcomes.length < ANSWERS) throw failures[0];
  if (outcomes.includes("unsupported")) return "unsupported";
  // Nobody created it: it was there before, left by a probe that could not delete, by one that races now, or by a racer
  // that got no answer. All others were refused, so the condition holds.
  return created <= 1 ? "atomic" : "unreliable";
}
