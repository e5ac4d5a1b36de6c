import { assert } from "./assert.ts";
import type { CacheEntry, WriteCache } from "./cache/write-cache.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { encodeEnd } from "./format/encode.ts";
import { asEntryDamage, openEntry } from "./merge-backlog.ts";
import type { Clock } from "./platform.ts";
import type { PutBody } from "./store/object-store.ts";

interface RepackContext {
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
}

/**
 * The segment of an entry whose blocks a gate stored as they are, with its blocks packed, in memory. It is the same object
 * by its id, which is of the pages and not of how they are packed: so it may be sent in place of what is cached, and again.
 *
 * Throws CacheError where it cannot be read: DamagedEntryError where that is for good.
 */
export async function repack(
  context: RepackContext,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<PutBody> {
  try {
    // Ids and hashes are not of every byte: between the pages of a block there is what `sqlite3` alone looks at.
    const body = context.cache.read(entry);
    if ("chunks" in body) for await (const _ of body.chunks());
    return await pack(context, entry, signal);
  } catch (error) {
    throw asEntryDamage(error);
  }
}

async function pack(
  { cache, codecs, clock }: RepackContext,
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
