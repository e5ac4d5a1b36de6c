/**
 * The index of an object: which pages it holds, their hashes, and the lengths of its blocks. Entry i is the i-th page of
 * the object and stands in block floor(i / pagesPerBlock). FORMAT.md, "Index".
 */
import { assert } from "../assert.ts";
import { CorruptObjectError } from "../errors.ts";
import { hostIsLittleEndian } from "../wal/wal-format.ts";
import type { Codecs } from "./codecs.ts";
import type { ObjectHeader } from "./header.ts";
import { idFromBytes } from "./id.ts";
import { blockCountOf, largestStoredLength, lockBytePage, rawBlockLength } from "./layout.ts";

export interface ObjectIndex {
  /** Ascending. */
  readonly pgnos: Uint32Array;
  /** xxh64 of each page. */
  readonly hashes: BigUint64Array;
  /** Bytes of each block as stored, and unpacked. */
  readonly compressedLengths: Uint32Array;
  readonly rawLengths: Uint32Array;
}

const countsSize = 8;
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

/** Reads the tables. Throws CorruptObjectError "index" where the counts and the payload's size do not agree. */
export function decodeIndex(payload: Uint8Array, key: string): ObjectIndex {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (payload.length < countsSize) throw new CorruptObjectError(key, "index", "shorter than its counts");
  const entryCount = view.getUint32(0, true);
  const blockCount = view.getUint32(4, true);
  if (payload.length !== indexPayloadSize(entryCount, blockCount)) {
    throw new CorruptObjectError(key, "index", `${payload.length} bytes do not hold ${entryCount} entries`);
  }
  const pgnos = new Uint32Array(entryCount);
  const hashes = new BigUint64Array(entryCount);
  const compressedLengths = new Uint32Array(blockCount);
  const rawLengths = new Uint32Array(blockCount);
  let at = countsSize;
  bytesOf(pgnos).set(littleEndian(payload.subarray(at, at + pgnos.byteLength), 4));
  at += pgnos.byteLength;
  bytesOf(hashes).set(littleEndian(payload.subarray(at, at + hashes.byteLength), 8));
  at += hashes.byteLength;
  for (let b = 0; b < blockCount; b++, at += 8) {
    compressedLengths[b] = view.getUint32(at, true);
    rawLengths[b] = view.getUint32(at + 4, true);
  }
  return { pgnos, hashes, compressedLengths, rawLengths };
}

function bytesOf(table: Uint32Array | BigUint64Array): Uint8Array {
  return new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
}

/**
 * Numbers of `size` bytes each, from this machine's order of bytes to the format's or back. As a table: one by one, the
 * hashes of a large snapshot would be hundreds of thousands of BigInts, and hold the event loop for as long.
 */
function littleEndian(bytes: Uint8Array, size: number): Uint8Array {
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

/**
 * The tables are valid if and only if (1) there is an entry, and page numbers ascend within the database, (2) a
 * snapshot has every page, and a segment lacks the lock-byte page, and (3) there are as many blocks, of as many
 * raw bytes, as the entries fill, and none is empty or stored in more bytes than zstd needs. Throws CorruptObjectError
 * "index".
 */
export function validateIndex(index: ObjectIndex, header: ObjectHeader, key: string): void {
  const { pgnos, compressedLengths, rawLengths } = index;
  const fault =
    pageTableFault(pgnos, header) ?? blockTableFault(pgnos.length, compressedLengths, rawLengths, header);
  if (fault !== null) throw new CorruptObjectError(key, "index", fault);
}

function pageTableFault(pgnos: Uint32Array, header: ObjectHeader): string | null {
  if (pgnos.length === 0) return "no pages";
  if (header.kind === "snapshot" && pgnos.length !== header.pageCount)
    return "not every page of the database";
  const forbidden = header.kind === "segment" ? lockBytePage(header.pageSize) : 0;
  let before = 0;
  for (let i = 0; i < pgnos.length; i++) {
    const pgno = pgnos[i]!;
    if (pgno <= before) return `page ${pgno} after page ${before}`;
    if (pgno === forbidden) return "holds the lock-byte page";
    before = pgno;
  }
  return before > header.pageCount ? `page ${before} of ${header.pageCount}` : null;
}

function blockTableFault(
  entryCount: number,
  compressedLengths: Uint32Array,
  rawLengths: Uint32Array,
  header: ObjectHeader,
): string | null {
  if (rawLengths.length !== blockCountOf(header, entryCount)) return `${rawLengths.length} blocks`;
  for (let b = 0; b < rawLengths.length; b++) {
    const rawLength = rawLengths[b]!;
    const stored = compressedLengths[b]!;
    if (rawLength !== rawBlockLength(header, b, entryCount)) return `raw length of block ${b}`;
    if (stored === 0 || stored > largestStoredLength(rawLength)) return `compressed length of block ${b}`;
  }
  return null;
}
