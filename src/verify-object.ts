import { CorruptObjectError, StoreError, UnsupportedFormatError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectHeader } from "./format/header.ts";
import type { DecodedBlock, ObjectReader } from "./format/object-reader.ts";
import type { Position } from "./format/position.ts";
import { segmentWalHeader } from "./format/segment-wal.ts";
import { openStored, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import { fetchNeeded } from "./restore.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { type Finding, finding } from "./verify-report.ts";
import {
  encodeWalHeader,
  verifyWalFrame,
  WalChecksum,
  type WalHeader,
  walFrameHeaderSize,
  walHeaderSize,
} from "./wal/wal-format.ts";

/** Findings of one object; more say nothing new. */
const FINDINGS = 10;

/** An object that could be opened, without its index. */
export interface SoundObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Null: a snapshot. */
  readonly level: number | null;
  readonly lineage: string;
  readonly pageSize: number;
  readonly from: Position | null;
  readonly to: Position;
}

export interface ObjectCheck {
  /** Null where header, index or id are damaged, or it is not there. */
  readonly object: SoundObject | null;
  readonly findings: readonly Finding[];
  /** Pages whose hash was computed. */
  readonly pages: number;
}

/**
 * Checks all that FORMAT.md says of one object; `quick`: but not its blocks. Damage is an answer.
 *
 * Throws StoreError, also "not-found".
 */
export async function checkObject(
  store: ObjectStore,
  info: SegmentInfo | SnapshotInfo,
  codecs: Codecs,
  quick: boolean,
  signal?: AbortSignal,
): Promise<ObjectCheck> {
  let object: ObjectReader;
  try {
    object = await openStored(store, info, codecs, signal);
  } catch (error) {
    return { object: null, findings: [unreadable(error, info)], pages: 0 };
  }
  const { key, size, header, pageSize, from, to } = object;
  const level = "level" in info ? info.level : null;
  const sound = { key, size, level, lineage: header.lineage, pageSize, from, to };
  if (quick) return { object: sound, findings: [], pages: 0 };
  const blocks = new BlockCheck(object, codecs);
  try {
    for await (const { first, last, range, bytes } of fetchNeeded(object, { needs: () => true }, signal))
      for (let b = first; b <= last; b++) {
        const { offset, length } = object.blockRange(b);
        const at = offset - range.offset;
        blocks.check(b, bytes.subarray(at, at + length));
      }
  } catch (error) {
    blocks.findings.push(unreadable(error, info));
  }
  return { object: sound, findings: blocks.findings, pages: blocks.pages };
}

/** What an error says of the object; other errors are the store's. */
function unreadable(error: unknown, info: SegmentInfo | SnapshotInfo): Finding {
  const about = { key: info.key, txid: "minTxid" in info ? info.minTxid : info.txid };
  if (error instanceof CorruptObjectError)
    return finding("damaged", error.message, { ...about, part: error.part });
  if (error instanceof UnsupportedFormatError) return finding("unsupported", error.message, about);
  // Ranges that do not exist: it is shorter than the listing says.
  if (error instanceof StoreError && error.kind === "invalid-request")
    return finding("damaged", error.message, { ...about, part: "size" });
  throw error;
}

/** Checks blocks in order: every page's hash, and every frame as SQLite will. */
class BlockCheck {
  readonly findings: Finding[] = [];
  pages = 0;
  readonly #object: ObjectReader;
  readonly #wal: WalHeader | null;
  readonly #checksum = new WalChecksum();
  #failed = 0;

  constructor(object: ObjectReader, codecs: Codecs) {
    this.#object = object;
    const { header } = object;
    this.#wal = header.from && segmentWalHeader(header as ObjectHeader & { from: Position }, codecs);
    if (this.#wal) encodeWalHeader(new Uint8Array(walHeaderSize), this.#wal, this.#checksum);
  }

  check(b: number, compressed: Uint8Array): void {
    try {
      const block = this.#object.decodeBlock(b, compressed);
      this.pages += block.count;
      this.#checkFrames(b, block);
    } catch (error) {
      if (!(error instanceof CorruptObjectError)) throw error;
      this.#report(error);
    }
  }

  /** The sums go through all blocks, and are worth nothing behind one that is damaged. */
  #checkFrames(b: number, block: DecodedBlock): void {
    if (this.#wal === null || this.#failed > 0) return;
    for (let j = 0; j < block.count; j++) {
      const at = block.pageOffset(j) - walFrameHeaderSize;
      if (verifyWalFrame(block.raw, at, this.#wal, this.#checksum)) continue;
      const pgno = this.#object.pgnos[block.firstEntry + j];
      throw new CorruptObjectError(
        this.#object.key,
        "block",
        `block ${b}: SQLite would not take the frame of page ${pgno}: salts or checksum are wrong`,
      );
    }
  }

  #report(error: CorruptObjectError): void {
    this.#failed += 1;
    if (this.#failed > FINDINGS) return;
    const { key, part, message } = error;
    const { from, to } = this.#object;
    this.findings.push(finding("damaged", message, { key, part, txid: from ? from.txid + 1 : to.txid }));
  }
}
