import { assert } from "./assert.ts";
import type { Awaitable } from "./cache/write-cache.ts";
import { openChain } from "./chain.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ByteRange, DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import type { Position } from "./format/position.ts";
import { PageSet } from "./page-set.ts";
import type { Plan } from "./plan.ts";
import { prefetch } from "./prefetch.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Bytes that one request fetches at the most, unless a single block is larger. */
const REQUEST_SIZE = 4 << 20;
/** Requests under way for one object. With REQUEST_SIZE this bounds the memory of a restore. */
const REQUESTS_AHEAD = 3;
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
}

/** How far a restore is. Totals are known from the first call on. */
export interface RestoreProgress {
  readonly objects: number;
  readonly totalObjects: number;
  /** Bytes of objects dealt with, fetched or found superseded. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Database pages written. */
  readonly pages: number;
}

export interface RestoredState {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  /** Time of the last commit, milliseconds since 1970. */
  readonly time: number;
}

/**
 * Writes the state at the end of a plan into a target: objects from the newest to the oldest, so that each page is
 * written once, every page checked against its hash. The caller finishes or aborts the target.
 */
export async function apply(
  store: ObjectStore,
  plan: Plan,
  lineage: string,
  codecs: Codecs,
  target: RestoreTarget,
  onProgress: (progress: RestoreProgress) => void,
  signal?: AbortSignal,
): Promise<RestoredState> {
  const totalObjects = plan.segments.length + 1;
  const totalBytes = plan.segments.reduce((sum, info) => sum + info.size, plan.snapshot.size);
  let objects = 0;
  let bytes = 0;
  let pages: PageWriter | null = null;
  let newest: ObjectReader | null = null;
  const report = () => onProgress({ objects, totalObjects, bytes, totalBytes, pages: pages?.written ?? 0 });
  for await (const object of openChain(store, plan, lineage, codecs, signal)) {
    if (pages === null) {
      newest = object;
      pages = new PageWriter(target, object.pageSize, object.pageCount);
      report();
    }
    for await (const fetched of fetchNeeded(object, pages, signal)) {
      await writeBlocks(object, fetched, pages);
      bytes += fetched.range.length;
      report();
    }
    fault("restore:object");
    objects += 1;
    bytes = sumOfNewest(plan, objects);
    report();
  }
  assert(newest !== null && pages !== null, "a plan has a snapshot");
  await pages.finish(store.url);
  report();
  const { to, pageSize, pageCount, header } = newest;
  return { position: to, pageSize, pageCount, time: header.commits.last };
}

/** Bytes of the `count` newest objects. */
function sumOfNewest(plan: Plan, count: number): number {
  const segments = plan.segments.slice(Math.max(0, plan.segments.length - count));
  const sum = segments.reduce((total, info) => total + info.size, 0);
  return count > plan.segments.length ? sum + plan.snapshot.size : sum;
}

/** Adjoining blocks, and their bytes. */
interface BlockGroup {
  readonly first: number;
  readonly last: number;
  readonly range: ByteRange;
}
interface FetchedGroup extends BlockGroup {
  readonly bytes: Uint8Array;
}

/** Takes pages from objects, the newest object first. */
export interface PageSink {
  needs(pgno: number): boolean;
  /** Takes those of the block's pages that it needs. */
  writeBlock(object: ObjectReader, block: DecodedBlock): Awaitable;
}

/** Fetches the blocks of an object that hold a page which `pages` needs, several requests at a time. */
export async function* fetchNeeded(
  object: ObjectReader,
  pages: PageSink,
  signal: AbortSignal | undefined,
): AsyncGenerator<FetchedGroup> {
  yield* prefetch(neededGroups(object, pages), REQUESTS_AHEAD, async (group) => {
    signal?.throwIfAborted();
    return { ...group, bytes: await object.read(group.range) };
  });
}

/** The blocks that hold a page which no newer object gave, neighbours joined up to REQUEST_SIZE. */
function* neededGroups(object: ObjectReader, pages: PageSink): Generator<BlockGroup> {
  let group: BlockGroup | null = null;
  let entry = 0;
  for (let b = 0; b < object.blockCount; b++) {
    let needed = false;
    for (; entry < object.pgnos.length && object.blockOf(entry) === b; entry++)
      needed ||= pages.needs(object.pgnos[entry]!);
    if (!needed) continue;
    const { offset, length } = object.blockRange(b);
    if (group !== null && group.last === b - 1 && group.range.length + length <= REQUEST_SIZE) {
      group = {
        first: group.first,
        last: b,
        range: { offset: group.range.offset, length: group.range.length + length },
      };
      continue;
    }
    if (group !== null) yield group;
    group = { first: b, last: b, range: { offset, length } };
  }
  if (group !== null) yield group;
}

/** Unpacks and checks what was fetched, and hands it over. */
export async function writeBlocks(object: ObjectReader, group: FetchedGroup, pages: PageSink): Promise<void> {
  for (let b = group.first; b <= group.last; b++) {
    const { offset, length } = object.blockRange(b);
    const at = offset - group.range.offset;
    await pages.writeBlock(object, object.decodeBlock(b, group.bytes.subarray(at, at + length)));
  }
}

/** Writes the pages that are still needed, and remembers which. */
class PageWriter implements PageSink {
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

  /** Resolves when the next block may come, which is before this one is written. Throws for any block before, too. */
  async writeBlock(object: ObjectReader, block: DecodedBlock): Promise<void> {
    const contiguous = object.header.kind === "snapshot";
    for (let j = 0; j < block.count; ) {
      const pgno = object.pgnos[block.firstEntry + j]!;
      if (!this.needs(pgno)) {
        j += 1;
        continue;
      }
      let run = 1;
      if (pgno === 1) this.#pageOne = block.page(j).slice();
      else {
        while (contiguous && j + run < block.count && this.needs(pgno + run)) run += 1;
        const from = block.pageOffset(j);
        const bytes = block.raw.subarray(from, from + run * this.#pageSize);
        this.#write(bytes, (pgno - 1) * this.#pageSize);
      }
      for (let i = 0; i < run; i++) this.#pages.take(pgno + i);
      this.written += run;
      j += run;
    }
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
