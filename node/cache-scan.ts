import type * as nodeFs from "node:fs";
import { join } from "node:path";
import type { CacheEntry, PositionRecord } from "../src/cache/write-cache.ts";
import { samePosition } from "../src/format/position.ts";
import { damaged, decodeTail, type Tail } from "./cache-file.ts";

export type FileKind = "entry" | "position" | "permit" | "tmp";

/** Of the general kind, because a mark that is made by a deletion has no room for words. */
const UNTOLD_REASON = "marked before, when there was no room to write down why";

/** An entry and where it is. */
export interface Placed {
  readonly entry: CacheEntry;
  /** CRC-32 of its bytes. */
  readonly crc: number;
  readonly sequence: number;
  path: string;
}

export interface CacheContents {
  /** The highest number in use. */
  readonly sequence: number;
  /** Oldest first. */
  readonly entries: Placed[];
  readonly newest: { readonly sequence: number; readonly position: PositionRecord } | null;
  /** The file of the newest record, unless it is one of the entries. */
  readonly positionFile: string | null;
  /** Present where that file is still named as the entry that it no longer is. */
  readonly renamedFrom?: string;
  /** A permit that exists. */
  readonly permit: number | null;
  /** Names of files that no longer count. */
  readonly dropped: string[];
}

export function fileName(sequence: number, kind: FileKind): string {
  return `${sequence.toString(16).padStart(16, "0")}.${kind}`;
}

interface Named {
  readonly name: string;
  readonly sequence: number;
  readonly kind: FileKind;
}

type ScanFs = Pick<typeof nodeFs, "readdirSync" | "openSync" | "fstatSync" | "readSync" | "closeSync">;

/** Reads and judges what is in the directory, and changes nothing. Throws CacheError naming the file that is wrong. */
export function scanCache(fs: ScanFs, directory: string): CacheContents {
  const files = fs.readdirSync(directory).flatMap(parseName);
  const records = files
    .filter(({ kind }) => kind === "entry" || kind === "position")
    .map((file) => ({ ...file, ...readTail(fs, join(directory, file.name), file) }))
    .sort((a, b) => a.sequence - b.sequence);
  const newest = records.at(-1);
  const replaced = new Set(records.flatMap(({ record }) => record.replaces ?? []));
  const permits = new Set(files.filter(({ kind }) => kind === "permit").map(({ sequence }) => sequence));
  const position = newest === undefined ? null : judged(newest.record, permits);
  const found = records
    .filter(({ kind, sequence }) => kind === "entry" && !replaced.has(sequence))
    .map(({ name, sequence, record }) => ({
      entry: record.entry!,
      crc: record.crc!,
      sequence,
      path: join(directory, name),
    }))
    .sort((a, b) => a.entry.from.txid - b.entry.from.txid);
  // A backlog is dropped only under the mark, and a crash may leave any part of it.
  const placed = position?.resync === undefined ? found : found.slice(0, chainLength(found));
  checkChain(placed, position, directory);

  const permit = newest !== undefined && permits.has(newest.record.permit) ? newest.record.permit : null;
  const kept = new Set(placed.map(({ sequence }) => fileName(sequence, "entry")));
  const alone = newest !== undefined && !kept.has(fileName(newest.sequence, "entry"));
  if (newest !== undefined) kept.add(newest.name);
  if (permit !== null) kept.add(fileName(permit, "permit"));
  return {
    sequence: Math.max(0, ...files.map(({ sequence }) => sequence)),
    entries: placed,
    newest: newest === undefined ? null : { sequence: newest.sequence, position: position! },
    positionFile: alone ? join(directory, fileName(newest.sequence, "position")) : null,
    ...(alone && newest.kind === "entry" ? { renamedFrom: join(directory, newest.name) } : {}),
    permit,
    dropped: files.map(({ name }) => name).filter((name) => !kept.has(name)),
  };
}

function parseName(name: string): Named[] {
  const [, digits, kind] = /^([0-9a-f]{16})\.(entry|position|permit|tmp)$/.exec(name) ?? [];
  if (digits === undefined || kind === undefined) return [];
  return [{ name, sequence: Number.parseInt(digits, 16), kind: kind as FileKind }];
}

function readTail(fs: ScanFs, path: string, { sequence, kind }: Named): Tail {
  const fd = fs.openSync(path, "r");
  try {
    const tail = decodeTail(path, fs.fstatSync(fd).size, (from, length) => {
      const buffer = Buffer.alloc(length);
      let at = 0;
      while (at < length) {
        const got = fs.readSync(fd, buffer, at, length - at, from + at);
        if (got === 0) break;
        at += got;
      }
      return buffer.subarray(0, at);
    });
    if (tail.sequence !== sequence) throw damaged(path, "it has the name of another file");
    if (kind === "entry" && tail.record.entry?.size !== tail.objectLength) {
      throw damaged(path, "its segment is missing");
    }
    return tail;
  } finally {
    fs.closeSync(fd);
  }
}

/** The record as it counts: without its permit it is marked for resync. */
function judged(record: { permit: number; position: PositionRecord }, permits: Set<number>): PositionRecord {
  const { position, permit } = record;
  if (position.resync !== undefined || permits.has(permit)) return position;
  return { ...position, resync: UNTOLD_REASON };
}

/** How many entries there are before the first gap. */
function chainLength(placed: readonly Placed[]): number {
  const gap = placed.findIndex(({ entry }, i) => i > 0 && !samePosition(placed[i - 1]!.entry.to, entry.from));
  return gap === -1 ? placed.length : gap;
}

function checkChain(placed: readonly Placed[], position: PositionRecord | null, directory: string): void {
  const length = chainLength(placed);
  if (length < placed.length) {
    const [before, after] = [placed[length - 1]!.path, placed[length]!.path];
    throw damaged(after, `it does not continue ${before}; a file between them is missing`);
  }
  const tail = placed.at(-1);
  if (tail === undefined || position === null || position.resync !== undefined) return;
  if (!samePosition(tail.entry.to, position.cached)) {
    throw damaged(
      directory,
      `its entries end with ${tail.path} at ${tail.entry.to.txid}, the record at ${position.cached.txid}`,
    );
  }
}
