import { assert } from "../assert.ts";
import { CacheError } from "../errors.ts";
import type { Clock } from "../platform.ts";
import type { PutBody } from "../store/object-store.ts";
import { checkChain, placeBehindHead, sameEntry } from "./check-chain.ts";
import { NewerSideFileError, type SideFile, type StepWriter } from "./side-file.ts";
import { type QueueRecord, StepMover } from "./step-mover.ts";
import { BrokenStagingError, type Staged, takeOver } from "./take-over.ts";
import type {
  CacheAppend,
  CacheEntry,
  CacheState,
  PositionRecord,
  SegmentQueue,
  WriteCache,
} from "./write-cache.ts";

const SIDE_LOST = "the write cache lost its side file";

export interface StagedCacheOptions {
  /** For error messages. */
  readonly name: string;
  /** Opens the file, whose exclusive use is the caller's care; asked once, by `load`. */
  readonly openSide: () => SideFile;
  readonly queue: SegmentQueue;
  readonly clock: Clock;
  /** Whether a failed file operation was for want of room. */
  readonly isFull: (error: unknown) => boolean;
  /** The queue fails: what is staged stays in the side file, and is offered again. */
  readonly onTrouble: (error: unknown) => void;
}

/**
 * A write cache over an asynchronous queue. Every step is first written synchronously into a side file, which makes it
 * durable, and then moved into the queue, in order. The queue's record counts the steps that it has, so that after a
 * crash in between none is taken twice and none is missed. When all are moved the side file is overwritten.
 */
export class StagedCache implements WriteCache {
  readonly #o: StagedCacheOptions;
  readonly #mover: StepMover;
  #side: SideFile | null = null;
  /** What the caller sees: the queue, and what is staged behind it. */
  #entries: readonly CacheEntry[] = [];
  #position: PositionRecord | null = null;
  #serial = 0;
  #appending = false;
  #acking: Promise<void> | null = null;
  #dropping: Promise<void> | null = null;

