import type { Codecs } from "./format/codecs.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import type { OldDatabase, PageWriter } from "./page-writer.ts";
import { prefetch } from "./prefetch.ts";

/** Bytes read from the old database at once, and reads under way. */
const READ_SIZE = 256 << 10;
const READS_AHEAD = 2;
/** Where a database's header has its page size, 2 bytes, big-endian, 1 for 65536: https://www.sqlite.org/fileformat2.html#page_size */
const PAGE_SIZE_OFFSET = 16;

/** Neighbouring pages, `entry` and those that follow it in an object. */
interface Run {
  readonly pgno: number;
  readonly entry: number;
  readonly count: number;
}

/** Whether pages of the old database can be those of a replica: it has any, and of that size. */
export async function hasPagesOf(old: OldDatabase, pageSize: number): Promise<boolean> {
  if (old.size < pageSize) return false;
  const field = new Uint8Array(2);
  await old.read(field, PAGE_SIZE_OFFSET);
  const stored = (field[0]! << 8) | field[1]!;
  return pageSize === (stored === 1 ? 65536 : stored);
}

/**
 * Writes the pages of an object that are still needed and that the old database has, too: each is read, hashed, and
 * written if that is the hash the object says. What is written are the very bytes that were hashed, so it does not matter
 * what happens to the old file meanwhile, or what its WAL would make of it.
 */
export async function takeLocalPages(
  old: OldDatabase,
  object: ObjectReader,
  pages: PageWriter,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<void> {
  const { pageSize, hashes } = object;
  const runs = neededRuns(object, pages, Math.floor(old.size / pageSize));
  const read = async (run: Run) => {
    signal?.throwIfAborted();
    const bytes = new Uint8Array(run.count * pageSize);
    await old.read(bytes, (run.pgno - 1) * pageSize);
    return { ...run, bytes };
  };
  for await (const { pgno, entry, count, bytes } of prefetch(runs, READS_AHEAD, read)) {
    const isEqual = (i: number) =>
      codecs.hash64(bytes.subarray(i * pageSize, (i + 1) * pageSize)) === hashes[entry + i];
    for (let i = 0; i < count; ) {
      let equal = 0;
      while (i + equal < count && isEqual(i + equal)) equal += 1;
      if (equal > 0) pages.writeRun(pgno + i, bytes.subarray(i * pageSize, (i + equal) * pageSize));
      i += equal + 1;
    }
    await pages.keepUp();
  }
}

/** Runs of pages up to `last` that no newer object gave, of READ_SIZE at the most. */
function* neededRuns(object: ObjectReader, pages: PageWriter, last: number): Generator<Run> {
  const { pgnos, pageSize } = object;
  const longest = Math.max(1, READ_SIZE / pageSize);
  const isNeeded = (entry: number) =>
    entry < pgnos.length && pgnos[entry]! <= last && pages.needs(pgnos[entry]!);
  for (let entry = 0; entry < pgnos.length; ) {
    if (!isNeeded(entry)) {
      entry += 1;
      continue;
    }
    const pgno = pgnos[entry]!;
    let count = 1;
    while (count < longest && isNeeded(entry + count) && pgnos[entry + count] === pgno + count) count += 1;
    yield { pgno, entry, count };
    entry += count;
  }
}
