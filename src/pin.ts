import type { Database } from "@sqlite.org/sqlite-wasm";
import type { PositionRecord } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { StateError } from "./errors.ts";
import type { LocalDatabase } from "./local-database.ts";
import type { Capture } from "./vfs/capture.ts";

/** A cached position, and the database as it was there, while writers go on. */
export interface PinnedState {
  readonly db: Database;
  readonly pageCount: number;
  /** The position is its `cached`. */
  readonly record: PositionRecord;
  /** Throws StateError where the position was dropped with the backlog, and so will not be in the store. */
  require(): void;
  /** The database was read: its transaction holds up the WAL no longer. */
  endRead(): void;
  /** The position is not needed any more. */
  release(): void;
}

/**
 * Begins a read transaction exactly at a cached position: what is captured when it begins is what a drain that begins in
 * the same step carries, unless the loop or the gate drained in between, and then it is tried again. The position keeps
 * its id until it is released.
 *
 * Throws StateError where a resync is needed first.
 */
export async function pinState(
  local: LocalDatabase,
  capture: Capture,
  drainer: Drainer,
): Promise<PinnedState> {
  for (;;) {
    while (drainer.busy) await drainer.settled();
    if (capture.broken !== null) throw new StateError(`a resync is needed first: ${capture.broken}`);
    const { db, pageCount } = local.beginRead();
    try {
      const at = capture.captured.txid;
      await drainer.drain();
      if (!drainer.busy && drainer.record.cached.txid === at) return pinned(local, drainer, db, pageCount);
    } catch (error) {
      local.endRead(db);
      throw error;
    }
    local.endRead(db);
  }
}

function pinned(local: LocalDatabase, drainer: Drainer, db: Database, pageCount: number): PinnedState {
  const { record } = drainer;
  const pin = drainer.pin();
  let reading = true;
  const endRead = () => {
    if (reading) local.endRead(db);
    reading = false;
  };
  return {
    db,
    pageCount,
    record,
    require() {
      // Transactions beyond it are in the store too when a resync made up for what was dropped.
      if (!drainer.holds(pin)) throw new StateError(`transaction ${pin.txid} was dropped with the backlog`);
    },
    endRead,
    release() {
      drainer.unpin(pin);
      endRead();
    },
  };
}
