import type { VfsFileSystem } from "./vfs.ts";
import type { OpenFile } from "./vfs-open.ts";

/** Bytes of zeros ahead at the most. A shorter WAL gets as many as it has, so that a small one stays small. */
const AHEAD = 1 << 20;
const zeros = new Uint8Array(AHEAD);

/**
 * Called when a write to a WAL has ended at `end`. To sync a write that makes a file longer takes about twice as long as
 * one that goes over what is there (the length is to be made durable too). So a WAL that is synced while it grows, as
 * under synchronous=FULL, gets zeros ahead of its frames. They are none: SQLite takes frames up to the first that does
 * not verify (https://www.sqlite.org/fileformat2.html#walformat), as it does where old frames follow.
 *
 * They save time and nothing else, so whatever goes wrong with them is no failure of the write.
 */
export function growAhead(fs: VfsFileSystem, file: OpenFile, end: number): void {
  file.knownSize = end;
  if (!file.synced) return;
  file.synced = false;
  try {
    const { size } = fs.fstatSync(file.fd);
    if (size > end) file.knownSize = size;
    else writeZeros(fs, file, end);
  } catch {
    // Not again: on a full disk each commit would try.
    file.knownSize = Number.POSITIVE_INFINITY;
  }
}

function writeZeros(fs: VfsFileSystem, file: OpenFile, end: number): void {
  const until = end + Math.min(AHEAD, end);
  try {
    for (let at = end; at < until; ) {
      const wrote = fs.writeSync(file.fd, zeros, 0, until - at, at);
      if (wrote === 0) throw new Error("no room for zeros");
      at += wrote;
    }
    file.knownSize = until;
  } catch (error) {
    fs.ftruncateSync(file.fd, end); // somebody else can use what room there is
    throw error;
  }
}
