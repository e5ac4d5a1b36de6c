import type { PositionRecord } from "./cache/write-cache.ts";
import type { WalIndexHeader } from "./vfs/shared-memory.ts";

/** What a start finds, gathered before anything is decided. */
export interface Found {
  readonly record: PositionRecord;
  /** What SQLite recovered. */
  readonly wal: WalIndexHeader;
  /** The WAL file holds exactly the frame that the record names. */
  readonly holdsRecordedFrame: boolean;
  /** Of the main file, before SQLite touched it. */
  readonly fingerprint: string | null;
}

export type Recovery =
  /** The WAL continues behind the recorded frame. */
  | { readonly kind: "behind-record" }
  /** All that is cached is in the main file; whatever the WAL holds comes after. */
  | { readonly kind: "whole-wal" }
  /** The machine lost commits that the cache has: the local database is older than what is recorded. */
  | { readonly kind: "replay"; readonly reason: string }
  /** Local history cannot be followed from the record. */
  | { readonly kind: "resync"; readonly reason: string };

/** Decides how the local database continues the recorded position. Pure. DESIGN: "At start". */
export function recover({ record, wal, holdsRecordedFrame, fingerprint }: Found): Recovery {
  if (record.resync !== undefined) return { kind: "resync", reason: record.resync };
  const recorded = record.wal;
  const empty = wal.maxFrame === 0;
  // Also where no commit is left in it: a restart would have changed the salts.
  const sameWal = recorded !== null && wal.salt1 === recorded.salt1 && wal.salt2 === recorded.salt2;
  if (sameWal) {
    if (wal.maxFrame < recorded.frame)
      return { kind: "replay", reason: "the WAL lost frames that were synced and cached" };
    if (holdsRecordedFrame) return { kind: "behind-record" };
    return { kind: "resync", reason: "other commits stand in the WAL where recorded ones were" };
  }
  // A fingerprint is recorded only of a main file that holds everything up to the recorded position.
  if (record.fingerprint !== null && record.fingerprint === fingerprint) return { kind: "whole-wal" };
  return {
    kind: "resync",
    reason: empty
      ? "the WAL that held recorded commits is gone"
      : "the database was changed without Sluice, or is another file",
  };
}
