import { assert } from "../assert.ts";
import { CacheError } from "../errors.ts";
import { samePosition } from "../format/position.ts";
import type { Clock } from "../platform.ts";
import type { PutBody } from "../store/object-store.ts";
import { checkChain } from "./check-chain.ts";
import { NewerSideFileError, type SideFile, type Step, type StepWriter } from "./side-file.ts";
import type {
  CacheAppend,
  CacheEntry,
  CacheState,
  PositionRecord,
  QueueAppend,
  SegmentQueue,
  WriteCache,
} from "./write-cache.ts";

/** Milliseconds until a step that the queue did not take is offered again. */
const RETRY_MS = 1000;

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

/** What a queue's record says beside: how many steps it has taken over. */
type QueueRecord = PositionRecord & { readonly staged?: number };

interface Item {
  readonly entry: CacheEntry;
  /** Null: it is in the queue. */
  step: Step | null;
}

/**
 * A write cache over an asynchronous queue. Every step is first written synchronously into a side file, which makes it
 * durable, and then moved into the queue, in order. The queue's record counts the steps that it has, so that after a
 * crash in between none is taken twice and none is missed. When all are moved the side file is overwritten.
 */
export class StagedCache implements WriteCache {
  readonly #o: StagedCacheOptions;
  #side: SideFile | null = null;
  #items: Item[] = [];
  #staged: Step[] = [];
  #position: PositionRecord | null = null;
  #serial = 0;
  #appending = false;
  #moving: Promise<void> | null = null;
  #retry: { cancel(): void } | null = null;

  constructor(options: StagedCacheOptions) {
    this.#o = options;
  }

