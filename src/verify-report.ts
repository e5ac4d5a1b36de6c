import type { ObjectPart } from "./errors.ts";
import type { Position } from "./format/position.ts";

/** What is wrong. Only a `stray` does no harm. */
export type Problem =
  /** `lineage.json` is missing or damaged. */
  | "claim"
  /** An object's bytes are not what they were; `part` says where. */
  | "damaged"
  /** Written by a newer release. */
  | "unsupported"
  /** An object of another history. */
  | "foreign"
  /** Listed, but not there. */
  | "missing"
  /** Segments, but no snapshot: nothing can be restored. */
  | "no-snapshot"
  /** Transactions from `txid` on are in no object; `key` is the one behind them. */
  | "gap"
  /** The object goes on from another position than the one before it leads to, or names another where the chain stands. */
  | "fork"
  /** A snapshot is not what the objects before it add up to, or a merged segment not what it was merged from. */
  | "different"
  /** A segment that a higher level stands for, and that is not part of the same history. Nothing reads it. */
  | "stray"
  /** All objects are sound, and yet no database comes of them, or one that SQLite finds damaged. */
  | "restore";

export interface Finding {
  readonly problem: Problem;
  readonly key: string | null;
  readonly part: ObjectPart | null;
  /** The first transaction that it concerns. */
  readonly txid: number | null;
  readonly message: string;
}

/** What `verifyReplica` found. */
export interface VerifyReport {
  /** There is a replica, and nothing is wrong with it (a stray does no harm). */
  readonly ok: boolean;
  /** Null where there is no replica. */
  readonly lineage: string | null;
  /** Headers and indexes only. */
  readonly quick: boolean;
  /** Snapshots and segments that were opened. */
  readonly objects: number;
  /** Bytes that all objects have together. */
  readonly bytes: number;
  /** Pages whose hash was computed. */
  readonly pages: number;
  /** Position of the oldest snapshot that is sound, and where the chain ends. */
  readonly oldest: Position | null;
  readonly newest: Position | null;
  /** Whether the newest state was restored and passed `PRAGMA integrity_check`; null: not tried. */
  readonly restored: boolean | null;
  readonly findings: readonly Finding[];
}

/** How far a verification is. */
export interface VerifyProgress {
  readonly objects: number;
  readonly totalObjects: number;
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface VerifyOptions {
  /** Reads headers and indexes, no pages, and restores nothing. Default false. */
  readonly quick?: boolean;
  readonly onProgress?: (progress: VerifyProgress) => void;
  readonly signal?: AbortSignal;
}

export const verifyFields = [
  "quick",
  "onProgress",
  "signal",
] as const satisfies readonly (keyof VerifyOptions)[];

export function finding(
  problem: Problem,
  message: string,
  { key = null, part = null, txid = null }: Partial<Pick<Finding, "key" | "part" | "txid">>,
): Finding {
  return { problem, key, part, txid, message };
}
