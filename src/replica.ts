import { BrokenReplicaError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { openObject } from "./format/decode.ts";
import { lineageKey, parseKey, snapshotPrefix } from "./format/keys.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { collect, type ObjectInfo, type ObjectStore } from "./store/object-store.ts";

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

/**
 * The same where a history is about to be looked for or begun: objects without a claim are a broken replica, and must
 * not be taken for none.
 */
export async function findClaim(store: ObjectStore, signal?: AbortSignal): Promise<Claim | null> {
  const claim = await readClaim(store, signal);
  if (claim !== null) return claim;
  const options = { ...(signal && { signal }) };
  for (const prefix of [snapshotPrefix, "wal/"])
    for await (const { key } of store.list(prefix, options))
      if (parseKey(key) !== null)
        throw new BrokenReplicaError(`${store.url} holds ${key} but no ${lineageKey}`, { key: lineageKey });
  return null;
}

function parseClaim(text: string): Claim | null {
  try {
    const value = JSON.parse(text) as Partial<Claim> | null;
    const id = /^[0-9a-f]{32}$/;
    const valid =
      value?.version === 1 &&
      id.test(String(value.lineage)) &&
      id.test(String(value.writer)) &&
      Number.isSafeInteger(value.created);
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

export interface SnapshotInfo extends ObjectInfo {
  readonly txid: number;
}
export interface SegmentInfo extends ObjectInfo {
  readonly level: number;
  readonly minTxid: number;
  /** Null at level 0, whose keys do not tell. */
  readonly maxTxid: number | null;
}

/** What a replica holds, by its keys alone. Ascending by txid. Keys that Sluice does not write are passed over. */
export interface Listing {
  readonly snapshots: readonly SnapshotInfo[];
  readonly segments: readonly SegmentInfo[];
}

export async function listReplica(store: ObjectStore, signal?: AbortSignal): Promise<Listing> {
  const options = { ...(signal && { signal }) };
  const snapshots: SnapshotInfo[] = [];
  for await (const info of parseSnapshots(store.list(snapshotPrefix, options))) snapshots.push(info);
  const segments: SegmentInfo[] = [];
  for await (const info of parseSegments(store.list("wal/", options))) segments.push(info);
  return { snapshots, segments };
}

export async function* parseSnapshots(objects: AsyncIterable<ObjectInfo>): AsyncGenerator<SnapshotInfo> {
  for await (const info of objects) {
    const key = parseKey(info.key);
    if (key?.kind === "snapshot") yield { ...info, txid: key.txid };
  }
}

export async function* parseSegments(objects: AsyncIterable<ObjectInfo>): AsyncGenerator<SegmentInfo> {
  for await (const info of objects) {
    const key = parseKey(info.key);
    if (key?.kind === "segment") yield { ...info, ...key };
  }
}

/** The level-0 segment that begins with `minTxid`, or null. One request. */
export async function findSegment(
  store: ObjectStore,
  minTxid: number,
  key: string,
  signal?: AbortSignal,
): Promise<SegmentInfo | null> {
  for await (const info of store.list(key, { ...(signal && { signal }) }))
    if (info.key === key) return { ...info, level: 0, minTxid, maxTxid: null };
  return null;
}

/** Opens an object of a replica by ranged requests: header, index and id are read and checked, blocks are not. */
export function openStored(
  store: ObjectStore,
  info: { readonly key: string; readonly size: number },
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<ObjectReader> {
  const read = async (offset: number, length: number) => {
    const { body } = await store.get(info.key, { range: { offset, length }, ...(signal && { signal }) });
    return collect(body, length);
  };
  return openObject({ key: info.key, size: info.size, read }, codecs);
}
