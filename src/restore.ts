import { assert } from "./assert.ts";
import type { BlockThreads } from "./block-threads.ts";
import type { Awaitable } from "./cache/write-cache.ts";
import { openChain } from "./chain.ts";
import { BrokenReplicaError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import { smallObject } from "./format/decode.ts";
import type { ByteRange, DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import { type Position, samePosition } from "./format/position.ts";
import { hasPagesOf, takeLocalPages } from "./local-pages.ts";
import { type OldDatabase, PageWriter, type RestoreTarget } from "./page-writer.ts";
import type { Plan } from "./plan.ts";
import { prefetch } from "./prefetch.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Bytes that one request fetches at the most, unless a single block is larger. */
export const REQUEST_SIZE = 4 << 20;
/** Requests under way for one object. With REQUEST_SIZE this bounds the memory of a restore. */
const REQUESTS_AHEAD = 3;
/** Blocks that other threads may have. */
const BLOCKS_AHEAD = 12;

/** How far a restore is. Totals are known from the first call on; they change where the replica does meanwhile. */
export interface RestoreProgress {
  readonly objects: number;
  readonly totalObjects: number;
  /** Bytes of objects dealt with: fetched, found superseded, or taken from the old database. */
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
  /** The object that ends there. */
  readonly key: string;
}

/** Where a restore reads from. */
export interface RestoreSource {
  readonly store: ObjectStore;
  readonly lineage: string;
  readonly codecs: Codecs;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes one state of a replica into a target: objects from the newest to the oldest, so that each page is written once,
 * every page checked against its hash. The caller finishes or aborts the target.
 *
 * When an object goes away meanwhile, `apply` can be called again with another plan that ends at the same position: a page
 * that is written is that position's, whichever object it came from.
 */
export class Restoration {
  readonly #source: RestoreSource;
  readonly #target: RestoreTarget;
  readonly #onProgress: (progress: RestoreProgress) => void;
  #begun: {
    readonly state: RestoredState;
    readonly pages: PageWriter;
    readonly old: OldDatabase | null;
  } | null = null;
  /** Bytes received from the store's objects. */
  fetched = 0;
  /** Bytes that would have been, but for pages of the old database. */
  saved = 0;

  constructor(source: RestoreSource, target: RestoreTarget, onProgress: (progress: RestoreProgress) => void) {
    this.#source = source;
    this.#target = target;
    this.#onProgress = onProgress;
  }

  /** The transaction at which plans have to end from now on; null while nothing is written. */
  get txid(): number | null {
    return this.#begun?.state.position.txid ?? null;
  }

  async apply(plan: Plan): Promise<RestoredState> {
    const { store, lineage, codecs, signal } = this.#source;
    const totalObjects = plan.segments.length + 1;
    const totalBytes = sumOfNewest(plan, totalObjects);
    let objects = 0;
    let bytes = 0;
    const report = () =>
      this.#onProgress({ objects, totalObjects, bytes, totalBytes, pages: this.#begun?.pages.written ?? 0 });
    const count = (received: number) => {
      this.fetched += received;
    };
    const threads = this.#target.openThreads?.(totalBytes) ?? null;
    try {
      for await (const object of openChain(store, plan, lineage, codecs, signal, count)) {
        if (objects === 0) await this.#begin(object);
        report();
        for await (const dealtWith of this.#write(object, threads)) {
          bytes += dealtWith;
          report();
        }
        fault("restore:object");
        objects += 1;
        bytes = sumOfNewest(plan, objects);
        report();
      }
    } finally {
      // Also where it fails: what is taken has to be written, or to have failed, before the next plan or the end.
      await this.#begun?.pages.settled();
      await threads?.end();
    }
    assert(this.#begun !== null, "a plan has a snapshot");
    const { state, pages } = this.#begun;
    await pages.finish(store.url);
    report();
    return state;
  }

  /** The newest object of a plan says what the state is. */
  async #begin({ key, to: position, pageSize, pageCount, header }: ObjectReader): Promise<void> {
    if (this.#begun === null) {
      const { old } = this.#target;
      this.#begun = {
        state: { position, pageSize, pageCount, time: header.commits.last, key },
        pages: new PageWriter(this.#target, pageSize, pageCount),
        old: old !== null && (await hasPagesOf(old, pageSize)) ? old : null,
      };
    } else if (!samePosition(position, this.#begun.state.position))
      throw new BrokenReplicaError(`${this.#source.store.url} forks at transaction ${position.txid}`, {
        key,
        txid: position.txid,
      });
  }

  /** The object's pages that no newer one gave. Yields the bytes of blocks dealt with. */
  async *#write(object: ObjectReader, threads: BlockThreads | null): AsyncGenerator<number> {
    const { codecs, signal } = this.#source;
    const { pages, old } = this.#begun!;
    // A small object has been fetched already.
    if (old !== null && object.size > smallObject) {
      const needed = neededBytes(object, pages);
      await takeLocalPages(old, object, pages, codecs, signal);
      this.saved += needed - neededBytes(object, pages);
    }
    for await (const fetched of fetchNeeded(object, pages, signal, threads)) {
      if (threads === null) await writeBlocks(object, fetched, pages);
      else await writeBlocksBeside(object, fetched, pages, threads);
      yield fetched.range.length;
    }
  }
}

/** Bytes of the `count` newest objects. */
function sumOfNewest(plan: Plan, count: number): number {
  const segments = plan.segments.slice(Math.max(0, plan.segments.length - count));
  const sum = segments.reduce((total, info) => total + info.size, 0);
  return count > plan.segments.length ? sum + plan.snapshot.size : sum;
}

/** Bytes of the blocks that hold a page which is still needed. */
function neededBytes(object: ObjectReader, pages: PageSink): number {
  let bytes = 0;
  for (const { range } of neededGroups(object, pages)) bytes += range.length;
  return bytes;
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

/** Fetches the blocks of an object that hold a page which `pages` needs, several requests at a time, into lent memory. */
export async function* fetchNeeded(
  object: ObjectReader,
  pages: Pick<PageSink, "needs">,
  signal: AbortSignal | undefined,
  threads: Pick<BlockThreads, "lend"> | null = null,
): AsyncGenerator<FetchedGroup> {
  yield* prefetch(neededGroups(object, pages), REQUESTS_AHEAD, async (group) => {
    const into = await threads?.lend();
    signal?.throwIfAborted();
    return { ...group, bytes: await object.read(group.range, into) };
  });
}

/** The blocks that hold a page which no newer object gave, neighbours joined up to REQUEST_SIZE. */
function* neededGroups(object: ObjectReader, pages: Pick<PageSink, "needs">): Generator<BlockGroup> {
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
  for (const { b, frame } of blocksOf(object, group))
    await pages.writeBlock(object, object.decodeBlock(b, frame));
}

/** Leaves all that to threads, and gives the memory back when they no longer read it. */
async function writeBlocksBeside(
  object: ObjectReader,
  group: FetchedGroup,
  pages: PageWriter,
  threads: BlockThreads,
): Promise<void> {
  const writing: Promise<void>[] = [];
  for (const { b, frame } of blocksOf(object, group)) {
    writing.push(pages.writeBeside(object, b, frame, threads));
    await pages.keepUp(BLOCKS_AHEAD);
  }
  void Promise.all(writing).then(() => threads.giveBack(group.bytes));
}

function* blocksOf(object: ObjectReader, { first, last, range, bytes }: FetchedGroup) {
  for (let b = first; b <= last; b++) {
    const { offset, length } = object.blockRange(b);
    const at = offset - range.offset;
    yield { b, frame: bytes.subarray(at, at + length) };
  }
}
