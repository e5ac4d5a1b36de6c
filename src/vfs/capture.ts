import { assert } from "../assert.ts";
import type { WalPosition } from "../cache/write-cache.ts";
import { lockBytePage } from "../format/layout.ts";
import type { WalIndexHeader } from "./shared-memory.ts";

/** Reads the headers of frames `first` to `last` from the WAL itself. */
export type FrameScan = (
  first: number,
  last: number,
  each: (frame: number, pgno: number, pageCount: number) => void,
) => void;

/** A state of the WAL up to which all is committed. */
export interface Watermark {
  readonly txid: number;
  /** Null: the WAL holds no committed frame. */
  readonly wal: WalPosition | null;
  readonly pageCount: number;
  readonly pageSize: number;
  /** Time of the last commit, milliseconds since 1970. */
  readonly time: number;
}

/** Page numbers, ascending, and the frame of the WAL in which each page stands; 0: in the main file only. */
export interface CapturedPages {
  readonly pgnos: Uint32Array;
  readonly frames: Uint32Array;
}

/** The commits between two watermarks: what one segment holds. */
export interface CaptureSpan {
  readonly from: Watermark;
  readonly to: Watermark;
  /** Time of the first commit behind `from`. */
  readonly firstTime: number;
  /** The database was never smaller than this between `from` and `to`: whatever `to` has above it grew anew. */
  readonly minPageCount: number;
}

const FRAMES_AT_FIRST = 4096;

/**
 * What has been committed, and in which frame each page stands. Fed by the shim: frame headers as they are written, the
 * wal-index header whenever the write lock is released. That header alone says what is committed (DESIGN: guessing from
 * writes is wrong, since SQLite may roll back after the commit frame); frames are only noted in passing.
 */
export class Capture {
  readonly #now: () => number;
  readonly #scan: FrameScan;
  /** Page number by frame, of this generation of the WAL; 0: not seen written, to be read from the WAL. */
  #pgnos = new Uint32Array(FRAMES_AT_FIRST);
  #captured: Watermark;
  #cached: Watermark;
  #firstTime: number;
  #minPageCount: number;
  #broken: string | null = null;
  #givenUp = false;

  constructor(at: Watermark, now: () => number, scan: FrameScan) {
    this.#captured = at;
    this.#cached = at;
    this.#firstTime = at.time;
    this.#minPageCount = at.pageCount;
    this.#now = now;
    this.#scan = scan;
  }

  /** Everything that SQLite calls committed, as of the last release of the write lock. */
  get captured(): Watermark {
    return this.#captured;
  }

  get cached(): Watermark {
    return this.#cached;
  }

  /** Commits wait to be cached: the WAL must not be restarted, truncated or deleted. */
  get pending(): boolean {
    return this.#captured.txid > this.#cached.txid && !this.#givenUp;
  }

  /** Time of the first commit that is not cached; null when all are. */
  get pendingSince(): number | null {
    return this.#captured.txid > this.#cached.txid ? this.#firstTime : null;
  }

  /** Why capture lost track of what is committed; null while it has not. Only a resync heals it. */
  get broken(): string | null {
    return this.#broken;
  }

