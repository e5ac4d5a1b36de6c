/** The arithmetic of an object: which page stands in which block, and how long each block is. FORMAT.md, "Blocks". */
import { walFrameHeaderSize, walHeaderSize } from "../wal/wal-format.ts";
import type { ObjectHeader } from "./header.ts";

/** SQLite locks bytes from this offset of the database file on, so the page they lie in is never used. */
const lockByteOffset = 0x40000000;

export function lockBytePage(pageSize: number): number {
  return lockByteOffset / pageSize + 1;
}

/** Pages in every block but the last: 64, or as many as make 256 KiB, whichever is less. */
export function pagesPerBlock(pageSize: number): number {
  return Math.min(64, 262144 / pageSize);
}

/** Raw bytes that each page takes in a block: a segment's pages stand in WAL frames. */
export function entrySize(header: ObjectHeader): number {
  return header.kind === "segment" ? walFrameHeaderSize + header.pageSize : header.pageSize;
}

/** Raw bytes before the first entry of a block: the WAL header, in a segment's first block. */
export function blockPrefix(header: ObjectHeader, block: number): number {
  return header.kind === "segment" && block === 0 ? walHeaderSize : 0;
}

export function blockCountOf(header: ObjectHeader, entryCount: number): number {
  return Math.ceil(entryCount / pagesPerBlock(header.pageSize));
}

/** Entries in `block`, given those of the whole object. */
export function entriesInBlock(header: ObjectHeader, block: number, entryCount: number): number {
  const perBlock = pagesPerBlock(header.pageSize);
  return Math.min(perBlock, entryCount - block * perBlock);
}

export function rawBlockLength(header: ObjectHeader, block: number, entryCount: number): number {
  return blockPrefix(header, block) + entriesInBlock(header, block, entryCount) * entrySize(header);
}

/** Bytes that a block may be stored in: zstd never needs more (ZSTD_compressBound), so more is not what it says it is. */
export function largestStoredLength(rawLength: number): number {
  return rawLength + Math.floor(rawLength / 256) + 64;
}