  async load(): Promise<CacheState> {
    assert(this.#side === null, "the write cache is loaded once");
    const { queue } = this.#o;
    const { position, entries } = await queue.load();
    const { staged = 0, ...queued } = (position ?? {}) as QueueRecord;
    try {
      this.#side = this.#local(() => this.#o.openSide());
      this.#position = position && queued;
      this.#serial = staged;
      this.#items = entries.map((entry) => ({ entry, step: null }));
      this.#takeOver();
    } catch (error) {
      this.#side?.close();
      await queue.close();
      throw error;
    }
    this.#soon();
    return { position: this.#position, entries: this.entries() };
  }

  /** What the side file holds and the queue does not. */
  #takeOver(): void {
    const { steps, mark } = this.#local(() => this.#file.load());
    const known = this.#serial;
    const later = steps.filter(({ serial }) => serial > known);
    if (known === 0 && steps.length + (mark ? 1 : 0) > 0 && steps[0]?.serial !== 1) {
      // The queue was lost, and with it all that can be known.
      this.#local(() => this.#file.reset());
      return;
    }
    if (later.length > 0 && later[0]!.serial !== known + 1)
      throw this.#damaged(`it has step ${known} and then step ${later[0]!.serial}`);
    const queued = this.#position;
    const last = later.at(-1);
    if (last !== undefined) {
      this.#position = last.record;
      this.#serial = last.serial;
    }
    if (mark !== null && mark.serial >= this.#serial && this.#position !== null)
      this.#position = { resync: mark.reason, ...this.#position };
    this.#staged = this.#chain(later, queued);
    const tail = this.#items.at(-1)?.entry.to;
    const { cached, resync } = this.#position ?? {};
    if (tail && resync === undefined && !(cached && samePosition(tail, cached)))
      throw this.#damaged(`its entries end at ${tail.txid}, its record at ${cached?.txid}`);
  }

  /** Steps whose entries continue those of the queue. Others were dropped before a crash, which a mark has to say. */
  #chain(steps: readonly Step[], queued: PositionRecord | null): Step[] {
    const resync = this.#position?.resync;
    return steps.map((step, i) => {
      const { entry } = step;
      const end = this.#items.at(-1)?.entry.to ?? (steps[i - 1]?.record ?? queued)?.cached;
      if (entry === null) return step;
      if (end === undefined || samePosition(entry.from, end)) {
        this.#items.push({ entry, step });
        return step;
      }
      if (resync === undefined) throw this.#damaged(`nothing leads to transaction ${entry.from.txid}`);
      return withoutEntry(step, resync);
    });
  }

  entries(): readonly CacheEntry[] {
    return this.#items.map(({ entry }) => entry);
  }

  append(): CacheAppend;
  append(replacing: readonly CacheEntry[]): QueueAppend;
  append(replacing?: readonly CacheEntry[]): CacheAppend | QueueAppend {
    assert(!this.#appending, "one segment is open at a time");
    return replacing === undefined || replacing.length === 0 ? this.#stage() : this.#merge(replacing);
  }

  #stage(): CacheAppend {
    let writer: StepWriter | null = this.#begin();
    this.#appending = true;
    const abort = () => {
      if (writer !== null) this.#appending = false;
      writer = null;
      return undefined;
    };
    const open = () => {
      assert(writer !== null, "the segment is open");
      return writer;
    };
    const attempt = (act: () => void) => {
      try {
        this.#local(act);
      } catch (error) {
        abort();
        throw error;
      }
      return undefined;
    };
    return {
      abort,
      write: (chunk) => attempt(() => open().write(chunk)),
      commit: (entry, position) => {
        assert(open().size === entry.size, "an entry states the size of its object");
        checkChain([...this.#items, { entry }], position);
        attempt(() => {
          const step = open().commit(entry, position);
          this.#items.push({ entry, step });
          this.#noteStep(step);
        });
        return abort();
      },
    };
  }

  /** Neighbours in the queue become one there; what is staged has to be in it before. */
  #merge(replacing: readonly CacheEntry[]): QueueAppend {
    this.#placeOf(replacing);
    this.#appending = true;
    let opened: Promise<QueueAppend> | null = null;
    const open = () => {
      opened ??= this.#moved().then(() => this.#o.queue.append(replacing));
      return opened;
    };
    const abort = async () => {
      if (opened !== null) await (await opened.catch(() => null))?.abort();
      this.#appending = false;
    };
    return {
      abort,
      write: async (chunk) => (await open()).write(chunk),
      commit: async (entry, position) => {
        const at = this.#placeOf(replacing);
        checkChain(this.#items.toSpliced(at, replacing.length, { entry, step: null }), position);
        await (await open()).commit(entry, this.#counted(position));
        // Looked up again: the head may have left.
        this.#items.splice(this.#placeOf(replacing), replacing.length, { entry, step: null });
        this.#position = position;
        this.#appending = false;
      },
    };
  }

  savePosition(record: PositionRecord): undefined {
    checkChain(this.#items, record);
    assert(!this.#appending, "no segment is open");
    const writer = this.#begin();
    this.#noteStep(this.#local(() => writer.commit(null, record)));
  }

  markResync(reason: string): undefined {
    const position = this.#position;
    if (position === null || position.resync !== undefined) return;
    this.#local(() => this.#file.mark({ serial: this.#serial, reason }));
    this.#position = { ...position, resync: reason };
  }

  read(entry: CacheEntry): PutBody {
    const { entry: found } = this.#find(entry);
    const queue = async () => {
      await this.#moved();
      return this.#o.queue.read(found);
    };
    return {
      size: found.size,
      chunks: async function* () {
        const body = await queue();
        if ("chunks" in body) yield* body.chunks();
        else yield body;
      },
    };
  }

  async readRange(entry: CacheEntry, offset: number, length: number): Promise<Uint8Array> {
    const { entry: found } = this.#find(entry);
    await this.#moved();
    return this.#o.queue.readRange(found, offset, length);
  }

  async ack(entry: CacheEntry): Promise<void> {
    const item = this.#find(entry);
    assert(item === this.#items[0], "only the head is acknowledged");
    if (item.step !== null) await this.#moved();
    await this.#o.queue.ack(item.entry);
    this.#items = this.#items.filter((each) => each !== item);
  }

  async dropBacklog(): Promise<void> {
    const reason = this.#position?.resync;
    assert(reason !== undefined, "the backlog is dropped only after the mark for resync");
    await this.#moving?.catch(() => undefined);
    // Nothing is moved meanwhile, and the queue then counts the steps that were not.
    this.#moving = this.#drop(reason).finally(() => {
      this.#moving = null;
    });
    await this.#moving;
  }

  async #drop(reason: string): Promise<void> {
    const { queue } = this.#o;
    const head = this.#items[0];
    if (head !== undefined && head.step !== null) await this.#moveEntry(head.step, head.entry);
    await queue.markResync(reason);
    await queue.dropBacklog();
    this.#items = this.#items.slice(0, 1);
    this.#staged = [];
    await queue.savePosition(this.#counted(this.#position!));
  }

  async close(): Promise<void> {
    this.#retry?.cancel();
    await this.#moving?.catch(() => undefined);
    await this.#o.queue.close();
    this.#side?.close();
    this.#side = null;
  }

  get #file(): SideFile {
    assert(this.#side !== null, "the write cache is loaded before it is used");
    return this.#side;
  }

  #begin(): StepWriter {
    if (this.#staged.length === 0) this.#local(() => this.#file.rewind());
    return this.#file.begin(this.#serial + 1);
  }

  #noteStep(step: Step): void {
    this.#serial = step.serial;
    this.#position = step.record;
    this.#staged.push(step);
    this.#soon();
  }

  /** Moves when the caller, who may be inside a call of SQLite's, is done. */
  #soon(): void {
    if (this.#staged.length > 0 && this.#moving === null)
      queueMicrotask(() => void this.#moved().catch(() => undefined));
  }

  /** Resolves when all that was staged is in the queue. */
  async #moved(): Promise<void> {
    while (this.#staged.length > 0 && this.#side !== null) {
      this.#moving ??= this.#move().finally(() => {
        this.#moving = null;
      });
      await this.#moving;
    }
  }

  async #move(): Promise<void> {
    this.#retry?.cancel();
    try {
      for (let step = this.#staged[0]; step !== undefined; step = this.#staged[0]) {
        // Of positions only the last one counts.
        if (step.entry !== null) await this.#moveEntry(step, step.entry);
        else if (this.#staged.length === 1)
          await this.#o.queue.savePosition(this.#counted(step.record, step));
        if (this.#staged[0] === step) this.#staged.shift();
      }
    } catch (error) {
      this.#retry = this.#o.clock.after(RETRY_MS, false, () => this.#soon());
      this.#o.onTrouble(error);
      throw error;
    }
  }

  async #moveEntry(step: Step, entry: CacheEntry): Promise<void> {
    const append = this.#o.queue.append();
    try {
      for (const part of this.#file.read(step)) await append.write(part);
      await append.commit(entry, this.#counted(step.record, step));
    } catch (error) {
      await append.abort();
      throw error;
    }
    const item = this.#items.find((each) => each.step === step);
    assert(item !== undefined, "what is moved is an entry");
    item.step = null;
  }

  #counted(record: PositionRecord, step?: Step): QueueRecord {
    return { ...record, staged: step?.serial ?? this.#serial };
  }

  #placeOf(replaced: readonly CacheEntry[]): number {
    const items = replaced.map((entry) => this.#find(entry));
    const at = this.#items.indexOf(items[0]!);
    assert(at > 0, "what is replaced is in the queue, behind the head");
    assert(
      items.every((item, i) => this.#items[at + i] === item),
      "what is replaced are neighbours",
    );
    return at;
  }

  #find({ from, to }: CacheEntry): Item {
    const item = this.#items.find(
      ({ entry }) => samePosition(entry.from, from) && samePosition(entry.to, to),
    );
    assert(item !== undefined, "the entry is in the write cache");
    return item;
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
      throw new CacheError(`${this.#o.name}: ${cause}`, this.#o.isFull(cause), { cause });
    }
  }

  #damaged(how: string): CacheError {
    return new CacheError(
      `the write cache ${this.#o.name} is damaged: ${how}. Nothing was deleted. Without the cache the local database is ` +
        "compared with its replica as if it had no history.",
      false,
    );
  }
}

function withoutEntry(step: Step, resync: string): Step {
  return { ...step, entry: null, record: { resync, ...step.record } };
}
