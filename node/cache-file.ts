import { createHash } from "node:crypto";
import { readCacheEntry, readPositionRecord } from "../src/cache/read-records.ts";
import type { CacheEntry, PositionRecord } from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import { DamagedFileError } from "./damaged-file.ts";

/**
 * A file of the write cache: the bytes of a segment object (none where only the position is recorded), a record as
 * JSON, and a footer of fixed size, all integers little-endian:
 *
 * | offset | size | field |
 * |---|---|---|
 * | 0 | 32 | SHA-256 over the JSON and bytes 32 to 63 of the footer |
 * | 32 | 8 | length of the object |
 * | 40 | 8 | sequence number: of two records the one with the higher number is newer |
 * | 48 | 4 | length of the JSON |
 * | 52 | 4 | version of this layout: 1 |
 * | 56 | 8 | "sluicewc" |
 *
 * A file is valid if and only if (1) it ends in the magic, (2) the version is known, (3) object, JSON and footer are
 * together exactly the file, (4) the checksum fits, (5) the position record's version is known, and (6) the JSON has
 * the fields of a record. The object's bytes are those that were written if and only if they have the record's CRC-32, which is
 * looked at when they are read for an upload: to look sooner would take as long as there are bytes.
 */
export const FOOTER_BYTES = 64;
const VERSION = 1;
const MAGIC = Buffer.from("sluicewc", "latin1");

export interface CacheRecord {
  /** The segment in this file. */
  readonly entry?: CacheEntry;
  /** CRC-32 of its bytes, where there is an entry. */
  readonly crc?: number;
  /** Sequence numbers of the entries that this one replaced. */
  readonly replaces?: readonly number[];
  /** The record holds without resync only while the permit of this number exists. */
  readonly permit: number;
  readonly position: PositionRecord;
}

/** What follows the object's bytes. */
export function encodeTail(objectLength: number, sequence: number, record: CacheRecord): Buffer {
  const json = Buffer.from(JSON.stringify(record), "utf8");
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeBigUInt64LE(BigInt(objectLength), 32);
  footer.writeBigUInt64LE(BigInt(sequence), 40);
  footer.writeUInt32LE(json.length, 48);
  footer.writeUInt32LE(VERSION, 52);
  MAGIC.copy(footer, 56);
  checksum(json, footer).copy(footer, 0);
  return Buffer.concat([json, footer]);
}

export interface Tail {
  readonly objectLength: number;
  readonly sequence: number;
  readonly record: CacheRecord;
}

/** `read(from, length)` answers fewer bytes only where the file ends. Throws CacheError naming `path`. */
export function decodeTail(
  path: string,
  fileSize: number,
  read: (from: number, length: number) => Buffer,
): Tail {
  const footer = fileSize < FOOTER_BYTES ? Buffer.alloc(0) : read(fileSize - FOOTER_BYTES, FOOTER_BYTES);
  if (footer.length < FOOTER_BYTES || !footer.subarray(56).equals(MAGIC))
    throw new DamagedFileError(path, "its end is missing");
  if (footer.readUInt32LE(52) !== VERSION) throw madeByNewer(path);
  const objectLength = Number(footer.readBigUInt64LE(32));
  const sequence = Number(footer.readBigUInt64LE(40));
  const jsonLength = footer.readUInt32LE(48);
  if (objectLength + jsonLength + FOOTER_BYTES !== fileSize)
    throw new DamagedFileError(path, "its length is wrong");
  const json = read(objectLength, jsonLength);
  if (!checksum(json, footer).equals(footer.subarray(0, 32)))
    throw new DamagedFileError(path, "its record is altered");
  const record = readRecord(path, JSON.parse(json.toString("utf8")));
  return { objectLength, sequence, record };
}

/** Versions first: what else a later release writes is not for this one to judge. */
function readRecord(path: string, value: Partial<CacheRecord> | null): CacheRecord {
  const { entry, crc, replaces = [], permit, position } = value ?? {};
  if (typeof position?.version === "number" && (position.version as number) !== 1) throw madeByNewer(path);
  const valid =
    readPositionRecord(position) !== null &&
    (entry === undefined || (readCacheEntry(entry) !== null && Number.isSafeInteger(crc))) &&
    Array.isArray(replaces) &&
    [permit, ...replaces].every((number) => Number.isSafeInteger(number));
  if (!valid) throw new DamagedFileError(path, "its record is altered");
  return value as CacheRecord;
}

function checksum(json: Buffer, footer: Buffer): Buffer {
  return createHash("sha256").update(json).update(footer.subarray(32)).digest();
}

function madeByNewer(path: string): CacheError {
  return new CacheError(
    `${path} was made by a newer release. Upgrade sqlite-sluice. Nothing was deleted.`,
    false,
  );
}
