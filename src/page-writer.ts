import { assert } from "./assert.ts";
import type { BlockThreads, PageRun } from "./block-threads.ts";
import type { Awaitable } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import type { BlockLayout, DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import { PageSet } from "./page-set.ts";
import type { PageSink } from "./restore.ts";

/** Writes that a target may have under way while the next blocks are unpacked: of a block each, in a snapshot. */
const WRITES_AHEAD = 4;

/** Where a restore writes: nothing is a database there until `finish`, and `abort` leaves what was there before. */
export interface RestoreTarget {
  /**
   * Each byte is written once at the most, in any order, several calls under way at a time; page 1 comes last, when all
   * others have resolved. `bytes` may be reused once this returned or resolved.
   */
  write(bytes: Uint8Array, offset: number): Awaitable;
  /** All pages are written: makes `size` bytes durable and puts them in place in one step. */
  finish(size: number): Promise<void>;
  /** Writes may still be under way: lets them end first. */
  abort(): Promise<void>;
  /**
   * Threads that write here beside the calling one; null, or no such function, where there are none, or where they would cost
   * more than they save for `bytes` of frames. To be ended before the target is finished or aborted.
   */
  openThreads?(bytes: number): BlockThreads | null;
  /** The database that is about to be replaced, to take from it what need not be fetched; null where there is none. */
  readonly old: OldDatabase | null;
}

/** The main file as it stands, whatever its WAL or journal would make of it. */
export interface OldDatabase {
  /** Bytes of the file. */
  readonly size: number;
  /** Fills `into` from `offset`, which lies within the size. */
  read(into: Uint8Array, offset: number): Promise<void>;
}

/** Writes the pages that are still needed, and remembers which. */
export class PageWriter implements PageSink {
  readonly #target: RestoreTarget;
  readonly #pageSize: number;
  readonly #pages: PageSet;
  #pageOne: Uint8Array | null = null;
  /** What the target is writing, the oldest first. */
  readonly #writing: Promise<void>[] = [];
  written = 0;

  constructor(target: RestoreTarget, pageSize: number, pageCount: number) {
    this.#target = target;
    this.#pageSize = pageSize;
    this.#pages = new PageSet(pageSize, pageCount);
  }

  needs(pgno: number): boolean {
    return this.#pages.needs(pgno);
  }

  /** The pages of a block that are still needed. Resolves when the next ones may come; see `writeRun`. */
  async writeBlock(object: ObjectReader, block: DecodedBlock): Promise<void> {
    this.#writeRuns(block, this.#neededRuns(object, block));
    await this.keepUp();
  }

  /**
   * The same, of a block that is still packed, on other threads. They write only what they are told to, so that the newest
   * object's page wins, and never page 1. Resolves when `frame` is no longer needed, whatever became of it: that says `keepUp`.
   */
  writeBeside(object: ObjectReader, b: number, frame: Uint8Array, threads: BlockThreads): Promise<void> {
    const writing = this.#writeBeside(object, b, frame, threads);
    this.#hearLater(writing);
    return writing.catch(() => undefined);
  }

  async #writeBeside(
    object: ObjectReader,
    b: number,
    frame: Uint8Array,
    threads: BlockThreads,
  ): Promise<void> {
    const layout = object.layoutOf(b);
    const runs = this.#neededRuns(object, layout);
    if (runs.length === 0) return;
    if (runs[0]!.pgno === 1) return this.#writeRuns(object.decodeBlock(b, frame), runs);
    for (const { pgno, count } of runs) this.#take(pgno, count);
    try {
      await threads.write({ frame, layout, runs });
    } catch {
      // It may be the thread's fault: this one has the last word.
      const block = object.decodeBlock(b, frame);
      for (const { j, count, pgno } of runs)
        await this.#target.write(block.joinPages(j, count), (pgno - 1) * this.#pageSize);
    }
  }

  #writeRuns(block: DecodedBlock, runs: readonly PageRun[]): void {
    for (const { j, count, pgno } of runs) this.writeRun(pgno, block.joinPages(j, count));
  }

  #neededRuns(
    object: ObjectReader,
    { firstEntry, count }: Pick<BlockLayout, "firstEntry" | "count">,
  ): PageRun[] {
    const at = (j: number) => object.pgnos[firstEntry + j]!;
    const runs: PageRun[] = [];
    for (let j = 0; j < count; ) {
      const pgno = at(j);
      let run = this.needs(pgno) ? 1 : 0;
      if (run > 0) {
        while (j + run < count && at(j + run) === pgno + run && this.needs(pgno + run)) run += 1;
        runs.push({ j, count: run, pgno });
      }
      j += Math.max(run, 1);
    }
    return runs;
  }

  /** Pages from `pgno` on, one after the other in `bytes`, that are needed and checked. `keepUp` says when more may come. */
  writeRun(pgno: number, bytes: Uint8Array): void {
    this.#take(pgno, bytes.length / this.#pageSize);
    const skipped = pgno === 1 ? this.#pageSize : 0;
    if (pgno === 1) this.#pageOne = bytes.slice(0, this.#pageSize);
    if (skipped < bytes.length) this.#write(bytes.subarray(skipped), (pgno - 1) * this.#pageSize + skipped);
  }

  #take(pgno: number, count: number): void {
    for (let i = 0; i < count; i++) this.#pages.take(pgno + i);
    this.written += count;
  }

  /** Resolves when the next pages may come, which is before all are written. Throws for any written before, too. */
  async keepUp(ahead = WRITES_AHEAD): Promise<void> {
    while (this.#writing.length > ahead) await this.#writing.shift();
  }

  /** Resolves when no write is under way. What failed is heard by the next `keepUp`, or `finish`. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#writing);
  }

  #write(bytes: Uint8Array, offset: number): void {
    const writing = this.#target.write(bytes, offset);
    if (writing !== undefined) this.#hearLater(writing);
  }

  #hearLater(writing: Promise<void>): void {
    // Heard only in its turn, or never: not unhandled meanwhile, which would end a Node process.
    writing.catch(() => undefined);
    this.#writing.push(writing);
  }

  /** Page 1 last: until it is there, nothing takes the file for a database. */
  async finish(replica: string): Promise<void> {
    this.#pages.requireAll(1, replica);
    while (this.#writing.length > 0) await this.#writing.shift();
    fault("restore:before-page-one");
    assert(this.#pageOne !== null, "page 1 is a page");
    await this.#target.write(this.#pageOne, 0);
  }
}