  constructor(options: StagedCacheOptions) {
    this.#o = options;
    const { queue, clock, onTrouble } = options;
    this.#mover = new StepMover({
      queue,
      clock,
      onTrouble,
      read: (step) => this.#file.read(step),
      onEmpty: () => {
        // A step that is open stands behind those.
        if (!this.#appending) this.#giveRoomBack((side) => side.rewind());
      },
    });
  }

  async load(): Promise<CacheState> {
    assert(this.#side === null, "the write cache is loaded once");
    const { queue } = this.#o;
    const state = await queue.load();
    try {
      this.#side = this.#local(() => this.#o.openSide());
      this.#takeOver(state);
    } catch (error) {
      this.#side?.close();
      await queue.close();
      throw error;
    }
    this.#mover.soon();
    return { position: this.#position, entries: this.entries() };
  }

  #takeOver({ position, entries }: CacheState): void {
    const { staged: queued = 0, ...record } = (position ?? {}) as QueueRecord;
    // Steps and a mark may have been in it.
    const whenNew = position && { serial: queued, reason: SIDE_LOST };
    const { steps, mark } = this.#local(() => this.#file.load(whenNew));
    const left = { position: position && record, entries, queued, steps, mark };
    const taken = this.#local(() => takeOver(left));
    this.#position = taken.position;
    this.#entries = taken.entries;
    this.#mover.load(taken.staged, queued);
    this.#serial = taken.serial;
    if (!taken.lost) return;
    if (taken.position === null) this.#local(() => this.#file.reset());
    else this.savePosition(taken.position);
  }

  entries(): readonly CacheEntry[] {
    return this.#entries;
  }

  append(replacing: readonly CacheEntry[] = []): CacheAppend {
    assert(!this.#appending, "one segment is open at a time");
    const replaced = replacing.map((entry) => this.#find(entry));
    placeBehindHead(this.#entries, replaced);
    let writer: StepWriter | null = this.#begin();
    this.#appending = true;
    const end = () => {
      if (writer !== null) this.#appending = false;
      writer = null;
      return undefined;
    };
    const abort = () => {
      if (writer !== null) this.#giveRoomBack((side) => side.abandon());
      return end();
    };
    const attempt = (act: (open: StepWriter) => void) => {
      assert(writer !== null, "the segment is open");
      const open = writer;
      try {
        this.#local(() => act(open));
      } catch (error) {
        abort();
        throw error;
      }
      return undefined;
    };
    return {
      abort,
      write: (chunk) => attempt((open) => open.write(chunk)),
      commit: (entry, position) => {
        assert(writer?.size === entry.size, "an entry states the size of its object");
        const at = placeBehindHead(this.#entries, replaced);
        const next = this.#entries.toSpliced(at, replacing.length, entry);
        checkChain(next, position);
        attempt((open) => {
          this.#noteStep({ ...open.commit(entry, position, replacing.length), replacing });
          this.#entries = next;
        });
        return end();
      },
    };
  }

  #giveRoomBack(act: (side: SideFile) => void): void {
    try {
      if (this.#side !== null) act(this.#side);
    } catch {
      // The next step that finds nothing staged cuts the file.
    }
  }

  savePosition(record: PositionRecord): undefined {
    checkChain(this.#entries, record);
    assert(!this.#appending, "no segment is open");
    const writer = this.#begin();
    this.#noteStep({ ...this.#local(() => writer.commit(null, record)), replacing: [] });
  }

  markResync(reason: string): undefined {
    const position = this.#position;
    if (position === null || position.resync !== undefined) return;
    this.#local(() => this.#file.mark({ serial: this.#serial, reason }));
    this.#position = { ...position, resync: reason };
  }

  read(entry: CacheEntry): PutBody {
    const found = this.#find(entry);
    return { size: found.size, chunks: () => this.#chunks(found) };
  }

  async *#chunks(entry: CacheEntry): AsyncGenerator<Uint8Array, void, undefined> {
    const step = await this.#withoutRoom(entry);
    if (step !== null) return yield* this.#parts(step);
    const body = this.#o.queue.read(entry);
    if ("chunks" in body) yield* body.chunks();
    else yield body;
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    const found = this.#find(entry);
    const step = await this.#withoutRoom(found);
    if (step === null) return this.#o.queue.readRange(found, offset, length);
    const bytes = new Uint8Array(length);
    let begin = -offset;
    for (const part of this.#parts(step)) {
      const from = Math.max(0, -begin);
      if (from < part.length && begin < length)
        bytes.set(part.subarray(from, length - begin), Math.max(0, begin));
      begin += part.length;
    }
    return bytes;
  }

  /** They stand in the side file as long as the step is staged. */
  *#parts(step: Staged): Generator<Uint8Array, void, undefined> {
    for (const part of step.parts) {
      if (!this.#mover.has(step))
        throw new CacheError(`${this.#o.name}: the entry that is read has moved; read it again`, false);
      yield* this.#local(() => [...this.#file.read({ parts: [part] })]);
    }
  }

  async ack(entry: CacheEntry): Promise<void> {
    const head = this.#find(entry);
    assert(head === this.#entries[0], "only the head is acknowledged");
    const step = await this.#withoutRoom(head);
    // What is dropped must not become the head, and be sent, before it is gone.
    while (this.#dropping !== null) await this.#dropping.catch(() => undefined);
    this.#acking = this.#release(head, step).finally(() => {
      this.#acking = null;
    });
    await this.#acking;
  }

  async #release(head: CacheEntry, step: Staged | null): Promise<void> {
    const mover = this.#mover;
    while (step !== null && mover.busy) await mover.settled();
    // It may have moved meanwhile.
    if (step !== null && mover.has(step)) await mover.exclusively(() => mover.skip(step));
    else await this.#o.queue.ack(head);
    this.#entries = this.#entries.filter((each) => each !== head);
  }

  async dropBacklog(): Promise<void> {
    const reason = this.#position?.resync;
    assert(reason !== undefined, "the backlog is dropped only after the mark for resync");
    while (this.#mover.busy || this.#acking !== null)
      await Promise.allSettled([this.#mover.settled(), this.#acking]);
    if (this.#entries.length < 2) return;
    this.#dropping = this.#mover
      .exclusively(() => this.#drop(reason))
      .finally(() => {
        this.#dropping = null;
      });
    await this.#dropping;
  }

  async #drop(reason: string): Promise<void> {
    const { queue } = this.#o;
    await this.#mover.moveUpTo(this.#entries[0]!);
    await queue.markResync(reason);
    try {
      await queue.dropBacklog();
    } finally {
      // Also where that failed: the queue lists them no more, and removes them with its next change.
      this.#entries = this.#entries.slice(0, 1);
      this.#mover.drop();
      // The steps that the queue does not have must not come back after a crash, and their numbers are free again.
      this.#local(() => this.#file.reset());
      this.#serial = this.#mover.queuedSerial;
    }
  }

  async close(): Promise<void> {
    // What the queue does not take stays in the side file.
    await this.#mover.end();
    await this.#o.queue.close();
    this.#side?.close();
    this.#side = null;
  }

  get #file(): SideFile {
    assert(this.#side !== null, "the write cache is loaded before it is used");
    return this.#side;
  }

  #begin(): StepWriter {
    if (this.#mover.empty) this.#local(() => this.#file.rewind());
    return this.#file.begin(this.#serial + 1);
  }

  #noteStep(step: Staged): void {
    this.#serial = step.serial;
    this.#position = step.record;
    this.#mover.add(step);
  }

  /**
   * The head's step where the queue has no room for it, which may be as long as it stands in the side file, too: it is then read
   * there, and leaves from there. Null when the entry is in the queue. No other is read so: merged with what the queue
   * has, it could not leave.
   */
  async #withoutRoom(entry: CacheEntry): Promise<Staged | null> {
    try {
      await this.#mover.moved(entry);
      return null;
    } catch (error) {
      const step = this.#mover.stepOf(entry);
      const alone = entry === this.#entries[0] && this.#o.queue.entries().length === 0;
      if (step === undefined || !alone || !(error instanceof CacheError && error.full)) throw error;
      return step;
    }
  }

  #find(entry: CacheEntry): CacheEntry {
    const found = this.#entries.find((each) => sameEntry(each, entry));
    assert(found !== undefined, "the entry is in the write cache");
    return found;
  }

  #local<T>(operation: () => T): T {
    try {
      return operation();
    } catch (cause) {
      if (cause instanceof NewerSideFileError)
        throw new CacheError(
          `${this.#o.name} was written by a newer release (${cause.message}). Use that.`,
          false,
        );
      if (cause instanceof BrokenStagingError)
        throw new CacheError(
          `the write cache ${this.#o.name} is damaged: ${cause.message}. Nothing was deleted. Delete both, or choose another ` +
            "cacheDir: the local database is then compared with its replica as if it had no history.",
          false,
        );
      throw new CacheError(`${this.#o.name}: ${cause}`, this.#o.isFull(cause), { cause });
    }
  }
}
