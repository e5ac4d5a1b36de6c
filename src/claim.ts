import { BrokenReplicaError, StoreError } from "./errors.ts";
import { isTime } from "./format/header.ts";
import { lineageKey } from "./format/keys.ts";
import { collect } from "./store/collect.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Who began the history under a prefix: the contents of `lineage.json`, never changed once written. */
export interface Claim {
  readonly version: 1;
  /** 32 hex digits. */
  readonly lineage: string;
  /** 32 hex digits. */
  readonly writer: string;
  /** Milliseconds since 1970. */
  readonly created: number;
}

/** Bytes that a claim may have. */
const CLAIM_LIMIT = 65536;

/** The claim of a replica's prefix, or null where there is none. Throws BrokenReplicaError when it cannot be read. */
export async function readClaim(store: ObjectStore, signal?: AbortSignal): Promise<Claim | null> {
  let claim: Claim | null = null;
  try {
    const { size, body } = await store.get(lineageKey, { ...(signal && { signal }) });
    if (size <= CLAIM_LIMIT) claim = parseClaim(new TextDecoder().decode(await collect(body, size)));
    else for await (const _ of body) break; // Returned from, as a body must be.
  } catch (error) {
    if (error instanceof StoreError && error.kind === "not-found") return null;
    throw error;
  }
  if (claim !== null) return claim;
  throw new BrokenReplicaError(`${store.url} has a ${lineageKey} that is not a claim of this format`, {
    key: lineageKey,
  });
}

function parseClaim(text: string): Claim | null {
  try {
    const value = JSON.parse(text) as Partial<Claim> | null;
    const id = /^[0-9a-f]{32}$/;
    const valid =
      value?.version === 1 &&
      id.test(String(value.lineage)) &&
      id.test(String(value.writer)) &&
      isTime(value.created);
    return valid ? (value as Claim) : null;
  } catch {
    return null;
  }
}

/**
 * Claims the prefix for a lineage. Returns the claim that stands there: ours, or the one that was first. An unclear
 * answer is safe, since the lineage id was saved locally before.
 */
export async function claimReplica(store: ObjectStore, claim: Claim, signal?: AbortSignal): Promise<Claim> {
  const body = new TextEncoder().encode(`${JSON.stringify(claim)}\n`);
  try {
    await store.put(lineageKey, body, { ifNoneMatch: "*", ...(signal && { signal }) });
    return claim;
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind !== "precondition-failed") throw error;
  }
  const standing = await readClaim(store, signal);
  if (standing !== null) return standing;
  throw new StoreError("unavailable", `${store.url}: ${lineageKey} exists but cannot be read`);
}
