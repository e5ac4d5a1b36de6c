import { CorruptObjectError, UnsupportedFormatError } from "../errors.ts";
import type { Codecs } from "./codecs.ts";
import { decodeHeader, formatVersion, maxHeaderPayload, type ObjectHeader } from "./header.ts";
import { indexPayloadSize, type ObjectIndex, objectId } from "./index-table.ts";
import { blockCountOf } from "./layout.ts";
import { ObjectReader } from "./object-reader.ts";
import { fitsKey, parseKey } from "./parse-key.ts";
import { decodeIndex, validateIndex } from "./read-index.ts";
import {
  decodeTrailer,
  headerFrameMagic,
  indexFrameMagic,
  type Trailer,
  trailerFrameSize,
} from "./trailer.ts";
import { decodeSkippableHeader, skippableHeaderSize } from "./zstd-frame.ts";

/** Where the bytes of an object come from: ranged requests, a file, memory. */
export interface ObjectSource {
  /** Names the object in errors. Where it is a key of a replica, the header must fit it. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`; they are not changed afterwards. They stand at the beginning of `into` where that
   * is given, and large enough. Its errors pass through unchanged.
   */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
}

/** Up to this size an object is read whole, by one request, and kept by its reader. */
export const smallObject = 262144;
/** What is read first of a larger one: all of the header, nearly always, and the index of a medium-sized object. */
const headSize = 4096;
const tailSize = 65536;
/** No object is shorter than its three skippable frames with one page in the index. */
const minObject = 3 * skippableHeaderSize + indexPayloadSize(1, 1) + (trailerFrameSize - skippableHeaderSize);

/**
 * Reads and checks all of an object but its blocks: header, trailer, index, id, and that the lengths add up to `size`.
 * No length is believed before it is compared with `source.size`. One read for a small object, two or three otherwise.
 *
 * An unknown format is another release's, which nobody here may judge, append to or replace; but not where the object's id
 * is that of the same header with this release's format in it. It was written so then, and its format number is damaged.
 *
 * Throws UnsupportedFormatError, CorruptObjectError, and what `source.read` throws.
 */
export async function openObject(source: ObjectSource, codecs: Codecs): Promise<ObjectReader> {
  if (source.size < minObject) throw new CorruptObjectError(source.key, "size", `${source.size} bytes`);
  const bytes = await ObjectBytes.fetch(source);
  const headerPayload = await readHeader(bytes);
  const blocksOffset = skippableHeaderSize + headerPayload.length;
  try {
    return await openWith(bytes, headerPayload, blocksOffset, codecs);
  } catch (error) {
    if (!(error instanceof UnsupportedFormatError)) throw error;
    if (!(await isOfThisFormat(bytes, headerPayload, blocksOffset, codecs))) throw error;
    throw new CorruptObjectError(
      source.key,
      "header",
      `${error.what}, where its id is that of format ${formatVersion}`,
    );
  }
}

async function openWith(
  bytes: ObjectBytes,
  headerPayload: Uint8Array,
  blocksOffset: number,
  codecs: Codecs,
): Promise<ObjectReader> {
  const { key, size } = bytes;
  const header = decodeHeader(headerPayload, key);
  requireKey(header, key);
  const trailerFrame = await bytes.read(size - trailerFrameSize, trailerFrameSize);
  const trailer = decodeTrailer(trailerFrame, size, blocksOffset, key);
  const index = await readIndex(bytes, trailer, header, headerPayload, codecs);
  requireLayout(index, blocksOffset, trailer, key);
  return new ObjectReader(bytes, header, trailer.id, index, blocksOffset, codecs);
}

