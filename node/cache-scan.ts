import type * as nodeFs from "node:fs";
import { join } from "node:path";
import type { CacheEntry, PositionRecord } from "../src/cache/write-cache.ts";
import { CacheError } from "../src/errors.ts";
import type { ObjectHeader } from "../src/format/header.ts";
import { type Position, samePosition } from "../src/format/position.ts";
import { decodeTail, type Tail } from "./cache-file.ts";
import { DamagedFileError, readObjectHeader } from "./damaged-file.ts";

export type FileKind = "entry" | "position" | "permit" | "tmp";

/** Of the general kind, because a mark that is made by a deletion has no room for words. */
const UNTOLD_REASON = "marked before, when there was no room to write down why";

/** An entry and where it is. */
export interface Placed {
  readonly entry: CacheEntry;
  /** CRC-32 of its bytes; NaN, which none have, where its record cannot be read. */
  readonly crc: number;
  readonly sequence: number;
  path: string;
}

/** One whose record cannot be read. */
interface Remnant extends Placed {
  readonly damage: DamagedFileError;
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

/**
 * Reads and judges what is in the directory, and changes nothing. An entry that is damaged keeps its place, where its object
 * still says which that is and a newer record how far the database was followed: whoever uploads gives it up, when there is a
 * database that makes up for it. Throws CacheError naming the file that is wrong otherwise.
 */
export function scanCache(fs: ScanFs, directory: string): CacheContents {
  const files = fs.readdirSync(directory).flatMap(parseName);
  const read = files
    .filter(({ kind }) => kind === "entry" || kind === "position")
    .map((file) => ({ ...file, ...readFile(fs, join(directory, file.name), file) }))
    .sort((a, b) => a.sequence - b.sequence);
  const records = read.flatMap((file) => ("record" in file ? [file] : []));
  const newest = records.at(-1);
  const last = read.at(-1);
  if (last !== undefined && "damage" in last) throw last.damage;
  const replaced = new Set(records.flatMap(({ record }) => record.replaces ?? []));
  const permits = new Set(files.filter(({ kind }) => kind === "permit").map(({ sequence }) => sequence));
  const position = newest === undefined ? null : judged(newest.record, permits);
  const found = records
    .filter(({ kind, sequence }) => kind === "entry" && !replaced.has(sequence))
    .map(({ name, sequence, record }): Placed => {
      const path = join(directory, name);
      return { entry: record.entry!, crc: record.crc!, sequence, path };
    });
  for (const file of read)
    if ("damage" in file && file.kind === "entry" && !replaced.has(file.sequence))
      found.push(placeDamaged(file, position!));
  found.sort((a, b) => a.entry.from.txid - b.entry.from.txid);
  const ended = found.map((each, i) => endedAt(each, found[i + 1]?.entry.from ?? position!.cached));
  // A backlog is dropped only under the mark, and a crash may leave any part of it.
  const placed = position?.resync === undefined ? ended : ended.slice(0, chainLength(ended));
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

interface Damaged {
  readonly damage: DamagedFileError;
  readonly size: number;
  readonly header: ObjectHeader | null;
}

function readFile(fs: ScanFs, path: string, { sequence, kind }: Named): Tail | Damaged {
  const fd = fs.openSync(path, "r");
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw new DamagedFileError(path, "it is no file");
    const { size } = stat;
    const read = (from: number, length: number) => {
      const buffer = Buffer.alloc(length);
      let at = 0;
      while (at < length) {
        const got = fs.readSync(fd, buffer, at, length - at, from + at);
        if (got === 0) break;
        at += got;
      }
      return buffer.subarray(0, at);
    };
    try {
      const tail = decodeTail(path, size, read);
      if (tail.sequence !== sequence) throw new DamagedFileError(path, "it has the name of another file");
      if (kind === "entry" && tail.record.entry?.size !== tail.objectLength)
        throw new DamagedFileError(path, "its segment is missing");
      return tail;
    } catch (error) {
      if (!(error instanceof DamagedFileError)) throw error;
      return { damage: error, size, header: readObjectHeader(path, read) };
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof CacheError || typeof code !== "string") throw error;
    // Of a read that fails Node does not say which file it was of.
    throw new CacheError(`${path} cannot be read: ${message}. Nothing was deleted.`, false, { cause: error });
  } finally {
    fs.closeSync(fd);
  }
}

/** Where a damaged entry stands in the queue, by its object; where it ends exactly, only the next one knows. */
function placeDamaged(
  { damage, header, size, sequence }: Damaged & Named,
  { lineage, writer }: PositionRecord,
): Remnant {
  if (header?.lineage !== lineage || header.writer !== writer || header.from === null) throw damage;
  const to = { txid: header.to.txid, id: "" };
  const entry = { from: header.from, to, size, time: header.commits.first };
  return { entry, crc: Number.NaN, sequence, path: damage.path, damage };
}

function endedAt(placed: Placed | Remnant, next: Position): Placed {
  if (!("damage" in placed)) return placed;
  const { damage, ...kept } = placed;
  if (kept.entry.to.txid !== next.txid) throw damage;
  return { ...kept, entry: { ...kept.entry, to: next } };
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
    throw new DamagedFileError(after, `it does not continue ${before}; a file between them is missing`);
  }
  const tail = placed.at(-1);
  if (tail === undefined || position === null || position.resync !== undefined) return;
  if (!samePosition(tail.entry.to, position.cached)) {
    throw new DamagedFileError(
      directory,
      `its entries end with ${tail.path} at ${tail.entry.to.txid}, the record at ${position.cached.txid}`,
    );
  }
}
