import { assert } from "../assert.ts";
import { readCacheEntry, readPositionRecord } from "./read-records.ts";
import type { CacheEntry, PositionRecord } from "./write-cache.ts";

/** A file whose operations are done when they return, and throw when they fail. */
export interface SyncFile {
  size(): number;
  /** Fills `into` from `offset`; false, with the rest zeros, where the file ends before. */
  read(into: Uint8Array, offset: number): boolean;
  write(bytes: Uint8Array, offset: number): void;
  truncate(size: number): void;
  sync(): void;
  close(): void;
}

/** One durable step of a write cache: a new position, mostly with a segment that leads there. */
export interface Step {
  /** Counts all steps of this cache, from 1. */
  readonly serial: number;
  readonly entry: CacheEntry | null;
  /** How many neighbours it stands for, the first of which begins where it does. */
  readonly replaced: number;
  readonly record: PositionRecord;
  /** Where the segment's bytes are in the file. */
  readonly parts: readonly { readonly offset: number; readonly length: number }[];
}

export interface Mark {
  /** The step that it marks; a later one clears it. */
  readonly serial: number;
  readonly reason: string;
}

/**
 * Blocks of the file: 8 bytes xxh64 over the rest, "SLUI", kind, serial (float64), bytes of the payload, try (random, 4
 * bytes), and the payload. A mark has its place at the beginning, so that it can be made when the disk is full. The steps
 * follow it: parts of a segment, then JSON that says what they are. A step counts when that last block is whole, the serial
 * is one higher than before, and all its blocks are of one try: so nothing that stood there earlier is taken for one, nor
 * for a part of one, where some of a try that was never synced reached the disk over one that failed.
 */
const HEADER_SIZE = 32;
const MAGIC = 0x49554c53;
const KIND = { mark: 1, part: 2, step: 3 } as const;
const LOG_START = 1024;
/** Bytes of a segment in one block. */
const PART_SIZE = 256 * 1024;
/** JSON of a step is a few hundred bytes. */
const MAX_PAYLOAD = 1024 * 1024;
/** A file that one large segment has made longer than this is cut again. */
const KEPT_SIZE = 4 * 1024 * 1024;
const MAX_REASON = 200;

/** A record of a later release. */
export class NewerSideFileError extends Error {}

/** Durable steps in a row, written synchronously; the file begins anew when all were moved elsewhere. */
export class SideFile {
  readonly #file: SyncFile;
  readonly #hash64: (bytes: Uint8Array) => bigint;
  /** Where the next step goes. */
  #end = LOG_START;

  constructor(file: SyncFile, hash64: (bytes: Uint8Array) => bigint) {
    this.#file = file;
    this.#hash64 = hash64;
  }

