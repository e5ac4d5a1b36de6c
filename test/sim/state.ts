import {
  decodeWalHeader,
  verifyWalFrame,
  WalChecksum,
  WalFrameHeader,
  walFrameHeaderSize,
  walHeaderSize,
} from "../../src/wal/wal-format.ts";
import type { Disk } from "./disk.ts";

export type Hash64 = (bytes: Uint8Array) => bigint;

/** One state of a database: the hash of each page, page 1 first. */
export interface State {
  readonly pageSize: number;
  readonly pages: readonly bigint[];
}

export function sameState(a: State, b: State): boolean {
  return a.pages.length === b.pages.length && a.pages.every((hash, i) => hash === b.pages[i]);
}

/** For the trace. */
export function digestOf({ pages }: State): string {
  return pages.reduce((sum, hash) => BigInt.asUintN(64, sum * 31n + hash), 0n).toString(16);
}

/**
 * Whether `found` is all of the database that a state of the WAL is: what was allocated and given back in one transaction
 * may count for the WAL and not for page 1, and so not for SQLite.
 */
export function isDatabaseOf(found: State, { pageSize, pages }: State): boolean {
  return sameState(found, { pageSize, pages: pages.slice(0, found.pages.length) });
}

export function describeDifference(a: State, b: State): string {
  const pgnos = a.pages.flatMap((hash, i) => (hash === b.pages[i] ? [] : [i + 1]));
  return `${a.pages.length} and ${b.pages.length} pages, different: ${pgnos.slice(0, 20).join(" ")}`;
}

/** The database as its files have it, with the WAL's first `frames` frames. */
export function stateAt(
  disk: Disk,
  path: string,
  frames: number,
  /** Null: as many as the main file says. */
  pageCount: number | null,
  hash64: Hash64,
): State {
  const main = disk.find(path)?.content() ?? new Uint8Array();
  const wal = frames === 0 ? new Uint8Array() : disk.find(`${path}-wal`)!.content();
  const pageSize = frames === 0 ? pageSizeOf(main) : new DataView(wal.buffer, wal.byteOffset).getUint32(8);
  const newest = new Map<number, Uint8Array>();
  const header = new WalFrameHeader();
  for (let frame = 0; frame < frames; frame++) {
    const at = walHeaderSize + frame * (pageSize + walFrameHeaderSize);
    const page = at + walFrameHeaderSize;
    newest.set(header.read(wal, at).pgno, wal.subarray(page, page + pageSize));
  }
  const pages = Array.from({ length: pageCount ?? pageCountOf(main, pageSize) }, (_, i) => {
    const page = newest.get(i + 1) ?? main.subarray(i * pageSize, (i + 1) * pageSize);
    return hash64(page.length === pageSize ? page : padded(page, pageSize));
  });
  return { pageSize, pages };
}

/** What SQLite will find: every commit of the WAL that is whole. */
export function recoverableStates(disk: Disk, path: string, hash64: Hash64): State[] {
  const main = disk.find(path)?.content() ?? new Uint8Array();
  const wal = disk.find(`${path}-wal`)?.content() ?? new Uint8Array();
  const states: State[] = [];
  if (main.length >= 512 && main.subarray(0, 100).some((byte) => byte !== 0))
    states.push(stateAt(disk, path, 0, null, hash64));
  const checksum = new WalChecksum();
  const header = decodeWalHeader(wal, checksum);
  if (header === null) return states;
  const frame = new WalFrameHeader();
  const frameSize = header.pageSize + walFrameHeaderSize;
  for (let i = 1; walHeaderSize + i * frameSize <= wal.length; i++) {
    const at = walHeaderSize + (i - 1) * frameSize;
    if (!verifyWalFrame(wal, at, header, checksum)) break;
    const { pageCount } = frame.read(wal, at);
    if (pageCount > 0) states.push(stateAt(disk, path, i, pageCount, hash64));
  }
  return states;
}

export function stateOfBytes(bytes: Uint8Array, hash64: Hash64): State {
  const pageSize = pageSizeOf(bytes);
  const pages = Array.from({ length: bytes.length / pageSize }, (_, i) =>
    hash64(bytes.subarray(i * pageSize, (i + 1) * pageSize)),
  );
  return { pageSize, pages };
}

/** https://www.sqlite.org/fileformat2.html#the_database_header */
function pageSizeOf(main: Uint8Array): number {
  const size = (main[16]! << 8) | main[17]!;
  return size === 1 ? 65536 : size;
}

/** What the header says, where it is of the last change; a checkpoint cut short leaves the file longer. */
function pageCountOf(main: Uint8Array, pageSize: number): number {
  const view = new DataView(main.buffer, main.byteOffset);
  const stated = main.length >= 100 && view.getUint32(24) === view.getUint32(92) ? view.getUint32(28) : 0;
  return stated > 0 ? stated : main.length / pageSize;
}

function padded(page: Uint8Array, pageSize: number): Uint8Array {
  const whole = new Uint8Array(pageSize);
  whole.set(page);
  return whole;
}
