/**
 * The index of an object: which pages it holds, their hashes, and the lengths of its blocks. Entry i is the i-th page of
 * the object and stands in block floor(i / pagesPerBlock). FORMAT.md, "Index".
 */
import { assert } from "../assert.ts";
import { hostIsLittleEndian } from "../wal/wal-format.ts";
import type { Codecs } from "./codecs.ts";
import { idFromBytes } from "./id.ts";

export interface ObjectIndex {
  /** Ascending. */
  readonly pgnos: Uint32Array;
  /** xxh64 of each page. */
  readonly hashes: BigUint64Array;
  /** Bytes of each block as stored, and unpacked. */
  readonly compressedLengths: Uint32Array;
  readonly rawLengths: Uint32Array;
}

export const countsSize = 8;
const entryBytes = 12;
const blockBytes = 8;

export function indexPayloadSize(entryCount: number, blockCount: number): number {
  return countsSize + entryCount * entryBytes + blockCount * blockBytes;
}

/** Writes the index into `target`, which has exactly its size. */
export function encodeIndex(index: ObjectIndex, target: Uint8Array): void {
  const { pgnos, hashes, compressedLengths, rawLengths } = index;
  assert(
    target.length === indexPayloadSize(pgnos.length, rawLengths.length),
    "the index has the size computed for it",
  );
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  view.setUint32(0, pgnos.length, true);
  view.setUint32(4, rawLengths.length, true);
  let at = countsSize;
  target.set(littleEndian(bytesOf(pgnos), 4), at);
  at += pgnos.byteLength;
  target.set(littleEndian(bytesOf(hashes), 8), at);
  at += hashes.byteLength;
  for (let b = 0; b < rawLengths.length; b++, at += 8) {
    view.setUint32(at, compressedLengths[b]!, true);
    view.setUint32(at + 4, rawLengths[b]!, true);
  }
}

export function bytesOf(table: Uint32Array | BigUint64Array): Uint8Array {
  return new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
}

/**
 * Numbers of `size` bytes each, from this machine's order of bytes to the format's or back. As a table: one by one, the
 * hashes of a large snapshot would be hundreds of thousands of BigInts, and hold the event loop for as long.
 */
export function littleEndian(bytes: Uint8Array, size: number): Uint8Array {
  if (hostIsLittleEndian()) return bytes;
  const swapped = bytes.slice();
  for (let at = 0; at < swapped.length; at += size) swapped.subarray(at, at + size).reverse();
  return swapped;
}

/**
 * The object's id: the first 16 bytes of SHA-256 over the header's payload and the index's payload up to its block table.
 * That is every page and all that is said about them, but not how well they were compressed.
 */
export function objectId(
  codecs: Codecs,
  headerPayload: Uint8Array,
  indexPayload: Uint8Array,
  entryCount: number,
): string {
  const hash = codecs.sha256();
  hash.update(headerPayload);
  hash.update(indexPayload.subarray(0, indexPayloadSize(entryCount, 0)));
  return idFromBytes(hash.digest());
}
