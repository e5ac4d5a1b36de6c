import type { ObjectHeader } from "./header.ts";
import { lineageKey, metadataKey } from "./keys.ts";

export type ParsedKey =
  | { readonly kind: "lineage" }
  | { readonly kind: "metadata" }
  | { readonly kind: "snapshot"; readonly txid: number }
  /** `maxTxid` is null at level 0, whose keys do not tell. */
  | {
      readonly kind: "segment";
      readonly level: number;
      readonly minTxid: number;
      readonly maxTxid: number | null;
    };

/** What a key names. Null for every key that Sluice would not have written, letter for letter. */
export function parseKey(key: string): ParsedKey | null {
  if (key === lineageKey) return { kind: "lineage" };
  if (key === metadataKey) return { kind: "metadata" };
  const snapshot = /^snapshots\/([0-9a-f]{16})\.sqlite\.zst$/.exec(key);
  if (snapshot) {
    const txid = Number.parseInt(snapshot[1]!, 16);
    return Number.isSafeInteger(txid) ? { kind: "snapshot", txid } : null;
  }
  const segment = /^wal\/([0-3])\/([0-9a-f]{16})(?:-([0-9a-f]{16}))?\.wal\.zst$/.exec(key);
  if (!segment) return null;
  const level = Number(segment[1]);
  const minTxid = Number.parseInt(segment[2]!, 16);
  const maxTxid = segment[3] === undefined ? null : Number.parseInt(segment[3], 16);
  if ((level === 0) !== (maxTxid === null)) return null;
  if (minTxid < 1 || !Number.isSafeInteger(maxTxid ?? minTxid) || (maxTxid ?? minTxid) < minTxid) return null;
  return { kind: "segment", level, minTxid, maxTxid };
}

/** Whether an object with this header belongs under that key. */
export function fitsKey(header: ObjectHeader, key: ParsedKey): boolean {
  if (key.kind === "snapshot") return header.kind === "snapshot" && header.to.txid === key.txid;
  if (key.kind !== "segment" || header.from === null) return false;
  if ((key.level === 0) !== (header.to.id === null)) return false;
  return header.from.txid + 1 === key.minTxid && (key.maxTxid === null || key.maxTxid === header.to.txid);
}
