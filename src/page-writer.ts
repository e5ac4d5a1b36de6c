import { assert } from "./assert.ts";
import type { Awaitable } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import type { DecodedBlock, ObjectReader } from "./format/object-reader.ts";
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
    const at = (entry: number) => object.pgnos[block.firstEntry + entry]!;
    for (let j = 0; j < block.count; ) {
      const pgno = at(j);
      let run = this.needs(pgno) ? 1 : 0;
      if (run > 0)
        while (j + run < block.count && at(j + run) === pgno + run && this.needs(pgno + run)) run += 1;
      if (run > 0) this.writeRun(pgno, block.joinPages(j, run));
      j += Math.max(run, 1);
    }
    await this.keepUp();
  }

  /** Pages from `pgno` on, one after the other in `bytes`, that are needed and checked. `keepUp` says when more may come. */
  writeRun(pgno: number, bytes: Uint8Array): void {
    const count = bytes.length / this.#pageSize;
    for (let i = 0; i < count; i++) this.#pages.take(pgno + i);
    this.written += count;
    const skipped = pgno === 1 ? this.#pageSize : 0;
    if (pgno === 1) this.#pageOne = bytes.slice(0, this.#pageSize);
    if (skipped < bytes.length) this.#write(bytes.subarray(skipped), (pgno - 1) * this.#pageSize + skipped);
  }

  /** Resolves when the next pages may come, which is before all are written. Throws for any written before, too. */
  async keepUp(): Promise<void> {
    while (this.#writing.length > WRITES_AHEAD) await this.#writing.shift();
  }

  #write(bytes: Uint8Array, offset: number): void {
    const writing = this.#target.write(bytes, offset);
    if (writing === undefined) return;
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
