import { promisifyRequest } from "idb-keyval";
import { readCacheEntry, readPositionRecord } from "../src/cache/read-records.ts";
import type { CacheEntry, PositionRecord } from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import { samePosition } from "../src/format/position.ts";

/**
 * The write cache in IndexedDB: database version 1, one object store "cache" with keys of its own:
 *
 * | key | value |
 * |---|---|
 * | "cache" | `{ version: 1, id }`: the layout, and a UUID by which this database is known again |
 * | "position" | the position record |
 * | "permit" | `{ version: 1 }`; without it the position record is marked for resync, whatever it says |
 * | ["entry", sequence] | `{ version: 1, entry, chunkBytes, hashes }`: bigints, xxh64 of each chunk |
 * | ["chunk", sequence, i] | Uint8Array: bytes i × chunkBytes and following of the object, chunkBytes of them or the rest |
 *
 * An entry counts if and only if its ["entry", …] record is there: chunks without one are an append that did not come to
 * its end, or an entry that left. Sequence numbers are not used again while chunks of theirs may be left.
 */
export const LAYOUT_VERSION = 1;
export const CACHE_KEY = "cache";
const POSITION_KEY = "position";
const PERMIT_KEY = "permit";

/** Bytes of an object in one record. */
export const CHUNK_BYTES = 256 * 1024;

/** Of the general kind, because a mark that is made by a deletion has no room for words. */
const UNTOLD_REASON = "marked before, when there was no room to write down why";

/** An entry and where it is. */
export interface Placed {
  readonly entry: CacheEntry;
  readonly sequence: number;
  readonly chunkBytes: number;
  /** xxh64 of each chunk. */
  readonly hashes: readonly bigint[];
  /** It is being acknowledged: its records may be gone. */
  leaving: boolean;
}

export function putPosition(store: IDBObjectStore, position: PositionRecord): void {
  store.put(position, POSITION_KEY);
  if (position.resync === undefined) store.put({ version: LAYOUT_VERSION }, PERMIT_KEY);
}

/** From now on the position record is marked for resync. Deletions are all that a full quota allows. */
export function revokePermit(store: IDBObjectStore): void {
  store.delete(PERMIT_KEY);
}

export function putEntry(store: IDBObjectStore, { sequence, entry, chunkBytes, hashes }: Placed): void {
  store.put({ version: LAYOUT_VERSION, entry, chunkBytes, hashes }, ["entry", sequence]);
}

export function chunkKey(sequence: number, index: number): IDBValidKey {
  return ["chunk", sequence, index];
}

export function removeEntry(store: IDBObjectStore, sequence: number): void {
  store.delete(["entry", sequence]);
  store.delete(IDBKeyRange.bound(["chunk", sequence], ["chunk", sequence + 1], false, true));
}

export interface StoredRecords {
  readonly position: PositionRecord | undefined;
  readonly permitted: boolean;
  readonly entryKeys: readonly IDBValidKey[];
  readonly entries: readonly ({ version: number } & Pick<Placed, "entry" | "chunkBytes" | "hashes">)[];
  readonly chunkKeys: readonly IDBValidKey[];
}

/** Everything but the bytes. */
export async function readRecords(store: IDBObjectStore): Promise<StoredRecords> {
  // In the order of keys an array comes after every number.
  const all = (kind: string) => IDBKeyRange.bound([kind], [kind, []]);
  const [position, permits, entryKeys, entries, chunkKeys] = await Promise.all([
    promisifyRequest(store.get(POSITION_KEY)),
    promisifyRequest(store.count(PERMIT_KEY)),
    promisifyRequest(store.getAllKeys(all("entry"))),
    promisifyRequest(store.getAll(all("entry"))),
    promisifyRequest(store.getAllKeys(all("chunk"))),
  ]);
  return { position, permitted: permits > 0, entryKeys, entries, chunkKeys };
}

export interface CacheContents {
  /** Oldest first. */
  readonly entries: Placed[];
  readonly position: PositionRecord | null;
  /** The highest number in use. */
  readonly sequence: number;
  /** Numbers of chunks that no entry has. */
  readonly garbage: number[];
}

/** Judges what was found in the database `name`, versions first. Throws CacheError. */
export function judge(name: string, stored: StoredRecords): CacheContents {
  const versions = [stored.position?.version ?? 1, ...stored.entries.map((stored) => stored?.version)];
  if (versions.some((version) => typeof version === "number" && version !== 1)) throw madeByNewer(name);
  const whole =
    (stored.position === undefined || readPositionRecord(stored.position) !== null) &&
    stored.entries.every(
      (stored) =>
        readCacheEntry(stored?.entry) !== null && stored.chunkBytes >= 1 && Array.isArray(stored.hashes),
    );
  if (!whole) throw damaged(name, "a record has not the fields of one");
  const entries = stored.entries
    .map(({ entry, chunkBytes, hashes }, i) => ({
      entry,
      chunkBytes,
      hashes,
      sequence: (stored.entryKeys[i] as [string, number])[1],
      leaving: false,
    }))
    .sort((a, b) => a.entry.from.txid - b.entry.from.txid);
  const chunks = new Map<number, number>();
  for (const [, sequence] of stored.chunkKeys as [string, number, number][])
    chunks.set(sequence, (chunks.get(sequence) ?? 0) + 1);
  const position = judgePosition(stored);
  checkStored(name, entries, chunks, position);
  const known = new Set(entries.map(({ sequence }) => sequence));
  return {
    entries,
    position,
    sequence: Math.max(0, ...known, ...chunks.keys()),
    garbage: [...chunks.keys()].filter((sequence) => !known.has(sequence)),
  };
}

/** The record as it counts: without the permit it is marked for resync. */
function judgePosition({ position, permitted }: StoredRecords): PositionRecord | null {
  if (position === undefined) return null;
  if (permitted || position.resync !== undefined) return position;
  return { ...position, resync: UNTOLD_REASON };
}

function checkStored(
  name: string,
  placed: readonly Placed[],
  chunks: ReadonlyMap<number, number>,
  position: PositionRecord | null,
): void {
  for (const [i, { entry, sequence, chunkBytes }] of placed.entries()) {
    const before = placed[i - 1]?.entry.to ?? entry.from;
    if (!samePosition(before, entry.from))
      throw damaged(name, `no entry leads from transaction ${before.txid} to ${entry.from.txid}`);
    if ((chunks.get(sequence) ?? 0) !== Math.ceil(entry.size / chunkBytes))
      throw damaged(name, `bytes of the entry of transaction ${entry.to.txid} are missing`);
  }
  const tail = placed.at(-1)?.entry.to;
  if (tail === undefined || position?.resync !== undefined) return;
  if (position === null || !samePosition(tail, position.cached))
    throw damaged(name, `its entries end at ${tail.txid}, its record at ${position?.cached.txid}`);
}

export function damaged(name: string, how: string): CacheError {
  return new CacheError(
    `the write cache in IndexedDB "${name}" is damaged: ${how}. Nothing was deleted. Delete that database, or choose ` +
      "another name: the local database is then compared with its replica as if it had no history.",
    false,
  );
}

export function madeByNewer(name: string): CacheError {
  return new CacheError(
    `the write cache in IndexedDB "${name}" was made by a newer release. Reload the page to get it. Nothing was deleted.`,
    false,
  );
}