  /**
   * Reads what is there, which is durable from then on. A file that is new begins with `whenNew`. Throws NewerSideFileError, and
   * Error for a record that no release wrote.
   */
  load(whenNew: Mark | null = null): { steps: Step[]; mark: Mark | null } {
    if (this.#file.size() < LOG_START) this.reset(whenNew);
    const found = this.#readBlock(0);
    const mark = found?.kind === KIND.mark ? found : null;
    const steps: Step[] = [];
    let parts: Step["parts"][number][] = [];
    let expected: number | null = null;
    let attempt: number | null = null;
    for (let at = LOG_START; ; ) {
      const block = this.#readBlock(at);
      if (block === null || block.serial !== (expected ?? block.serial)) break;
      if (block.attempt !== (attempt ?? block.attempt)) break;
      const { serial, payload } = block;
      if (block.kind === KIND.part) parts.push({ offset: at + HEADER_SIZE, length: payload.length });
      else {
        steps.push({ ...readStep(parse(payload), serial), serial, parts });
        parts = [];
      }
      at += HEADER_SIZE + payload.length;
      if (block.kind === KIND.step) this.#end = at;
      expected = block.kind === KIND.step ? serial + 1 : serial;
      attempt = block.kind === KIND.step ? null : block.attempt;
    }
    // A process that ended before its sync leaves what only the operating system has: found, it is not durable yet.
    if (steps.length > 0 || mark !== null) this.#file.sync();
    return {
      steps,
      mark: mark && { serial: mark.serial, reason: String((parse(mark.payload) as Partial<Mark>).reason) },
    };
  }

  /** Forgets everything, durably. A crash leaves a file that counts as new, or one with the mark. */
  reset(mark: Mark | null = null): void {
    this.#file.truncate(0);
    if (mark !== null) this.mark(mark);
    const begun = this.#file.size();
    this.#file.write(new Uint8Array(LOG_START - begun), begun);
    this.#file.sync();
    this.#end = LOG_START;
  }

  /** The next step overwrites those that are there. */
  rewind(): void {
    this.#end = LOG_START;
    if (this.#file.size() > KEPT_SIZE) this.#file.truncate(LOG_START);
  }

  /** A step came to nothing: what it took of the disk is needed elsewhere. */
  abandon(): void {
    const kept = Math.max(this.#end, KEPT_SIZE);
    if (this.#file.size() > kept) this.#file.truncate(kept);
  }

  begin(serial: number): StepWriter {
    const attempt = Math.floor(Math.random() * 2 ** 32);
    return new StepWriter(serial, this.#end, {
      write: (bytes, offset) => this.#file.write(bytes, offset),
      block: (kind, payload) => this.#block(kind, serial, payload, attempt),
      finish: (end) => {
        this.#file.sync();
        this.#end = end;
      },
    });
  }

  /** Needs no room on the disk. */
  mark({ serial, reason }: Mark): void {
    const payload = stringify({ reason: reason.slice(0, MAX_REASON) });
    this.#file.write(this.#block(KIND.mark, serial, payload), 0);
    this.#file.sync();
  }

  /** The bytes of a step's segment, in parts. They are valid until the next. */
  *read({ parts }: Pick<Step, "parts">): Generator<Uint8Array> {
    for (const { offset, length } of parts) {
      const bytes = new Uint8Array(length);
      if (!this.#file.read(bytes, offset)) throw new Error("the side file is shorter than what was written");
      yield bytes;
    }
  }

  close(): void {
    this.#file.close();
  }

  #block(kind: number, serial: number, payload: Uint8Array, attempt = 0): Uint8Array {
    const bytes = new Uint8Array(HEADER_SIZE + payload.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(8, MAGIC, true);
    view.setUint32(12, kind, true);
    view.setFloat64(16, serial, true);
    view.setUint32(24, payload.length, true);
    view.setUint32(28, attempt, true);
    bytes.set(payload, HEADER_SIZE);
    view.setBigUint64(0, this.#hash64(bytes.subarray(8)), true);
    return bytes;
  }

  /** Null where none stands, or not a whole one. */
  #readBlock(at: number): Block | null {
    const header = new Uint8Array(HEADER_SIZE);
    if (!this.#file.read(header, at)) return null;
    const view = new DataView(header.buffer);
    const length = view.getUint32(24, true);
    if (view.getUint32(8, true) !== MAGIC || length > MAX_PAYLOAD) return null;
    const bytes = new Uint8Array(HEADER_SIZE + length);
    if (!this.#file.read(bytes, at) || this.#hash64(bytes.subarray(8)) !== view.getBigUint64(0, true))
      return null;
    return {
      kind: view.getUint32(12, true),
      serial: view.getFloat64(16, true),
      attempt: view.getUint32(28, true),
      payload: bytes.subarray(HEADER_SIZE),
    };
  }
}

interface Block {
  readonly kind: number;
  readonly serial: number;
  readonly attempt: number;
  readonly payload: Uint8Array;
}

interface StepHost {
  write(bytes: Uint8Array, offset: number): void;
  block(kind: number, payload: Uint8Array): Uint8Array;
  finish(end: number): void;
}

/** A step being written. Nothing counts before `commit` returns. */
export class StepWriter {
  readonly #serial: number;
  readonly #host: StepHost;
  readonly #parts: Step["parts"][number][] = [];
  #part = new Uint8Array(0);
  #filled = 0;
  #end: number;
  size = 0;

  constructor(serial: number, begin: number, host: StepHost) {
    this.#serial = serial;
    this.#end = begin;
    this.#host = host;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#part.length === 0) this.#part = new Uint8Array(PART_SIZE);
      const piece = bytes.subarray(at, at + PART_SIZE - this.#filled);
      this.#part.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === PART_SIZE) this.#put(this.#takePart());
    }
    this.size += bytes.length;
  }

  /** The rest and the closing block in one write. */
  commit(entry: CacheEntry | null, record: PositionRecord, replaced = 0): Step {
    const rest = this.#filled > 0 ? this.#takePart() : new Uint8Array(0);
    const closing = this.#host.block(KIND.step, stringify({ entry, replaced, record }));
    const bytes = new Uint8Array(rest.length + closing.length);
    bytes.set(rest);
    bytes.set(closing, rest.length);
    this.#put(bytes);
    this.#host.finish(this.#end);
    return { serial: this.#serial, entry, replaced, record, parts: this.#parts };
  }

  #takePart(): Uint8Array {
    assert(this.#filled > 0, "a part holds something");
    const block = this.#host.block(KIND.part, this.#part.subarray(0, this.#filled));
    this.#parts.push({ offset: this.#end + HEADER_SIZE, length: this.#filled });
    this.#filled = 0;
    return block;
  }

  #put(bytes: Uint8Array): void {
    this.#host.write(bytes, this.#end);
    this.#end += bytes.length;
  }
}

function stringify(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ version: 1, ...value }));
}

/** Throws NewerSideFileError, or Error for what no release wrote. */
function readStep(value: unknown, serial: number): Pick<Step, "entry" | "replaced" | "record"> {
  const { entry, replaced, record } = value as Partial<Step>;
  if (typeof record?.version === "number" && (record.version as number) !== 1)
    throw new NewerSideFileError(`record version ${record.version}`);
  const read = { entry: entry && readCacheEntry(entry), record: readPositionRecord(record) };
  if (read.record === null || read.entry === undefined || (entry !== null && read.entry === null))
    throw new Error(`step ${serial} of the side file holds no record`);
  if (!Number.isSafeInteger(replaced)) throw new Error(`step ${serial} of the side file replaces nothing`);
  return { entry: read.entry, replaced: replaced!, record: read.record };
}

function parse(payload: Uint8Array): unknown {
  const { version, ...value } = JSON.parse(new TextDecoder().decode(payload)) as { version: number };
  if (version !== 1) throw new NewerSideFileError(`version ${version}`);
  return value;
}
