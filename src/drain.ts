import type { CacheAppend, CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import { formatVersion, type ObjectHeader } from "./format/header.ts";
import { pagesPerBlock } from "./format/layout.ts";
import type { Capture, CapturedPages, CaptureSpan } from "./vfs/capture.ts";
import type { WalHeader } from "./wal/wal-format.ts";
import { WalDamagedError, type WalReader } from "./wal/wal-reader.ts";

/** Bytes of pages that a gate reads at once. */
const GATE_READS = 8 << 20;

/**
 * Bytes at the most that a segment takes beside a page: its frame's header, its place in the index, and its share of the
 * block's; and beside all of them, its header and trailer.
 */
const BESIDE_PAGE = 64;
const BESIDE_PAGES = 4096;

/** What a drain reads from and writes to. */
export interface DrainContext {
  readonly capture: Capture;
  readonly wal: WalReader;
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  /** A page of the main file, zeros beyond its end. Valid until the next call. */
  readonly mainPage: (pgno: number, pageSize: number) => Uint8Array;
  /** The record of the last cached position. */
  readonly record: PositionRecord;
  readonly now: () => number;
  /**
   * For the gate, which holds everything up: bytes of a segment up to which its pages are stored as they are, to be packed
   * before they go up. Null for the loop.
   */
  readonly storeUpTo: number | null;
}

/** What a drain has cached, and whether its blocks are stored as they are. */
export interface Drained {
  readonly entry: CacheEntry;
  readonly record: PositionRecord;
  readonly stored: boolean;
}

/**
 * Steps that are all done at once inside a lock request, or one by one with turns of the event loop between them. What one
 * gives makes the next one short for who can wait for it; it never fails.
 */
export type Steps<T> = Generator<(() => Promise<void>) | undefined, T, void>;

/**
 * Moves the commits of one span from the WAL into one segment in the cache:
 *  1. sync the WAL, so that nothing is cached that the machine could still lose (uploaded ≤ cached ≤ synced);
 *  2. read the newest frame of each page, each verified by its checksum;
 *  3. encode them as one segment behind the last cached position;
 *  4. append it together with the new position, in one durable step;
 *  5. let the gate know.
 * On any failure the span is given back and nothing has changed. Each sync is a step of its own: it takes as long as the disk.
 */
export function* drain(context: DrainContext, span: CaptureSpan, fingerprint: string | null): Steps<Drained> {
  let append: CacheAppend | null = null;
  try {
    fault("drain:begin");
    yield context.wal.syncBeside;
    context.wal.sync();
    yield undefined;
    const wal = context.wal.header();
    if (!wal || wal.salt1 !== span.to.wal!.salt1 || wal.salt2 !== span.to.wal!.salt2)
      throw new WalDamagedError(0);
    append = context.cache.append();
    const pages = context.capture.pages(span);
    const storedSize = pages.pgnos.length * (span.to.pageSize + BESIDE_PAGE) + BESIDE_PAGES;
    const stored = storedSize <= (context.storeUpTo ?? 0);
    const level = stored ? null : zstdLevel;
    const encoder = new ObjectEncoder(segmentHeader(context, span), context.codecs, level);
    append.write(encoder.start());
    const stated = yield* writePages(context, pages, wal, encoder, append);
    const pageCount = Math.min(span.to.pageCount, stated ?? context.record.pageCount);
    const { chunk, id, size } = encoder.finish();
    append.write(chunk);
    yield append.syncBeside;
    const to = { txid: span.to.txid, id };
    const record = nextRecord(context.record, span, to, pageCount, fingerprint);
    fault("drain:before-commit");
    const entry = { from: context.record.cached, to, size, time: span.firstTime };
    append.commit(entry, record);
    fault("drain:after-commit");
    context.capture.confirm(span, pageCount);
    return { entry, record, stored };
  } catch (error) {
    context.capture.giveBack(span);
    append?.abort();
    throw error;
  }
}

function segmentHeader(context: DrainContext, span: CaptureSpan): ObjectHeader {
  const { record } = context;
  return {
    format: formatVersion,
    features: [],
    lineage: record.lineage,
    kind: "segment",
    pageSize: span.to.pageSize,
    pageCount: span.to.pageCount,
    from: record.cached,
    to: { txid: span.to.txid, id: null },
    writer: record.writer,
    created: Math.max(context.now(), span.to.time),
    commits: { first: span.firstTime, last: span.to.time },
  };
}

function nextRecord(
  last: PositionRecord,
  span: CaptureSpan,
  cached: CacheEntry["to"],
  pageCount: number,
  fingerprint: string | null,
): PositionRecord {
  return {
    ...last,
    cached,
    pageCount,
    pageSize: span.to.pageSize,
    time: span.to.time,
    wal: span.to.wal,
    fingerprint,
  };
}

/**
 * Reads and encodes part by part, so that memory holds one however large the transaction is. A part is one block where
 * the event loop is to have its turn in between, and else more, whose frames are neighbours more often. Returns how many pages
 * page 1 says that there are; null where it is not among them, and so says what it said before.
 */
function* writePages(
  context: DrainContext,
  { pgnos, frames }: CapturedPages,
  wal: WalHeader,
  encoder: ObjectEncoder,
  append: CacheAppend,
): Steps<number | null> {
  const { pageSize } = wal;
  let stated: number | null = null;
  const atOnce = context.storeUpTo === null ? pagesPerBlock(pageSize) : GATE_READS / pageSize;
  const part = new Uint8Array(Math.min(atOnce, pgnos.length) * pageSize);
  for (let begin = 0; begin < pgnos.length; begin += atOnce) {
    const end = Math.min(begin + atOnce, pgnos.length);
    readPages(context, wal, pgnos.subarray(begin, end), frames.subarray(begin, end), part);
    for (let i = begin; i < end; i++) {
      const at = (i - begin) * pageSize;
      const page = part.subarray(at, at + pageSize);
      if (pgnos[i] === 1) stated = statedPageCount(page);
      const chunk = encoder.page(pgnos[i]!, page);
      if (chunk !== undefined) append.write(chunk);
    }
    yield undefined;
  }
  return stated;
}

/** As SQLite reads page 1 (fileformat2.html §1.3.8): null where what changed it last did not keep the count. */
function statedPageCount(page: Uint8Array): number | null {
  const view = new DataView(page.buffer, page.byteOffset);
  return view.getUint32(24) === view.getUint32(92) ? view.getUint32(28) || null : null;
}

function readPages(
  context: DrainContext,
  wal: WalHeader,
  pgnos: Uint32Array,
  frames: Uint32Array,
  into: Uint8Array,
): void {
  const { pageSize } = wal;
  const inWal = frames.filter((frame) => frame > 0);
  const walPgnos = pgnos.filter((_, slot) => frames[slot]! > 0);
  const walSlots = Uint32Array.from(frames.keys()).filter((slot) => frames[slot]! > 0);
  context.wal.read(wal, inWal, walPgnos, (i, page) => into.set(page, walSlots[i]! * pageSize));
  for (let slot = 0; slot < pgnos.length; slot++) {
    if (frames[slot] === 0) into.set(context.mainPage(pgnos[slot]!, pageSize), slot * pageSize);
  }
}

/** Runs steps to their end at once. */
export function runSteps<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value; // what else it gives is for who can wait
  }
}

/** How long steps may hold the event loop before it gets a turn, milliseconds. */
const TURN_MS = 4;

/**
 * Runs steps with the event loop between them. When somebody else ran them to the end meanwhile (the gate did, inside a
 * lock request) this stops quietly.
 */
export async function pace<T>(
  steps: Steps<T>,
  now: () => number,
  turn: () => Promise<void>,
): Promise<T | undefined> {
  let since = now();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (value !== undefined) await value();
    else if (now() - since < TURN_MS) continue;
    else await turn();
    since = now();
  }
}
