import type { WalHeader } from "../wal/wal-format.ts";
import type { Codecs } from "./codecs.ts";
import type { ObjectHeader } from "./header.ts";
import { type Position, txidToHex } from "./position.ts";

/**
 * The WAL header of a segment. The salts are fresh, so that SQLite never takes one segment's frames for another's, and
 * they follow from the positions, so that the same segment is always the same bytes.
 */
export function segmentWalHeader(
  header: ObjectHeader & { readonly from: Position },
  codecs: Codecs,
): WalHeader {
  const hash = codecs.sha256();
  hash.update(new TextEncoder().encode(header.from.id + txidToHex(header.to.txid)));
  const digest = hash.digest();
  const salts = new DataView(digest.buffer, digest.byteOffset, 8);
  return {
    bigEndian: false,
    pageSize: header.pageSize,
    checkpointSequence: 0,
    salt1: salts.getUint32(0),
    salt2: salts.getUint32(4),
  };
}
