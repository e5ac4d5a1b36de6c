import { assert } from "../assert.ts";
import type { WalPosition } from "../cache/write-cache.ts";
import { type Abi, type Pointer, SQLITE_SYNC_NORMAL } from "../vfs/abi.ts";
import type { BaseFile } from "../vfs/base-file.ts";
import {
  decodeWalHeader,
  verifyWalFrame,
  WalChecksum,
  WalFrameHeader,
  type WalHeader,
  walFrameHeaderSize,
  walHeaderSize,
} from "./wal-format.ts";

/** Bytes read at once at the most. Holds two frames of the largest page size several times over. */
const SCRATCH_SIZE = 1 << 20;
/** Bytes between two wanted frames that are read along: an operation costs more than they do. */
const GAP = 1 << 16;

/** The live WAL does not hold what SQLite said it committed: salts, checksum or page number of a frame are wrong. */
export class WalDamagedError extends Error {
  constructor(readonly frame: number) {
    super(`frame ${frame} of the WAL does not verify`);
  }
}

/**
 * Reads the WAL of a live database through a handle of its own. Only frames that SQLite calls committed are asked for,
 * and those do not change until the WAL is restarted, which the gate holds off.
 */
export class WalReader {
  readonly #abi: Abi;
  readonly #file: BaseFile;
  readonly #checksum = new WalChecksum();
  readonly #scratch: Pointer;
  #closed = false;

  constructor(
    abi: Abi,
    file: BaseFile,
    /** Most of `sync`, beside the calling thread; absent where nothing else could do it. */
    readonly syncBeside?: () => Promise<void>,
  ) {
    this.#abi = abi;
    this.#file = file;
    this.#scratch = abi.allocate(SCRATCH_SIZE);
    assert(this.#scratch !== 0, "no memory for reading the WAL");
  }

  sync(): void {
    this.#file.sync(SQLITE_SYNC_NORMAL);
  }

  /** The header of the WAL as it stands in the file, or null where there is none that SQLite would take. */
  header(): WalHeader | null {
    if (!this.#file.read(this.#scratch, walHeaderSize, 0)) return null;
    return decodeWalHeader(
      this.#abi.bytes.subarray(this.#scratch, this.#scratch + walHeaderSize),
      this.#checksum,
    );
  }

  /** Whether the WAL holds exactly the frame that a position names. Its frames before are then the same too. */
  holds(position: WalPosition): boolean {
    const header = this.header();
    if (header === null || header.salt1 !== position.salt1 || header.salt2 !== position.salt2) return false;
    const frameSize = header.pageSize + walFrameHeaderSize;
    const at = walHeaderSize + (position.frame - 1) * frameSize;
    if (!this.#file.read(this.#scratch, walFrameHeaderSize, at)) return false;
    const frame = new WalFrameHeader().read(this.#abi.bytes, this.#scratch);
    return (
      frame.salt1 === position.salt1 &&
      frame.salt2 === position.salt2 &&
      frame.checksum1 === position.checksum1 &&
      frame.checksum2 === position.checksum2
    );
  }

  /** Reads the headers of frames `first` to `last`, which SQLite has found valid. */
  scan(
    pageSize: number,
    first: number,
    last: number,
    each: (frame: number, pgno: number, pageCount: number) => void,
  ): void {
    // Connections may outlive the replicator, and then commit what nobody reads any more.
    if (this.#closed) throw new Error("the WAL is not being read any more");
    const frameSize = pageSize + walFrameHeaderSize;
    const atOnce = Math.max(1, Math.floor(SCRATCH_SIZE / frameSize));
    const header = new WalFrameHeader();
    for (let begin = first; begin <= last; begin += atOnce) {
      const count = Math.min(atOnce, last - begin + 1);
      const whole = this.#file.read(
        this.#scratch,
        count * frameSize,
        walHeaderSize + (begin - 1) * frameSize,
      );
      if (!whole) throw new WalDamagedError(begin);
      for (let i = 0; i < count; i++) {
        header.read(this.#abi.bytes, this.#scratch + i * frameSize);
        each(begin + i, header.pgno, header.pageCount);
      }
    }
  }

  /**
   * Reads frames in any order, verifies each by the checksum of the one before it, and hands over its page. Neighbours
   * are read in one operation. `page` is valid during the call only. Throws WalDamagedError.
   */
  read(
    wal: WalHeader,
    frames: Uint32Array,
    pgnos: Uint32Array,
    each: (slot: number, page: Uint8Array) => void,
  ): void {
    const frameSize = wal.pageSize + walFrameHeaderSize;
    const slots = Array.from(frames.keys()).sort((a, b) => frames[a]! - frames[b]!);
    for (let i = 0; i < slots.length; ) {
      const start = startOfPrevious(frames[slots[i]!]!, frameSize);
      let end = start;
      let j = i;
      for (; j < slots.length; j++) {
        const frame = frames[slots[j]!]!;
        const frameEnd = walHeaderSize + frame * frameSize;
        if (j > i && (frameEnd - start > SCRATCH_SIZE || startOfPrevious(frame, frameSize) - end > GAP))
          break;
        end = frameEnd;
      }
      if (!this.#file.read(this.#scratch, end - start, start)) throw new WalDamagedError(frames[slots[i]!]!);
      for (; i < j; i++) {
        const slot = slots[i]!;
        const frame = frames[slot]!;
        each(slot, this.#verified(wal, frame, pgnos[slot]!, start));
      }
    }
  }

  /** The page of a frame in the scratch memory, whose first byte is the file's byte `start`. */
  #verified(wal: WalHeader, frame: number, pgno: number, start: number): Uint8Array {
    const bytes = this.#abi.bytes;
    const frameSize = wal.pageSize + walFrameHeaderSize;
    const at = this.#scratch + walHeaderSize + (frame - 1) * frameSize - start;
    this.#checksum.begin(wal.bigEndian);
    // The WAL header holds its checksum eight bytes further in than a frame header does.
    this.#checksum.load(bytes, frame === 1 ? this.#scratch - start + 8 : at - frameSize);
    const valid = verifyWalFrame(bytes, at, wal, this.#checksum);
    if (!valid || new WalFrameHeader().read(bytes, at).pgno !== pgno) throw new WalDamagedError(frame);
    return bytes.subarray(at + walFrameHeaderSize, at + frameSize);
  }

  close(): void {
    this.#closed = true;
    this.#file.close();
    this.#abi.free(this.#scratch);
  }
}

/** Where the frame before begins in the file; for the first, the WAL header. */
function startOfPrevious(frame: number, frameSize: number): number {
  return frame === 1 ? 0 : walHeaderSize + (frame - 2) * frameSize;
}
