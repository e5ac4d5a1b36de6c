import { isId } from "../format/id.ts";
import type { Position } from "../format/position.ts";
import type { CacheEntry, PositionRecord } from "./write-cache.ts";

/**
 * What was written to a file or a database and read again, field by field. Null where it is not what `PositionRecord` and
 * `CacheEntry` say. Their version has been looked at before, and fields of later releases that can be ignored stay.
 */
export function readPositionRecord(value: unknown): PositionRecord | null {
  if (!isRecord(value)) return null;
  const {
    lineage,
    writer,
    cached,
    pageCount,
    pageSize,
    time,
    wal,
    fingerprint,
    resync,
    snapshotOwed,
    givenUp,
  } = value;
  const valid =
    isId(lineage) &&
    isId(writer) &&
    isPosition(cached) &&
    [pageCount, pageSize, time, snapshotOwed ?? 0].every(isCount) &&
    (wal === null || isWalPosition(wal)) &&
    (fingerprint === null || typeof fingerprint === "string") &&
    (resync === undefined || typeof resync === "string") &&
    (givenUp === undefined || isGivenUp(givenUp));
  return valid ? (value as unknown as PositionRecord) : null;
}

export function readCacheEntry(value: unknown): CacheEntry | null {
  if (!isRecord(value)) return null;
  const { from, to, size, time } = value;
  const valid = isPosition(from) && isPosition(to) && to.txid > from.txid && [size, time].every(isCount);
  return valid ? (value as unknown as CacheEntry) : null;
}

function isWalPosition(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { salt1, salt2, frame, checksum1, checksum2 } = value;
  return [salt1, salt2, frame, checksum1, checksum2].every(isCount);
}

function isGivenUp(value: unknown): boolean {
  return isRecord(value) && isPosition(value.from) && Array.isArray(value.to) && value.to.every(isPosition);
}

function isPosition(value: unknown): value is Position {
  return isRecord(value) && isCount(value.txid) && isId(value.id);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
