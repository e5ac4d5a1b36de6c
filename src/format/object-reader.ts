import { assert } from "../assert.ts";
import { CorruptObjectError, type ObjectPart } from "../errors.ts";
import { encodeWalHeader, WalChecksum, walFrameHeaderSize } from "../wal/wal-format.ts";
import type { Codecs } from "./codecs.ts";
import type { ObjectHeader } from "./header.ts";
import type { ObjectIndex } from "./index-table.ts";
import { blockPrefix, entriesInBlock, entrySize, pagesPerBlock } from "./layout.ts";
import type { Position } from "./position.ts";
import { segmentWalHeader } from "./segment-wal.ts";
import { requireContentSize, skippableHeaderSize } from "./zstd-frame.ts";

/** Bytes of the object. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

interface RangeSource {
  readonly key: string;
  readonly size: number;
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
}

/** An opened object: header and index are checked and here, blocks are decoded one by one. See `openObject`. */
export class ObjectReader {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly from: Position | null;
  /** With the object's own id where the header leaves it to that. */
  readonly to: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  /** Page number of each entry, ascending. */
  readonly pgnos: Uint32Array;
  /** xxh64 of each entry's page. */
  readonly hashes: BigUint64Array;
  readonly blockCount: number;
  private readonly perBlock: number;
  /** Where each block begins, and where the last one ends. */
  private readonly blockOffsets: Float64Array;

  constructor(
    private readonly source: RangeSource,
    readonly header: ObjectHeader,
    readonly id: string,
    readonly index: ObjectIndex,
    blocksOffset: number,
    private readonly codecs: Codecs,
  ) {
    this.key = source.key;
    this.size = source.size;
    this.from = header.from;
    this.to = { txid: header.to.txid, id: header.to.id ?? id };
    this.pageSize = header.pageSize;
    this.pageCount = header.pageCount;
    this.pgnos = index.pgnos;
    this.hashes = index.hashes;
    this.perBlock = pagesPerBlock(header.pageSize);
    this.blockCount = index.compressedLengths.length;
    this.blockOffsets = new Float64Array(this.blockCount + 1);
    this.blockOffsets[0] = blocksOffset;
    for (let b = 0; b < this.blockCount; b++) {
      this.blockOffsets[b + 1] = this.blockOffsets[b]! + index.compressedLengths[b]!;
    }
  }

  /** The entry that holds page `pgno`, or -1. */
  indexOf(pgno: number): number {
    const pgnos = this.pgnos;
    let low = 0;
    let high = pgnos.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (pgnos[middle]! < pgno) low = middle + 1;
      else high = middle;
    }
    return pgnos[low] === pgno ? low : -1;
  }

  /** The block that holds entry `i`. */
  blockOf(i: number): number {
    return Math.floor(i / this.perBlock);
  }

  /** Where block `b` is stored. Neighbours adjoin, so that one read can fetch several. */
  blockRange(b: number): ByteRange {
    const offset = this.blockOffsets[b];
    assert(offset !== undefined && b < this.blockCount, `block ${b} of ${this.blockCount}`);
    return { offset, length: this.blockOffsets[b + 1]! - offset };
  }

  /** The frame before the blocks, and the payload in it: the header as it was written. */
  async readHead(): Promise<{ readonly frame: Uint8Array; readonly payload: Uint8Array }> {
    const frame = await this.read({ offset: 0, length: this.blockOffsets[0]! });
    return { frame, payload: frame.subarray(skippableHeaderSize) };
  }

  /**
   * Bytes of the object; a small object is in memory already. Where `into` is given, they stand at its beginning. Throws
   * what the source throws.
   */
  read(range: ByteRange, into?: Uint8Array): Promise<Uint8Array> {
    return this.source.read(range.offset, range.length, into);
  }

  /**
   * Unpacks and checks block `b`, given the bytes of its range: content size, frame headers, the hash of every page.
   * Throws CorruptObjectError "block" or "page".
   */
  decodeBlock(b: number, compressed: Uint8Array): DecodedBlock {
    if (compressed.length !== this.blockRange(b).length)
      throw this.fault("block", b, `${compressed.length} bytes`);
    const rawLength = this.index.rawLengths[b]!;
    let raw: Uint8Array;
    try {
      requireContentSize(compressed, rawLength);
      raw = this.codecs.decompress(compressed, rawLength);
    } catch (cause) {
      throw this.fault("block", b, "does not unpack", cause);
    }
    return this.verified(b, raw);
  }

  /** What block `b` unpacks to, as far as it is known before. */
  layoutOf(b: number): BlockLayout {
    const { header, pageSize, pgnos } = this;
    const firstEntry = b * this.perBlock;
    const count = entriesInBlock(header, b, pgnos.length);
    const stride = entrySize(header);
    const first = blockPrefix(header, b) + stride - pageSize;
    const rawLength = this.index.rawLengths[b]!;
    const hashes = this.hashes.subarray(firstEntry, firstEntry + count);
    const known = header.kind === "segment" ? this.knownOfWal(b, firstEntry, count) : nothingKnown;
    return { rawLength, firstEntry, count, first, stride, pageSize, hashes, ...known };
  }

  /** The WAL header is the one that the positions give, and frame headers say what the index says. */
  private knownOfWal(b: number, firstEntry: number, count: number): Pick<BlockLayout, "prefix" | "heads"> {
    const { header, pgnos } = this;
    const prefix = new Uint8Array(blockPrefix(header, b));
    if (b === 0)
      encodeWalHeader(
        prefix,
        segmentWalHeader(header as ObjectHeader & { from: Position }, this.codecs),
        new WalChecksum(),
      );
    const heads = new Uint8Array(count * headSize);
    const view = new DataView(heads.buffer);
    for (let j = 0; j < count; j++) {
      const entry = firstEntry + j;
      view.setUint32(j * headSize, pgnos[entry]!);
      view.setUint32(j * headSize + 4, entry === pgnos.length - 1 ? header.pageCount : 0);
    }
    return { prefix, heads };
  }

  private verified(b: number, raw: Uint8Array): DecodedBlock {
    const layout = this.layoutOf(b);
    if (raw.length !== layout.rawLength)
      throw this.fault("block", b, `unpacks to ${raw.length} bytes, not ${layout.rawLength}`);
    const block = new DecodedBlock(raw, layout);
    this.verifyFrames(b, block);
    this.verifyPages(b, block);
    return block;
  }

  private verifyFrames(b: number, { raw, layout }: DecodedBlock): void {
    const { prefix, heads, first, stride, firstEntry } = layout;
    if (!hasBytes(raw, 0, prefix)) throw this.fault("block", b, "another WAL header");
    for (let at = 0; at < heads.length; at += headSize) {
      const j = at / headSize;
      if (!hasBytes(raw, first + j * stride - walFrameHeaderSize, heads.subarray(at, at + headSize)))
        throw this.fault("block", b, `not the frame of page ${this.pgnos[firstEntry + j]}`);
    }
  }

  private verifyPages(b: number, block: DecodedBlock): void {
    const { hashes, firstEntry } = block.layout;
    for (let j = 0; j < block.count; j++)
      if (this.codecs.hash64(block.page(j)) !== hashes[j])
        throw this.fault("page", b, `page ${this.pgnos[firstEntry + j]} has another hash`);
  }

  private fault(part: ObjectPart, b: number, what: string, cause?: unknown): CorruptObjectError {
    return new CorruptObjectError(
      this.key,
      part,
      `block ${b}: ${what}`,
      cause === undefined ? {} : { cause },
    );
  }
}

