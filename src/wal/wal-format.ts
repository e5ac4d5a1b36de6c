/**
 * SQLite's write-ahead log as bytes: https://www.sqlite.org/fileformat2.html#walformat. A WAL is a 32-byte header and
 * frames of 24 bytes and one page each. All integers are big-endian. Nothing here allocates for a frame.
 *
 *   WAL header                               frame header
 *    0 4  magic, 0x377f0682 or …83            0 4  page number
 *    4 4  version, 3007000                    4 4  database size in pages after this commit; 0: not a commit
 *    8 4  page size (65536 as itself)         8 8  salts, as in the WAL header
 *   12 4  checkpoint sequence                16 8  checksum over bytes 0..8 of each frame header and each page
 *   16 8  salt1, salt2                             from the first frame to this one, continuing that of the WAL header
 *   24 8  checksum over bytes 0..24
 *
 * The checksum takes the bytes as 32-bit words: big-endian ones under magic …83, little-endian ones under …82. The sums
 * themselves are always stored big-endian.
 */
import { assert } from "../assert.ts";

export const walHeaderSize = 32;
export const walFrameHeaderSize = 24;

const magicLittleEndian = 0x377f0682;
const magicBigEndian = 0x377f0683;
const walVersion = 3007000;
/** Where a WAL header and a frame header hold their checksum. */
const headerChecksumAt = 24;
const frameChecksumAt = 16;

export interface WalHeader {
  /** The words under the checksum are big-endian (magic 0x377f0683). */
  readonly bigEndian: boolean;
  /** Bytes. */
  readonly pageSize: number;
  readonly checkpointSequence: number;
  readonly salt1: number;
  readonly salt2: number;
}

/** The page sizes that SQLite has: powers of two from 512 to 65536. */
export function isPageSize(value: number): boolean {
  return Number.isInteger(value) && value >= 512 && value <= 65536 && (value & (value - 1)) === 0;
}

/** Writes a header at the beginning of `target` and leaves `checksum` as the first frame continues it. */
export function encodeWalHeader(target: Uint8Array, header: WalHeader, checksum: WalChecksum): void {
  putUint32(target, 0, header.bigEndian ? magicBigEndian : magicLittleEndian);
  putUint32(target, 4, walVersion);
  putUint32(target, 8, header.pageSize);
  putUint32(target, 12, header.checkpointSequence);
  putUint32(target, 16, header.salt1);
  putUint32(target, 20, header.salt2);
  checksum.begin(header.bigEndian);
  checksum.update(target, 0, headerChecksumAt);
  checksum.store(target, headerChecksumAt);
}

/**
 * A WAL header is valid if and only if (1) it is whole, (2) the magic is one of the two, (3) the version is 3007000,
 * (4) the page size is one that SQLite has and (5) its checksum verifies. Null otherwise: SQLite takes no frame
 * from such a file. `checksum` is left as the first frame continues it.
 */
export function decodeWalHeader(bytes: Uint8Array, checksum: WalChecksum): WalHeader | null {
  if (bytes.length < walHeaderSize) return null;
  const magic = getUint32(bytes, 0);
  if (magic !== magicLittleEndian && magic !== magicBigEndian) return null;
  if (getUint32(bytes, 4) !== walVersion) return null;
  const pageSize = getUint32(bytes, 8);
  if (!isPageSize(pageSize)) return null;
  const bigEndian = magic === magicBigEndian;
  checksum.begin(bigEndian);
  checksum.update(bytes, 0, headerChecksumAt);
  if (!checksum.equals(bytes, headerChecksumAt)) return null;
  return {
    bigEndian,
    pageSize,
    checkpointSequence: getUint32(bytes, 12),
    salt1: getUint32(bytes, 16),
    salt2: getUint32(bytes, 20),
  };
}

/** The fields of one frame header. One instance serves a whole scan: `read` overwrites it. */
export class WalFrameHeader {
  pgno = 0;
  /** Database size in pages after this commit, 0 where the frame is not the last of a commit. */
  pageCount = 0;
  salt1 = 0;
  salt2 = 0;
  checksum1 = 0;
  checksum2 = 0;

  /** Takes the 24 bytes at `offset`, without judging them. */
  read(bytes: Uint8Array, offset: number): this {
    this.pgno = getUint32(bytes, offset);
    this.pageCount = getUint32(bytes, offset + 4);
    this.salt1 = getUint32(bytes, offset + 8);
    this.salt2 = getUint32(bytes, offset + 12);
    this.checksum1 = getUint32(bytes, offset + frameChecksumAt);
    this.checksum2 = getUint32(bytes, offset + frameChecksumAt + 4);
    return this;
  }
}

/**
 * Writes the header of a frame whose page already stands at `offset` + 24. `checksum` holds the sums of the frame before
 * (or of the WAL header) and is left with this frame's.
 */
export function sealWalFrame(
  bytes: Uint8Array,
  offset: number,
  wal: WalHeader,
  pgno: number,
  pageCount: number,
  checksum: WalChecksum,
): void {
  putUint32(bytes, offset, pgno);
  putUint32(bytes, offset + 4, pageCount);
  putUint32(bytes, offset + 8, wal.salt1);
  putUint32(bytes, offset + 12, wal.salt2);
  sumFrame(bytes, offset, wal.pageSize, checksum);
  checksum.store(bytes, offset + frameChecksumAt);
}

