import { assert } from "./assert.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import type { ObjectHeader } from "./format/header.ts";
import type { ByteRange, DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";

/** Bytes that one read of an input asks for, unless a block is larger: blocks are small, and requests take their time. */
const READ_SIZE = 256 << 10;

/**
 * Merges neighbouring segments, oldest first, into one that leads from the first's `from` to the last's `to`: the newest
 * version of each page, up to the last page count. Correct because a segment holds every page by which it made the
 * database larger, so nothing of a page that was cut off in between survives. Yields the object's bytes, returns what they
 * add up to. Holds READ_SIZE and one block of each input, and the tables of the output.
 */
export async function* mergeSegments(
  segments: readonly ObjectReader[],
  header: ObjectHeader,
  codecs: Codecs,
): AsyncGenerator<Uint8Array, { readonly id: string; readonly size: number }> {
  for (let i = 1; i < segments.length; i++)
    assert(samePosition(segments[i - 1]!.to, segments[i]!.from!), "merged segments adjoin");
  const encoder = new ObjectEncoder(header, codecs, zstdLevel);
  const cursors = segments.map((segment) => new Cursor(segment));
  yield encoder.start();
  for (;;) {
    let pgno = Number.POSITIVE_INFINITY;
    let newest: Cursor | null = null;
    for (const cursor of cursors)
      if (cursor.pgno < pgno || (cursor.pgno === pgno && newest !== null)) {
        pgno = cursor.pgno;
        newest = cursor;
      }
    if (newest === null || pgno > header.pageCount) break;
    const chunk = encoder.page(pgno, await newest.page());
    if (chunk !== undefined) yield chunk;
    for (const cursor of cursors) if (cursor.pgno === pgno) cursor.next();
  }
  const { chunk, id, size } = encoder.finish();
  yield chunk;
  return { id, size };
}

/** Goes through a segment's pages in order. */
class Cursor {
  readonly #segment: ObjectReader;
  #entry = 0;
  #block: DecodedBlock | null = null;
  /** Adjoining blocks that were read at once. */
  #range: ByteRange = { offset: 0, length: 0 };
  #bytes = new Uint8Array();

  constructor(segment: ObjectReader) {
    this.#segment = segment;
  }

  /** Infinity after the last page. */
  get pgno(): number {
    return this.#segment.pgnos[this.#entry] ?? Number.POSITIVE_INFINITY;
  }

  next(): void {
    this.#entry += 1;
  }

  async page(): Promise<Uint8Array> {
    const b = this.#segment.blockOf(this.#entry);
    const held = this.#block !== null && this.#segment.blockOf(this.#block.firstEntry) === b;
    if (!held) this.#block = this.#segment.decodeBlock(b, await this.#compressed(b));
    return this.#block!.page(this.#entry - this.#block!.firstEntry);
  }

  async #compressed(b: number): Promise<Uint8Array> {
    const { offset, length } = this.#segment.blockRange(b);
    if (offset + length > this.#range.offset + this.#range.length) {
      this.#range = this.#rangeFrom(b);
      this.#bytes = (await this.#segment.read(this.#range)) as Uint8Array<ArrayBuffer>;
    }
    const at = offset - this.#range.offset;
    return this.#bytes.subarray(at, at + length);
  }

  #rangeFrom(first: number): ByteRange {
    const { offset, length } = this.#segment.blockRange(first);
    let end = offset + length;
    for (let b = first + 1; b < this.#segment.blockCount; b++) {
      const next = this.#segment.blockRange(b);
      if (next.offset + next.length - offset > READ_SIZE) break;
      end = next.offset + next.length;
    }
    return { offset, length: end - offset };
  }
}