  /** A frame header was written. It may be written again, and may never be committed. */
  stage(frame: number, pgno: number): void {
    if (frame > this.#pgnos.length) {
      const larger = new Uint32Array(Math.max(frame, this.#pgnos.length * 2));
      larger.set(this.#pgnos);
      this.#pgnos = larger;
    }
    this.#pgnos[frame - 1] = pgno;
  }

  /** SQLite recovers the wal-index from the WAL: what was staged but not committed may differ from what it finds. */
  forgetStaged(): void {
    this.#pgnos.fill(0, this.#captured.wal?.frame ?? 0);
  }

  /** The write lock is about to be released, or was never held: takes over what became committed. True if something did. */
  take(header: WalIndexHeader): boolean {
    const last = this.#captured.wal;
    const restarted = last !== null && (last.salt1 !== header.salt1 || last.salt2 !== header.salt2);
    if (restarted || (last !== null && header.maxFrame === 0)) {
      if (this.pending) return this.#lose("the WAL was restarted while it held commits that were not cached");
      this.#pgnos.fill(0);
      this.#captured = { ...this.#captured, wal: null };
      this.#cached = this.#captured;
    }
    const lastFrame = this.#captured.wal?.frame ?? 0;
    if (header.maxFrame === lastFrame) return false;
    if (header.maxFrame < lastFrame) return this.#lose("committed frames of the WAL are gone");
    try {
      this.#advance(header, lastFrame);
      return true;
    } catch (error) {
      return this.#lose(`the WAL cannot be read: ${error}`);
    }
  }

  #advance(header: WalIndexHeader, lastFrame: number): void {
    const { commits, minPageCount } = this.#count(lastFrame + 1, header);
    const time = Math.max(this.#captured.time, this.#now());
    if (!this.pending) this.#firstTime = time;
    this.#minPageCount = Math.min(this.#minPageCount, minPageCount);
    this.#captured = {
      txid: this.#captured.txid + commits,
      wal: walPosition(header),
      pageCount: header.pageCount,
      pageSize: header.pageSize,
      time,
    };
  }

  /**
   * A hold of the write lock commits once at most (SQLite releases it with each commit), unless frames came from
   * recovery: those were never staged, and are counted by their commit marks.
   */
  #count(first: number, header: WalIndexHeader): { commits: number; minPageCount: number } {
    if (this.#isStaged(first, header.maxFrame)) return { commits: 1, minPageCount: header.pageCount };
    let commits = 0;
    let minPageCount = header.pageCount;
    this.#scan(first, header.maxFrame, (frame, pgno, pageCount) => {
      this.stage(frame, pgno);
      if (pageCount === 0) return;
      commits += 1;
      minPageCount = Math.min(minPageCount, pageCount);
    });
    assert(commits > 0, "the wal-index counts frames in which nothing is committed");
    return { commits, minPageCount };
  }

  #isStaged(first: number, last: number): boolean {
    if (last > this.#pgnos.length) return false;
    for (let frame = first; frame <= last; frame++) if (this.#pgnos[frame - 1] === 0) return false;
    return true;
  }

  #lose(why: string): false {
    this.#broken ??= why;
    return false;
  }

