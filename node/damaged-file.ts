import { CacheError, SluiceError } from "../src/errors.ts";
import { decodeHeader, maxHeaderPayload, type ObjectHeader } from "../src/format/header.ts";
import { headerFrameMagic } from "../src/format/trailer.ts";
import { decodeSkippableHeader, skippableHeaderSize } from "../src/format/zstd-frame.ts";

const WAY_OUT =
  "Nothing was deleted. Put the file back from a copy, or move the whole directory away: the database is then compared with its replica as if it had no history.";

/** A file of the write cache is not what was written. */
export class DamagedFileError extends CacheError {
  constructor(
    readonly path: string,
    readonly how: string,
  ) {
    super(`${path} is damaged: ${how}. ${WAY_OUT}`, false);
  }
}

/** The header of the object with which a file begins whose record cannot be read; null where that is damaged, too. */
export function readObjectHeader(
  path: string,
  read: (from: number, length: number) => Buffer,
): ObjectHeader | null {
  const frame = read(0, skippableHeaderSize);
  const length = frame.length < skippableHeaderSize ? null : decodeSkippableHeader(frame, headerFrameMagic);
  if (length === null || length > maxHeaderPayload) return null;
  try {
    return decodeHeader(read(skippableHeaderSize, length), path);
  } catch (error) {
    if (error instanceof SluiceError) return null;
    throw error;
  }
}
