import { StoreError } from "./errors.ts";

/** Attempts before a replica that changes all the time is given up. */
const ATTEMPTS = 10;

/**
 * Runs what lists a replica and then reads its objects, and runs it again from the listing when an object is gone or another
 * by now: compaction and retention go on meanwhile, and what they leave leads to the same states. Throws what the last
 * attempt throws.
 */
export async function lookAgain<T>(attempt: () => Promise<T>): Promise<T> {
  for (let attempts = 1; ; attempts++)
    try {
      return await attempt();
    } catch (error) {
      if (!isGone(error) || attempts === ATTEMPTS) throw error;
    }
}

/** What was listed is gone, or another object has its key by now. */
export function isGone(error: unknown): boolean {
  if (!(error instanceof StoreError)) return false;
  return error.kind === "not-found" || error.kind === "precondition-failed";
}
