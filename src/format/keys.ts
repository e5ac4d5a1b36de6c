/** The keys of a replica, relative to its prefix. FORMAT.md, "Keys". */
import { assert } from "../assert.ts";
import { txidToHex } from "./position.ts";

export const lineageKey = "lineage.json";
export const metadataKey = "metadata.json";
export const snapshotPrefix = "snapshots/";
export const maxLevel = 3;

export function segmentPrefix(level: number): string {
  return `wal/${level}/`;
}

export function snapshotKey(txid: number): string {
  assert(Number.isSafeInteger(txid) && txid >= 0, "a snapshot's key has a txid");
  return `${snapshotPrefix}${txidToHex(txid)}.sqlite.zst`;
}

/** The key of the segment that holds transactions `minTxid` to `maxTxid`. At level 0 it is fixed by `minTxid` alone. */
export function segmentKey(level: number, minTxid: number, maxTxid: number): string {
  assert(Number.isInteger(level) && level >= 0 && level <= maxLevel, "levels are 0 to 3");
  assert(
    minTxid >= 1 && maxTxid >= minTxid && Number.isSafeInteger(maxTxid),
    "a segment's key has a range of txids",
  );
  const range = level === 0 ? txidToHex(minTxid) : `${txidToHex(minTxid)}-${txidToHex(maxTxid)}`;
  return `${segmentPrefix(level)}${range}.wal.zst`;
}