/** Whether all fits with this release's format in the header. Throws what the source throws. */
async function isOfThisFormat(
  bytes: ObjectBytes,
  headerPayload: Uint8Array,
  blocksOffset: number,
  codecs: Codecs,
): Promise<boolean> {
  const text = new TextDecoder().decode(headerPayload);
  const written = text.replace(/^\{"format":\d+,/, `{"format":${formatVersion},`);
  try {
    await openWith(bytes, new TextEncoder().encode(written), blocksOffset, codecs);
    return true;
  } catch (error) {
    if (error instanceof CorruptObjectError || error instanceof UnsupportedFormatError) return false;
    throw error;
  }
}

/**
 * The header alone, by one small read. It is checked against its key, but not by the object's id, which needs the index:
 * good for finding an object, not for relying on it. Throws as `openObject` does.
 */
export async function openHeader(source: ObjectSource): Promise<ObjectHeader> {
  if (source.size < minObject) throw new CorruptObjectError(source.key, "size", `${source.size} bytes`);
  const header = decodeHeader(await readHeader(await ObjectBytes.fetchHead(source)), source.key);
  requireKey(header, source.key);
  return header;
}

async function readHeader(bytes: ObjectBytes): Promise<Uint8Array> {
  const { key, size } = bytes;
  const length = decodeSkippableHeader(await bytes.read(0, skippableHeaderSize), headerFrameMagic);
  if (length === null) throw new CorruptObjectError(key, "header", "does not begin as an object of Sluice");
  if (length > maxHeaderPayload || skippableHeaderSize + length > size - trailerFrameSize) {
    throw new CorruptObjectError(key, "header", `${length} bytes in an object of ${size}`);
  }
  return bytes.read(skippableHeaderSize, length);
}

function requireKey(header: ObjectHeader, key: string): void {
  const parsed = parseKey(key);
  if (parsed !== null && !fitsKey(header, parsed)) {
    throw new CorruptObjectError(key, "header", "is that of an object with another key");
  }
}

async function readIndex(
  bytes: ObjectBytes,
  trailer: Trailer,
  header: ObjectHeader,
  headerPayload: Uint8Array,
  codecs: Codecs,
): Promise<ObjectIndex> {
  const { key } = bytes;
  const payloadSize = trailer.indexLength - skippableHeaderSize;
  if (payloadSize > indexPayloadSize(header.pageCount, blockCountOf(header, header.pageCount))) {
    throw new CorruptObjectError(key, "index", `${payloadSize} bytes for ${header.pageCount} pages`);
  }
  const frame = await bytes.read(trailer.indexOffset, trailer.indexLength);
  if (decodeSkippableHeader(frame, indexFrameMagic) !== payloadSize) {
    throw new CorruptObjectError(key, "index", "is not where the trailer says");
  }
  const payload = frame.subarray(skippableHeaderSize);
  const index = decodeIndex(payload, key);
  if (objectId(codecs, headerPayload, payload, index.pgnos.length) !== trailer.id) {
    throw new CorruptObjectError(key, "id", "header and index do not hash to it");
  }
  validateIndex(index, header, key);
  return index;
}

/** The blocks fill exactly the bytes between header and index. */
function requireLayout(index: ObjectIndex, blocksOffset: number, trailer: Trailer, key: string): void {
  let end = blocksOffset;
  for (const length of index.compressedLengths) end += length;
  if (end !== trailer.indexOffset) {
    throw new CorruptObjectError(
      key,
      "index",
      `blocks end at ${end}, the index begins at ${trailer.indexOffset}`,
    );
  }
}

/** An object's source with the parts that were read already. */
export class ObjectBytes {
  readonly key: string;
  readonly size: number;

  private constructor(
    private readonly source: ObjectSource,
    private readonly parts: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
  ) {
    this.key = source.key;
    this.size = source.size;
  }

  static async fetch(source: ObjectSource): Promise<ObjectBytes> {
    const offsets = source.size <= smallObject ? [0] : [0, source.size - tailSize];
    const lengths = source.size <= smallObject ? [source.size] : [headSize, tailSize];
    const reading = offsets.map(async (offset, i) => ({
      offset,
      bytes: await readExactly(source, offset, lengths[i]!),
    }));
    const ends = await Promise.allSettled(reading);
    const parts = ends.map((end) => {
      // What the first says counts: of an object that is shorter by now there may be no such end.
      if (end.status === "rejected") throw end.reason;
      return end.value;
    });
    return new ObjectBytes(source, parts);
  }

  static async fetchHead(source: ObjectSource): Promise<ObjectBytes> {
    const bytes = await readExactly(source, 0, Math.min(headSize, source.size));
    return new ObjectBytes(source, [{ offset: 0, bytes }]);
  }

  /** From what is here where that is enough. */
  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    for (const part of this.parts) {
      const at = offset - part.offset;
      if (at < 0 || at + length > part.bytes.length) continue;
      const bytes = part.bytes.subarray(at, at + length);
      if (into === undefined) return bytes;
      into.set(bytes);
      return into.subarray(0, length);
    }
    return readExactly(this.source, offset, length, into);
  }
}

async function readExactly(
  source: ObjectSource,
  offset: number,
  length: number,
  into?: Uint8Array,
): Promise<Uint8Array> {
  const bytes = await source.read(offset, length, into);
  if (bytes.length !== length) {
    throw new CorruptObjectError(
      source.key,
      "size",
      `${bytes.length} bytes at ${offset} instead of ${length}`,
    );
  }
  return bytes;
}
