import { assert } from "./assert.ts";
import type { Awaitable } from "./cache/write-cache.ts";
import type { Codecs } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import type { ObjectHeader } from "./format/header.ts";
import type { DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";

/**
 * Merges neighbouring segments, oldest first, into one that leads from the first's `from` to the last's `to`: the newest
 * version of each page, up to the last page count. Correct because a segment holds every page by which it made the
 * database larger, so nothing of a page that was cut off in between survives. Holds one block of each input.
 */
export async function mergeSegments(
  segments: readonly ObjectReader[],
  header: ObjectHeader,
  codecs: Codecs,
  level: number,
  write: (chunk: Uint8Array) => Awaitable,
): Promise<{ id: string; size: number }> {
  for (let i = 1; i < segments.length; i++)
    assert(samePosition(segments[i - 1]!.to, segments[i]!.from!), "merged segments adjoin");
  const encoder = new ObjectEncoder(header, codecs, level);
  const cursors = segments.map((segment) => new Cursor(segment));
  await write(encoder.start());
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
    if (chunk !== undefined) await write(chunk);
    for (const cursor of cursors) if (cursor.pgno === pgno) cursor.next();
  }
  const { chunk, id, size } = encoder.finish();
  await write(chunk);
  return { id, size };
}

/** Goes through a segment's pages in order. */
class Cursor {
  readonly #segment: ObjectReader;
  #entry = 0;
  #block: DecodedBlock | null = null;

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
    if (!held)
      this.#block = this.#segment.decodeBlock(b, await this.#segment.read(this.#segment.blockRange(b)));
    return this.#block!.page(this.#entry - this.#block!.firstEntry);
  }
}