/** Bytes of a frame header that the index gives: page number and database size. */
const headSize = 8;
const nothingKnown = { prefix: new Uint8Array(0), heads: new Uint8Array(0) };

/** What a block unpacks to, as header and index say. */
export interface BlockLayout {
  /** Bytes. */
  readonly rawLength: number;
  /** Its entries are those of the index from this one on. */
  readonly firstEntry: number;
  readonly count: number;
  /** Where its first page begins, and how far apart pages begin: bytes. */
  readonly first: number;
  readonly stride: number;
  readonly pageSize: number;
  /** xxh64 of each page. */
  readonly hashes: BigUint64Array;
  /** What it begins with: a WAL header, or nothing. */
  readonly prefix: Uint8Array;
  /** The first eight bytes of the frame header before each page, one after the other; nothing in a snapshot. */
  readonly heads: Uint8Array;
}

function hasBytes(raw: Uint8Array, at: number, expected: Uint8Array): boolean {
  return expected.every((byte, i) => byte === raw[at + i]);
}

/** The verified pages of one block, as entries `firstEntry`.. of the index. They are views of its bytes. */
export class DecodedBlock {
  readonly firstEntry: number;
  readonly count: number;

  constructor(
    /** In a snapshot exactly the pages, one after the other; in a segment WAL frames. */
    readonly raw: Uint8Array,
    readonly layout: BlockLayout,
  ) {
    this.firstEntry = layout.firstEntry;
    this.count = layout.count;
  }

  /** Where page `j` of this block begins in `raw`. */
  pageOffset(j: number): number {
    return this.layout.first + j * this.layout.stride;
  }

  page(j: number): Uint8Array {
    const at = this.pageOffset(j);
    return this.raw.subarray(at, at + this.layout.pageSize);
  }

  /**
   * `count` pages from page `j` on, one after the other. A segment's are moved together over the frame headers between
   * them, in place: of the block, only what lies behind them stays as it was.
   */
  joinPages(j: number, count: number): Uint8Array {
    const { stride, pageSize } = this.layout;
    const at = this.pageOffset(j);
    if (stride !== pageSize)
      for (let i = 1; i < count; i++) {
        const from = this.pageOffset(j + i);
        this.raw.copyWithin(at + i * pageSize, from, from + pageSize);
      }
    return this.raw.subarray(at, at + count * pageSize);
  }
}
