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

/** Milliseconds after which nobody races for the key any more: who created it ended before deleting it. */
const LEFT_BEHIND_MS = 600_000;

/** What a probe asks of the store, all of it about the probe key. */
export interface ProbeRequests {
  /** Puts it conditionally. */
  create(): Promise<"created" | "refused" | "unsupported">;
  remove(): Promise<void>;
  /** Milliseconds since it was created; null where it is not there. */
  age(): Promise<number | null>;
}

/**
 * Throws what `create` throws where that is no trouble of the moment, or most had that: then nothing is known. Where the key
 * was left behind, a first race is lost by all and shows only that the condition is heeded; another is held without it,
 * unless the credentials may not delete.
 */
export async function probeConditionalCreate(requests: ProbeRequests): Promise<ConditionalCreate> {
  const found = await race(requests);
  if (found !== null) return found;
  const age = await requests.age();
  if (age === null || age < LEFT_BEHIND_MS) return "atomic";
  const removed = await requests.remove().then(
    () => true,
    () => false,
  );
  return (removed ? await race(requests) : null) ?? "atomic";
}

/** Null: nobody won. It was there before, or created by one that races now or by a racer that got no answer. */
async function race({ create, remove }: ProbeRequests): Promise<ConditionalCreate | null> {
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
  if (created > 1) return "unreliable";
  return created === 1 ? "atomic" : null;
}
