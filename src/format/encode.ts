import { assert } from "../assert.ts";
import {
  encodeWalHeader,
  sealWalFrame,
  WalChecksum,
  type WalHeader,
  walFrameHeaderSize,
} from "../wal/wal-format.ts";
import type { Codecs } from "./codecs.ts";
import { encodeHeader, maxHeaderPayload, type ObjectHeader, validateHeader } from "./header.ts";
import { IndexBuilder } from "./index-builder.ts";
import { encodeIndex, indexPayloadSize, type ObjectIndex, objectId } from "./index-table.ts";
import { blockPrefix, entrySize, lockBytePage, pagesPerBlock } from "./layout.ts";
import type { Position } from "./position.ts";
import { segmentWalHeader } from "./segment-wal.ts";
import { encodeTrailer, headerFrameMagic, indexFrameMagic, trailerFrameSize } from "./trailer.ts";
import { encodeSkippableHeader, skippableHeaderSize, storedFrame } from "./zstd-frame.ts";

export interface FinishedObject {
  /** The last bytes of the object. */
  readonly chunk: Uint8Array;
  readonly id: string;
  /** Bytes of the whole object. */
  readonly size: number;
}

/**
 * Writes one object: `start`, then `page` for each page with page numbers ascending, then `finish`. What these return,
 * in that order, is the object; each array is the caller's. Holds one block and 12 bytes a page.
 *
 * The last page stays open until the next page or `finish`, since a segment's last frame, and only that one, is the
 * commit frame.
 */
export class ObjectEncoder {
  private readonly header: ObjectHeader;
  private readonly headerPayload: Uint8Array;
  private readonly perBlock: number;
  private readonly entrySize: number;
  private readonly lockBytePage: number;
  /** Raw bytes of the block that is being filled. */
  private readonly block: Uint8Array;
  private readonly index: IndexBuilder;
  private readonly checksum = new WalChecksum();
  private readonly wal: WalHeader | null;
  private state: "new" | "open" | "finished" = "new";
  private blockLength: number;
  private blockEntries = 0;
  private pgno = 0;
  private size = 0;

  /** Throws what `validateHeader` throws. `level` is zstd's, or null for blocks that are stored and not compressed. */
  constructor(
    header: ObjectHeader,
    private readonly codecs: Codecs,
    private readonly level: number | null,
  ) {
    this.header = validateHeader(header, "object to be written");
    this.headerPayload = encodeHeader(this.header);
    assert(this.headerPayload.length <= maxHeaderPayload, "a header has at most 64 KiB");
    this.perBlock = pagesPerBlock(header.pageSize);
    this.entrySize = entrySize(header);
    this.lockBytePage = lockBytePage(header.pageSize);
    this.blockLength = blockPrefix(header, 0);
    const { pageCount } = header;
    const expected = header.kind === "snapshot" ? pageCount : Math.min(this.perBlock, pageCount);
    this.index = new IndexBuilder(expected, pageCount);
    this.block = new Uint8Array(this.blockLength + this.perBlock * this.entrySize);
    this.wal = isSegment(this.header) ? segmentWalHeader(this.header, codecs) : null;
    if (this.wal) encodeWalHeader(this.block, this.wal, this.checksum);
  }

  start(): Uint8Array {
    assert(this.state === "new", "an object starts once");
    this.state = "open";
    const frame = new Uint8Array(skippableHeaderSize + this.headerPayload.length);
    encodeSkippableHeader(frame, 0, headerFrameMagic, this.headerPayload.length);
    frame.set(this.headerPayload, skippableHeaderSize);
    return this.count(frame);
  }

  /** xxh64 of the pages so far, in order. */
  get hashes(): BigUint64Array {
    return this.index.hashesSoFar;
  }

  /** Copies `data`, one whole page. Returns the block before, where this page begins a new one. */
  page(pgno: number, data: Uint8Array): Uint8Array | undefined {
    this.requireAllowed(pgno, data);
    let finished: Uint8Array | undefined;
    if (this.blockEntries > 0) this.seal(0);
    if (this.blockEntries === this.perBlock) finished = this.compressBlock();
    this.block.set(data, this.blockLength + this.entrySize - data.length);
    this.index.addPage(pgno, this.codecs.hash64(data));
    this.blockLength += this.entrySize;
    this.blockEntries++;
    this.pgno = pgno;
    return finished;
  }

  finish(): FinishedObject {
    assert(this.state === "open" && this.blockEntries > 0, "an object has been started and has a page");
    assert(
      this.header.kind === "segment" || this.pgno === this.header.pageCount,
      "a snapshot has every page",
    );
    this.state = "finished";
    this.seal(this.header.pageCount);
    const block = this.compressBlock();
    const { chunk: end, id } = encodeEnd(this.index.get(), this.size, this.headerPayload, this.codecs);
    this.count(end);
    const chunk = new Uint8Array(block.length + end.length);
    chunk.set(block);
    chunk.set(end, block.length);
    return { chunk, id, size: this.size };
  }

  private requireAllowed(pgno: number, data: Uint8Array): void {
    const { kind, pageSize, pageCount } = this.header;
    assert(this.state === "open", "pages come between start and finish");
    assert(data.length === pageSize, "a page has the size that the header says");
    assert(pgno > this.pgno && pgno <= pageCount, `page ${pgno} after page ${this.pgno} of ${pageCount}`);
    if (kind === "snapshot") {
      assert(pgno === this.pgno + 1, `a snapshot has every page: ${pgno} after ${this.pgno}`);
      assert(pgno !== this.lockBytePage || data.every((byte) => byte === 0), "the lock-byte page is zeros");
    } else {
      assert(pgno !== this.lockBytePage, "a segment never holds the lock-byte page");
    }
  }

  /** Writes the frame header of the last page, in a segment. `pageCount` is 0 but for the commit frame. */
  private seal(pageCount: number): void {
    if (!this.wal) return;
    const at = this.blockLength - this.header.pageSize - walFrameHeaderSize;
    sealWalFrame(this.block, at, this.wal, this.pgno, pageCount, this.checksum);
  }

  private compressBlock(): Uint8Array {
    const raw = this.block.subarray(0, this.blockLength);
    const packed = this.level === null ? storedFrame(raw) : this.codecs.compress(raw, this.level);
    this.index.addBlock(packed.length, this.blockLength);
    this.blockLength = 0;
    this.blockEntries = 0;
    return this.count(packed);
  }

  private count(bytes: Uint8Array): Uint8Array {
    this.size += bytes.length;
    return bytes;
  }
}

/** What comes behind the blocks of an object, which end at `indexOffset`: index and trailer. And the object's id. */
export function encodeEnd(
  index: ObjectIndex,
  indexOffset: number,
  headerPayload: Uint8Array,
  codecs: Codecs,
): { readonly chunk: Uint8Array; readonly id: string } {
  const payloadSize = indexPayloadSize(index.pgnos.length, index.rawLengths.length);
  const chunk = new Uint8Array(skippableHeaderSize + payloadSize + trailerFrameSize);
  const trailerAt = chunk.length - trailerFrameSize;
  const payload = chunk.subarray(skippableHeaderSize, trailerAt);
  encodeSkippableHeader(chunk, 0, indexFrameMagic, payloadSize);
  encodeIndex(index, payload);
  const id = objectId(codecs, headerPayload, payload, index.pgnos.length);
  encodeTrailer(chunk, trailerAt, { indexOffset, indexLength: trailerAt, id });
  return { chunk, id };
}

function isSegment(header: ObjectHeader): header is ObjectHeader & { readonly from: Position } {
  return header.from !== null;
}
