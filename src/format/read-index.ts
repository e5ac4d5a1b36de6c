import { CorruptObjectError } from "../errors.ts";
import type { ObjectHeader } from "./header.ts";
import { bytesOf, countsSize, indexPayloadSize, littleEndian, type ObjectIndex } from "./index-table.ts";
import { blockCountOf, largestStoredLength, lockBytePage, rawBlockLength } from "./layout.ts";

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
