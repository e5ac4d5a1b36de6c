import {
  BrokenReplicaError,
  CacheError,
  LocalDatabaseError,
  ReplicaFencedError,
  StateError,
  StoreError,
  UnknownLocalHistoryError,
} from "../../src/errors.ts";
import type { Machine } from "./machine.ts";
import { DiskFullError } from "./platform.ts";
import { Crash, Violation } from "./world.ts";

const SQLITE_BUSY = 5;
export const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;

/** Whether an error is one that what was done to this machine earns rightly. Anything else has failed. */
export function judge(machine: Machine, error: unknown): void {
  if (machine.life.dead || error instanceof Crash || isEarned(machine, error)) return;
  machine.world.fail(
    error instanceof Violation ? error : new Violation(describe(machine, error), { cause: error }),
  );
}

function isEarned(machine: Machine, error: unknown): boolean {
  const { backend, queue, scenario, chain, excused, robbed, world } = machine;
  // A key was taken, and retention took the object before it was read.
  if (error instanceof StoreError && /exists but is not there/.test(error.message)) return true;
  if (error instanceof StoreError) return backend.caused(error);
  if (error instanceof CacheError)
    return queue.caused(error) || error.cause instanceof DiskFullError || (robbed && isDamage(error));
  if (error instanceof StateError && /was dropped with the backlog/.test(error.message))
    return machine.overflowed || queue.wasDamaged || machine.endLost;
  if (error instanceof StateError) return machine.stopping || machine.resyncing;
  if (error instanceof ReplicaFencedError) return excused;
  if (error instanceof UnknownLocalHistoryError) return excused;
  // The backlog was dropped, and that could not be recorded.
  if (error instanceof BrokenReplicaError && /what was uploaded ended at/.test(error.message))
    return scenario.fullDisks || scenario.queueTrouble > 0 || machine.endLost;
  // Another writer went on, and compaction or retention over where this one stands, before it has heard of it.
  if (error instanceof BrokenReplicaError && /leads to transaction|has a gap/.test(error.message))
    return excused && (chain.tail?.txid ?? 0) > (machine.watch.record?.cached.txid ?? 0);
  // Claimed, and nothing uploaded yet: by another machine, or by this one before it lost its disk.
  if (error instanceof BrokenReplicaError) return excused && machine.begun <= chain.restorableSince;
  // The local database was chosen, and has nothing in common with the replica; or there is none that it could go on from.
  const chosen = /has pages of|nothing was uploaded there/;
  if (error instanceof LocalDatabaseError && excused && chosen.test(error.message)) return true;
  if (error instanceof LocalDatabaseError) return machine.disk.full || world.time < machine.fullUntil;
  // Another connection holds a transaction open.
  if (sqliteCode(error) === SQLITE_BUSY) return machine.connections.length > 1;
  return scenario.fullDisks && sqliteCode(error) === SQLITE_FULL;
}

/** A part of the cache was taken away. */
function isDamage({ message }: CacheError): boolean {
  return /is damaged/.test(message);
}

/** It stays like that until somebody removes what is there. */
export function isHopeless(error: unknown): boolean {
  return error instanceof BrokenReplicaError || error instanceof LocalDatabaseError;
}

/** The primary one. */
export function sqliteCode(error: unknown): number | undefined {
  const { resultCode, cause } = error as { resultCode?: number; cause?: { resultCode?: number } };
  const code = resultCode ?? cause?.resultCode;
  return code === undefined ? undefined : code & 0xff;
}

function describe(machine: Machine, error: unknown): string {
  return `${machine.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}
