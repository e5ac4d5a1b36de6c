/** Zstd frames from the outside: RFC 8878, §3.1.1 (zstd frames) and §3.1.2 (skippable frames). All little-endian. */

const zstdMagic = 0xfd2fb528;
const dictionaryIdSizes = [0, 1, 2, 4];

/**
 * The content size that the zstd frame at the beginning of `frame` states, in bytes, without unpacking anything. Null
 * where there is no such frame, where it states no size, or where its header is cut off.
 */
export function zstdContentSize(frame: Uint8Array): number | null {
  if (frame.length < 5 || readUint32(frame, 0) !== zstdMagic) return null;
  const descriptor = frame[4]!;
  const reserved = (descriptor & 0x08) !== 0;
  if (reserved) return null;
  const singleSegment = (descriptor & 0x20) !== 0;
  const at = 5 + (singleSegment ? 0 : 1) + dictionaryIdSizes[descriptor & 3]!;
  const sizeFlag = descriptor >>> 6;
  if (sizeFlag === 0 && !singleSegment) return null;
  if (frame.length < at + (1 << sizeFlag)) return null;
  if (sizeFlag === 0) return frame[at]!;
  if (sizeFlag === 1) return (frame[at]! | (frame[at + 1]! << 8)) + 256;
  if (sizeFlag === 2) return readUint32(frame, at);
  return readUint32(frame, at) + readUint32(frame, at + 4) * 2 ** 32;
}

/** Throws RangeError unless the zstd frame states exactly `rawLength` bytes, so that nothing larger is ever allocated. */
export function requireContentSize(frame: Uint8Array, rawLength: number): void {
  const stated = zstdContentSize(frame);
  if (stated === rawLength) return;
  throw new RangeError(`zstd frame states ${stated ?? "no"} bytes of content instead of ${rawLength}`);
}

/** Bytes that one block of a frame holds at the most. */
const largestBlock = 131072;

/** A zstd frame of `raw` as it is, in blocks that are stored and not compressed: as fast as it can be copied. */
export function storedFrame(raw: Uint8Array): Uint8Array {
  const blocks = Math.max(1, Math.ceil(raw.length / largestBlock));
  const frame = new Uint8Array(9 + blocks * 3 + raw.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, zstdMagic, true);
  frame[4] = 0xa0; // one segment, its size in four bytes, no checksum
  view.setUint32(5, raw.length, true);
  for (let b = 0, at = 9; b < blocks; b++) {
    const part = raw.subarray(b * largestBlock, (b + 1) * largestBlock);
    const last = b === blocks - 1 ? 1 : 0;
    view.setUint16(at, (part.length << 3) | last, true); // the low 16 of 24 bits; block type 0 is stored
    frame[at + 2] = part.length >>> 13;
    frame.set(part, at + 3);
    at += 3 + part.length;
  }
  return frame;
}

/** A skippable frame is its magic, the size of its payload (both u32), the payload. `zstd -d` passes over it. */
export const skippableHeaderSize = 8;

export function encodeSkippableHeader(
  target: Uint8Array,
  at: number,
  magic: number,
  payloadSize: number,
): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  view.setUint32(at, magic, true);
  view.setUint32(at + 4, payloadSize, true);
}

/** The payload size that a skippable frame at the beginning of `bytes` states; null where there is none of that magic. */
export function decodeSkippableHeader(bytes: Uint8Array, magic: number): number | null {
  if (bytes.length < skippableHeaderSize || readUint32(bytes, 0) !== magic) return null;
  return readUint32(bytes, 4);
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