  /** What a drain that begins now has to carry; null when nothing is pending. */
  span(): CaptureSpan | null {
    if (!this.pending || this.#broken !== null) return null;
    const span = {
      from: this.#cached,
      to: this.#captured,
      firstTime: this.#firstTime,
      minPageCount: this.#minPageCount,
    };
    // Commits that come while this span is drained belong to the next one.
    this.#minPageCount = span.to.pageCount;
    this.#firstTime = Math.max(span.to.time, this.#now());
    return span;
  }

  /**
   * The span is durable in the cache. `pageCount`: how many pages SQLite counts there, which may be fewer than the WAL does, where
   * the last ones were allocated and given back in one transaction. A snapshot has no more of them, so what comes next is to.
   */
  confirm(span: CaptureSpan, pageCount: number): void {
    assert(span.from === this.#cached, "spans are confirmed in order");
    this.#cached = span.to;
    this.#minPageCount = Math.min(this.#minPageCount, pageCount);
  }

  /** A durable mark asks for a resync: the WAL need not be held back any more. */
  giveUp(reason: string): void {
    this.#broken ??= reason;
    this.#givenUp = true;
  }

  /**
   * Starts again behind everything that is committed now: a resync carries it all, as one transaction more, and the next
   * span begins behind it. `header`: what SQLite says is committed now.
   */
  skip(header: WalIndexHeader, pageCount: number): Watermark {
    this.#broken = null;
    this.#givenUp = false;
    this.#pgnos.fill(0);
    this.#captured = {
      txid: this.#captured.txid + 1,
      wal: walPosition(header),
      pageCount,
      // An empty WAL states none.
      pageSize: this.#captured.pageSize,
      time: Math.max(this.#captured.time, this.#now()),
    };
    this.#cached = this.#captured;
    this.#minPageCount = pageCount;
    return this.#captured;
  }

  /** The span could not be cached: its commits go into the next one. */
  giveBack(span: CaptureSpan): void {
    assert(span.from === this.#cached, "a span is given back before the next is taken");
    this.#minPageCount = Math.min(this.#minPageCount, span.minPageCount);
    this.#firstTime = span.firstTime;
  }

  /**
   * The newest frame of each page that the span's segment needs, in the order of page numbers: pages written in the
   * span up to the last page count, and every page that a growth left out (SQLite does not write a page that it freed in
   * the same transaction), so that the state at `to` depends on nothing above the smallest size before. Frame 0: the page
   * stands in the main file only.
   */
  pages(span: CaptureSpan): CapturedPages {
    const first = (span.from.wal?.frame ?? 0) + 1;
    const last = span.to.wal!.frame;
    const newest = this.#newest(first, last, span.to.pageCount);
    const left = this.#leftOut(newest.pgnos, span);
    if (left.length === 0) return newest;
    const older = this.#find(left, first - 1);
    return mergeByPage(newest, { pgnos: left, frames: older });
  }

  /** From the newest frame back: the first one met of a page is its newest. A bit for each page says which were met. */
  #newest(first: number, last: number, pageCount: number): CapturedPages {
    // A page number and a frame sort as one number, exact in a double.
    const span = last - first + 1;
    assert((pageCount + 1) * span < Number.MAX_SAFE_INTEGER, "frames and pages of a segment fit one number");
    const met = new Uint8Array((pageCount >>> 3) + 1);
    const keys = new Float64Array(Math.min(span, pageCount));
    let count = 0;
    for (let i = span - 1; i >= 0; i--) {
      const pgno = this.#pgnos[first - 1 + i]!;
      if (pgno > pageCount || (met[pgno >>> 3]! & (1 << (pgno & 7))) !== 0) continue;
      met[pgno >>> 3]! |= 1 << (pgno & 7);
      keys[count++] = pgno * span + i;
    }
    keys.subarray(0, count).sort();
    const pgnos = new Uint32Array(count);
    const frames = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      pgnos[i] = Math.floor(keys[i]! / span);
      frames[i] = first + (keys[i]! % span);
    }
    return { pgnos, frames };
  }

  /** Page numbers above the span's smallest size that it did not write, without the lock-byte page. */
  #leftOut(written: Uint32Array, span: CaptureSpan): Uint32Array {
    const { pageCount, pageSize } = span.to;
    const excluded = lockBytePage(pageSize);
    const left: number[] = [];
    let at = written.findIndex((pgno) => pgno > span.minPageCount);
    if (at < 0) at = written.length;
    for (let pgno = span.minPageCount + 1; pgno <= pageCount; pgno++) {
      if (written[at] === pgno) at += 1;
      else if (pgno !== excluded) left.push(pgno);
    }
    return Uint32Array.from(left);
  }

  /** The newest frame up to `last` of each page, 0 where there is none. */
  #find(pgnos: Uint32Array, last: number): Uint32Array {
    if (last > 0 && this.#pgnos.subarray(0, last).includes(0))
      this.#scan(1, last, (frame, pgno) => this.stage(frame, pgno));
    const slots = new Map<number, number>();
    pgnos.forEach((pgno, slot) => {
      slots.set(pgno, slot);
    });
    const frames = new Uint32Array(pgnos.length);
    for (let frame = 1; frame <= last; frame++) {
      const slot = slots.get(this.#pgnos[frame - 1]!);
      if (slot !== undefined) frames[slot] = frame;
    }
    return frames;
  }
}

/** Where the last committed frame stands; null in an empty WAL. */
export function walPosition(header: WalIndexHeader): WalPosition | null {
  if (header.maxFrame === 0) return null;
  const { salt1, salt2, maxFrame, checksum1, checksum2 } = header;
  return { salt1, salt2, frame: maxFrame, checksum1, checksum2 };
}

function mergeByPage(
  a: { pgnos: Uint32Array; frames: Uint32Array },
  b: { pgnos: Uint32Array; frames: Uint32Array },
): { pgnos: Uint32Array; frames: Uint32Array } {
  const length = a.pgnos.length + b.pgnos.length;
  const merged = { pgnos: new Uint32Array(length), frames: new Uint32Array(length) };
  for (let at = 0, i = 0, j = 0; at < length; at++) {
    const source = j >= b.pgnos.length || (i < a.pgnos.length && a.pgnos[i]! < b.pgnos[j]!) ? a : b;
    const k = source === a ? i++ : j++;
    merged.pgnos[at] = source.pgnos[k]!;
    merged.frames[at] = source.frames[k]!;
  }
  return merged;
}
