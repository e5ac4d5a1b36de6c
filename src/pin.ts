import type { Database } from "@sqlite.org/sqlite-wasm";
import type { PositionRecord } from "./cache/write-cache.ts";
import type { Drainer, Pin } from "./drainer.ts";
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
 * Begins a read transaction exactly at a cached position: what is captured when it begins is what the drain that begins in
 * the same step carries. The position keeps its id until it is released.
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
    const pin = drainer.pin(capture.captured.txid);
    const state = pinned(local, drainer, db, pin);
    try {
      await drainer.drain();
      if (pin.record !== null) return { ...state, db, pageCount, record: pin.record };
    } catch (error) {
      state.release();
      throw error;
    }
    state.release();
  }
}

function pinned(local: LocalDatabase, drainer: Drainer, db: Database, pin: Pin) {
  let reading = true;
  const endRead = () => {
    if (reading) local.endRead(db);
    reading = false;
  };
  return {
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
