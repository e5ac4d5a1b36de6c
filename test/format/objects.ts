import { createHash, randomBytes } from "node:crypto";
import { loadCodecs } from "../../node/compression.ts";
import { type ObjectSource, openObject } from "../../src/format/decode.ts";
import { ObjectEncoder } from "../../src/format/encode.ts";
import type { ObjectHeader } from "../../src/format/header.ts";

export const codecs = await loadCodecs();
export const lineage = "0123456789abcdef0123456789abcdef";
export const writer = "fedcba9876543210fedcba9876543210";
export const someId = "00112233445566778899aabbccddeeff";

export type Pages = ReadonlyMap<number, Uint8Array>;

export function snapshotHeader(pageSize: number, pageCount: number): ObjectHeader {
  return {
    ...common(pageSize, pageCount),
    kind: "snapshot",
    from: null,
    to: { txid: 7, id: someId },
    commits: { first: 1700000000000, last: 1700000000000 },
  };
}

export function segmentHeader(pageSize: number, pageCount: number): ObjectHeader {
  return {
    ...common(pageSize, pageCount),
    kind: "segment",
    from: { txid: 7, id: someId },
    to: { txid: 9, id: null },
    commits: { first: 1700000000000, last: 1700000000500 },
  };
}

function common(pageSize: number, pageCount: number) {
  return { format: 1 as const, features: [], lineage, pageSize, pageCount, writer, created: 1700000001000 };
}

/** A page that compresses about as pages do: some random bytes, some text, some zeros. */
export function somePage(pageSize: number): Uint8Array {
  const page = new Uint8Array(pageSize);
  page.set(randomBytes(pageSize / 4));
  new TextEncoder().encodeInto(
    `row ${Math.random()} `.repeat(pageSize),
    page.subarray(pageSize / 4, pageSize / 2),
  );
  return page;
}

export function somePages(pageSize: number, pgnos: Iterable<number>): Pages {
  return new Map([...pgnos].map((pgno) => [pgno, somePage(pageSize)]));
}

export function range(first: number, last: number, step = 1): number[] {
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => first + i * step);
}

export function encodeObject(header: ObjectHeader, pages: Pages): { bytes: Uint8Array; id: string } {
  const encoder = new ObjectEncoder(header, codecs, 3);
  const chunks = [encoder.start()];
  for (const [pgno, page] of pages) {
    const block = encoder.page(pgno, page);
    if (block) chunks.push(block);
  }
  const { chunk, id, size } = encoder.finish();
  const bytes = new Uint8Array(Buffer.concat([...chunks, chunk]));
  if (bytes.length !== size) throw new Error(`finish() says ${size} bytes, there are ${bytes.length}`);
  return { bytes, id };
}

export function memorySource(bytes: Uint8Array, key = "object") {
  const reads: [offset: number, length: number][] = [];
  const source: ObjectSource = {
    key,
    size: bytes.length,
    read: async (offset, length) => {
      reads.push([offset, length]);
      return bytes.slice(offset, offset + length);
    },
  };
  return { ...source, reads };
}

/** Every page of an object, by way of every check that there is. */
export async function decodeObject(bytes: Uint8Array, key?: string) {
  const object = await openObject(memorySource(bytes, key), codecs);
  const pages = new Map<number, Uint8Array>();
  for (let b = 0; b < object.blockCount; b++) {
    const block = object.decodeBlock(b, await object.read(object.blockRange(b)));
    for (let j = 0; j < block.count; j++) pages.set(object.pgnos[block.firstEntry + j]!, block.page(j));
  }
  return { object, pages };
}

/** Where the parts of an object are, found as FORMAT.md says and without the code under test. */
export function partsOf(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const trailer = bytes.length - 48;
  const index = Number(view.getBigUint64(trailer + 8, true));
  const entryCount = view.getUint32(index + 8, true);
  return {
    header: 8,
    blocks: 8 + view.getUint32(4, true),
    index,
    pgnos: index + 16,
    hashes: index + 16 + 4 * entryCount,
    blockTable: index + 16 + 12 * entryCount,
    trailer,
    entryCount,
  };
}

/** The object as a later release might have written it: other words in its header, and the id of that. */
export function asNewer(bytes: Uint8Array, known = '"format":1', unknown = '"format":2'): Buffer {
  const parts = partsOf(bytes);
  const old = Buffer.from(bytes);
  const header = Buffer.from(old.toString("latin1", parts.header, parts.blocks).replace(known, unknown));
  const grown = header.length - (parts.blocks - parts.header);
  const copy = Buffer.concat([old.subarray(0, parts.header), header, old.subarray(parts.blocks)]);
  copy.writeUInt32LE(header.length, 4);
  copy.writeBigUInt64LE(BigInt(parts.index + grown), copy.length - 40);
  const hashed = old.subarray(parts.index + 8, parts.blockTable);
  createHash("sha256")
    .update(header)
    .update(hashed)
    .digest()
    .copy(copy, copy.length - 24, 0, 16);
  return copy;
}

/** The object with something else in its first block: sound zstd, and index and id are as they were. */
export function repackFirstBlock(bytes: Uint8Array, change: (raw: Uint8Array) => void): Uint8Array {
  const { blocks, index, blockTable } = partsOf(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = blocks + view.getUint32(blockTable, true);
  const raw = codecs.decompress(bytes.subarray(blocks, end), view.getUint32(blockTable + 4, true)).slice();
  change(raw);
  const packed = codecs.compress(raw, 3);
  const grown = packed.length - (end - blocks);
  const copy = new Uint8Array(Buffer.concat([bytes.subarray(0, blocks), packed, bytes.subarray(end)]));
  const changed = new DataView(copy.buffer);
  changed.setUint32(blockTable + grown, packed.length, true);
  changed.setBigUint64(copy.length - 40, BigInt(index + grown), true);
  return copy;
}
