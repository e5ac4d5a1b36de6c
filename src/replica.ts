import { type Claim, readClaim } from "./claim.ts";
import { BrokenReplicaError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { type ObjectSource, openHeader, openObject } from "./format/decode.ts";
import type { ObjectHeader } from "./format/header.ts";
import { lineageKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { parseKey } from "./format/parse-key.ts";
import { decodeTrailer, trailerFrameSize } from "./format/trailer.ts";
import { collect } from "./store/collect.ts";
import type { ObjectInfo, ObjectStore } from "./store/object-store.ts";

/**
 * The claim, where a history is about to be looked for or begun: objects without a claim are a broken replica, and must
 * not be taken for none.
 */
export async function findClaim(store: ObjectStore, signal?: AbortSignal): Promise<Claim | null> {
  const claim = await readClaim(store, signal);
  if (claim !== null) return claim;
  const options = { ...(signal && { signal }) };
  for (const prefix of [snapshotPrefix, "wal/"])
    for await (const { key } of store.list(prefix, options))
      if (parseKey(key) !== null) return await claimBeside(key, store, signal);
  return null;
}

/** The claim was made, and the object after it, since it was looked for. */
async function claimBeside(key: string, store: ObjectStore, signal?: AbortSignal): Promise<Claim> {
  const claim = await readClaim(store, signal);
  if (claim !== null) return claim;
  throw new BrokenReplicaError(`${store.url} holds ${key} but no ${lineageKey}`, { key: lineageKey });
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
  const fine: SegmentInfo[] = [];
  const merged: SegmentInfo[] = [];
  for await (const info of parseSegments(store.list("wal/", options)))
    (info.level === 0 ? fine : merged).push(info);
  // Level 0 is read first: of what was uploaded and merged since then the parts would be missing, and so would be the states
  // within. Nothing takes them so soon.
  const last = fine.at(-1);
  if (merged.some(({ maxTxid }) => maxTxid! > (last?.minTxid ?? 0))) {
    const later = store.list(segmentPrefix(0), { ...options, ...(last && { startAfter: last.key }) });
    for await (const info of parseSegments(later)) fine.push(info);
  }
  return { snapshots, segments: [...fine, ...merged] };
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

/** An object as a listing has it, or null. One request. */
export async function findObject(
  store: ObjectStore,
  key: string,
  signal?: AbortSignal,
): Promise<ObjectInfo | null> {
  for await (const info of store.list(key, { ...(signal && { signal }) })) if (info.key === key) return info;
  return null;
}

/** What is known of an object before it is opened. */
export type StoredInfo = Pick<ObjectInfo, "key" | "size">;

/**
 * Opens an object of a replica by ranged requests: header, index and id are read and checked, blocks are not. All that is
 * read is of one version of the object: StoreError "precondition-failed" once there is another, "not-found" once there is
 * none; then list again. `onBytes` counts what is fetched.
 */
export function openStored(
  store: ObjectStore,
  info: StoredInfo,
  codecs: Codecs,
  signal?: AbortSignal,
  onBytes?: (count: number) => void,
): Promise<ObjectReader> {
  return openObject(storedSource(store, info, signal, onBytes), codecs);
}

/** The header of an object of a replica, by one small request. See `openHeader`. */
export function readStoredHeader(
  store: ObjectStore,
  info: StoredInfo,
  signal?: AbortSignal,
): Promise<ObjectHeader> {
  return openHeader(storedSource(store, info, signal));
}

/** The id that an object of a replica says is its own, by one small request. Throws as `openStored` does. */
export async function readStoredId(
  store: ObjectStore,
  info: StoredInfo,
  signal?: AbortSignal,
): Promise<string> {
  const { read, size, key } = storedSource(store, info, signal);
  const length = Math.min(size, trailerFrameSize);
  return decodeTrailer(await read(size - length, length), size, 0, key).id;
}

/** Bytes of the index of an object of a replica, which is not read: two small requests. Throws as `openStored` does. */
export async function readIndexSize(
  store: ObjectStore,
  info: StoredInfo,
  signal?: AbortSignal,
): Promise<number> {
  const source = storedSource(store, info, signal);
  // Tells whether it is another version by now, which need not have what is read then.
  await openHeader(source);
  const trailer = await source.read(info.size - trailerFrameSize, trailerFrameSize);
  return decodeTrailer(trailer, info.size, 0, info.key).indexLength;
}

function storedSource(
  store: ObjectStore,
  { key, size }: StoredInfo,
  signal: AbortSignal | undefined,
  onBytes?: (count: number) => void,
): ObjectSource {
  let version: string | null = null;
  const read = async (offset: number, length: number, into?: Uint8Array) => {
    const found = await store.get(key, {
      range: { offset, length },
      ...(version !== null && { ifMatch: version }),
      ...(signal && { signal }),
      ...(into && { into: into.subarray(0, length) }),
    });
    version ??= found.etag;
    if (found.size !== size || found.etag !== version) {
      for await (const _ of found.body) break; // Returned from, as a body must be.
      throw new StoreError("precondition-failed", `${key} is another version by now`, { key });
    }
    const bytes = await collect(found.body, length, into);
    onBytes?.(bytes.length);
    return bytes;
  };
  return { key, size, read };
}