/**
 * A frame is valid if and only if (1) its salts are those of the WAL header, (2) its page number is not 0 and (3) its
 * checksum is that of the frame before, or of the WAL header for the first, continued over the first 8 bytes of its
 * header and its page.
 *
 * `bytes` holds the whole frame, header and page, at `offset`. `checksum` holds the sums of the frame before: left there
 * by the call for that frame, or set by `checksum.load` from that frame's header. After true it holds this frame's;
 * after false it is of no use.
 */
export function verifyWalFrame(
  bytes: Uint8Array,
  offset: number,
  wal: WalHeader,
  checksum: WalChecksum,
): boolean {
  if (getUint32(bytes, offset + 8) !== wal.salt1 || getUint32(bytes, offset + 12) !== wal.salt2) return false;
  if (getUint32(bytes, offset) === 0) return false;
  sumFrame(bytes, offset, wal.pageSize, checksum);
  return checksum.equals(bytes, offset + frameChecksumAt);
}

function sumFrame(bytes: Uint8Array, offset: number, pageSize: number, checksum: WalChecksum): void {
  const page = offset + walFrameHeaderSize;
  checksum.update(bytes, offset, offset + 8);
  checksum.update(bytes, page, page + pageSize);
}

/**
 * The cumulative checksum: for each pair of words (x, y), s1 += x + s2, then s2 += y + s1, modulo 2^32. Words are read
 * through an Int32Array kept for the last buffer seen, which is an order of magnitude faster than a DataView.
 */
export class WalChecksum {
  private s1 = 0;
  private s2 = 0;
  private swap = false;
  private bigEndian = false;
  private words: Int32Array = noWords;
  private readonly littleEndianHost = hostIsLittleEndian();

  get checksum1(): number {
    return this.s1 >>> 0;
  }
  get checksum2(): number {
    return this.s2 >>> 0;
  }

  /** Starts anew, as a WAL header does. */
  begin(bigEndian: boolean): void {
    this.bigEndian = bigEndian;
    this.swap = bigEndian === this.littleEndianHost;
    this.s1 = 0;
    this.s2 = 0;
  }

  /** Continues from sums kept elsewhere, for a WAL of the given byte order. */
  resume(bigEndian: boolean, checksum1: number, checksum2: number): void {
    this.begin(bigEndian);
    this.s1 = checksum1 | 0;
    this.s2 = checksum2 | 0;
  }

  /** Continues from the frame whose header is at `offset`. The byte order stays as it was begun. */
  load(bytes: Uint8Array, offset: number): void {
    this.s1 = getUint32(bytes, offset + frameChecksumAt) | 0;
    this.s2 = getUint32(bytes, offset + frameChecksumAt + 4) | 0;
  }

  store(bytes: Uint8Array, at: number): void {
    putUint32(bytes, at, this.s1);
    putUint32(bytes, at + 4, this.s2);
  }

  equals(bytes: Uint8Array, at: number): boolean {
    return getUint32(bytes, at) === this.checksum1 && getUint32(bytes, at + 4) === this.checksum2;
  }

  /** Adds bytes `start`..`end`, a multiple of 8. Fast where `start` is aligned to 4 bytes in its buffer. */
  update(bytes: Uint8Array, start: number, end: number): void {
    assert(((end - start) & 7) === 0 && end <= bytes.length, "the WAL checksum takes pairs of words");
    const first = bytes.byteOffset + start;
    if ((first & 3) !== 0) {
      this.updateUnaligned(bytes, start, end);
      return;
    }
    if (this.words.buffer !== bytes.buffer) {
      this.words = new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >>> 2);
    }
    const last = (first + end - start) / 4;
    if (this.swap) this.updateSwapped(first / 4, last);
    else this.updateAligned(first / 4, last);
  }

  private updateAligned(first: number, last: number): void {
    const words = this.words;
    let s1 = this.s1;
    let s2 = this.s2;
    for (let i = first; i < last; i += 2) {
      s1 = (s1 + words[i]! + s2) | 0;
      s2 = (s2 + words[i + 1]! + s1) | 0;
    }
    this.s1 = s1;
    this.s2 = s2;
  }

  private updateSwapped(first: number, last: number): void {
    const words = this.words;
    let s1 = this.s1;
    let s2 = this.s2;
    for (let i = first; i < last; i += 2) {
      s1 = (s1 + swapBytes(words[i]!) + s2) | 0;
      s2 = (s2 + swapBytes(words[i + 1]!) + s1) | 0;
    }
    this.s1 = s1;
    this.s2 = s2;
  }

  private updateUnaligned(bytes: Uint8Array, start: number, end: number): void {
    const bigEndian = this.bigEndian;
    let s1 = this.s1;
    let s2 = this.s2;
    for (let i = start; i < end; i += 8) {
      const x = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      const y = bytes[i + 4]! | (bytes[i + 5]! << 8) | (bytes[i + 6]! << 16) | (bytes[i + 7]! << 24);
      s1 = (s1 + (bigEndian ? swapBytes(x) : x) + s2) | 0;
      s2 = (s2 + (bigEndian ? swapBytes(y) : y) + s1) | 0;
    }
    this.s1 = s1;
    this.s2 = s2;
  }
}

const noWords = new Int32Array(0);

export function hostIsLittleEndian(): boolean {
  return new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
}

function swapBytes(x: number): number {
  return (x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);
}

function getUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
