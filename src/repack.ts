import { assert } from "./assert.ts";
import type { CacheEntry, WriteCache } from "./cache/write-cache.ts";
import { CorruptObjectError } from "./errors.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { encodeEnd } from "./format/encode.ts";
import { openEntry } from "./merge-backlog.ts";
import type { Clock } from "./platform.ts";
import type { PutBody } from "./store/object-store.ts";

interface RepackContext {
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly onDamaged: (error: CorruptObjectError) => void;
}

/**
 * The segment of an entry whose blocks a gate stored as they are, with its blocks packed, in memory. It is the same object
 * by its id, which is of the pages and not of how they are packed: so it may be sent in place of what is cached, and again.
 *
 * Where the cached bytes are damaged, `onDamaged` is told and they go up as they are, as those do which nobody looks into:
 * what is behind them must not wait for ever. Throws CacheError where they cannot be read.
 */
export async function repack(
  { cache, codecs, clock, onDamaged }: RepackContext,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<PutBody> {
  try {
    return await pack({ cache, codecs, clock }, entry, signal);
  } catch (error) {
    if (!(error instanceof CorruptObjectError)) throw error;
    onDamaged(error);
    return cache.read(entry);
  }
}

async function pack(
  { cache, codecs, clock }: Omit<RepackContext, "onDamaged">,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<PutBody> {
  const segment = await openEntry(cache, entry, codecs);
  const head = await segment.readHead();
  const chunks = [head.frame];
  const compressedLengths = new Uint32Array(segment.blockCount);
  let size = head.frame.length;
  for (let b = 0; b < segment.blockCount; b++) {
    signal?.throwIfAborted();
    const { raw } = segment.decodeBlock(b, await segment.read(segment.blockRange(b)));
    const packed = codecs.compress(raw, zstdLevel);
    compressedLengths[b] = packed.length;
    chunks.push(packed);
    size += packed.length;
    await clock.turn();
  }
  const { chunk, id } = encodeEnd({ ...segment.index, compressedLengths }, size, head.payload, codecs);
  assert(id === segment.id, "packed otherwise, a segment keeps its id");
  chunks.push(chunk);
  return {
    size: size + chunk.length,
    async *chunks() {
      yield* chunks;
    },
  };
}
