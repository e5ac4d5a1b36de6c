/** The last 48 bytes of an object: where its index is and what its id is. FORMAT.md, "Trailer". */
import { CorruptObjectError } from "../errors.ts";
import { idFromBytes, idSize, idToBytes } from "./id.ts";
import { decodeSkippableHeader, encodeSkippableHeader, skippableHeaderSize } from "./zstd-frame.ts";

export const headerFrameMagic = 0x184d2a5a;
export const indexFrameMagic = 0x184d2a5b;
const trailerFrameMagic = 0x184d2a5c;

const payloadSize = 40;
export const trailerFrameSize = skippableHeaderSize + payloadSize;

/** "SLUICE", 0, 1. It never changes: versions are the header's. */
const mark = [0x53, 0x4c, 0x55, 0x49, 0x43, 0x45, 0x00, 0x01];
const idAt = skippableHeaderSize + 16;
const markAt = idAt + idSize;

export interface Trailer {
  /** Of the index's skippable frame, from the beginning of the object, and with its 8 bytes of header. */
  readonly indexOffset: number;
  readonly indexLength: number;
  readonly id: string;
}

/** Writes the whole skippable frame at `at`. */
export function encodeTrailer(target: Uint8Array, at: number, trailer: Trailer): void {
  const view = new DataView(target.buffer, target.byteOffset + at, trailerFrameSize);
  encodeSkippableHeader(target, at, trailerFrameMagic, payloadSize);
  view.setBigUint64(skippableHeaderSize, BigInt(trailer.indexOffset), true);
  view.setBigUint64(skippableHeaderSize + 8, BigInt(trailer.indexLength), true);
  target.set(idToBytes(trailer.id), at + idAt);
  target.set(mark, at + markAt);
}

/**
 * `frame` is the last 48 bytes of an object of `size` bytes whose blocks begin at `blocksOffset`. It is a trailer if and
 * only if (1) it is a skippable frame of the trailer's magic and size that ends with the mark and (2) the index it
 * names begins behind the first block and ends where the trailer begins. Throws CorruptObjectError "trailer".
 */
export function decodeTrailer(frame: Uint8Array, size: number, blocksOffset: number, key: string): Trailer {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const isMarked = mark.every((byte, i) => frame[markAt + i] === byte);
  if (decodeSkippableHeader(frame, trailerFrameMagic) !== payloadSize || !isMarked) {
    throw new CorruptObjectError(
      key,
      "trailer",
      "does not end as an object of Sluice: cut off or something else",
    );
  }
  const indexOffset = Number(view.getBigUint64(skippableHeaderSize, true));
  const indexLength = Number(view.getBigUint64(skippableHeaderSize + 8, true));
  if (
    indexOffset <= blocksOffset ||
    indexLength < skippableHeaderSize ||
    indexOffset + indexLength !== size - trailerFrameSize
  ) {
    throw new CorruptObjectError(
      key,
      "trailer",
      `index of ${indexLength} bytes at ${indexOffset} in ${size} bytes`,
    );
  }
  return { indexOffset, indexLength, id: idFromBytes(frame.subarray(idAt)) };
}
