import type { Drainer } from "./drainer.ts";
import { StateError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { RestartGate } from "./gate.ts";
import type { Platform } from "./platform.ts";
import type { Started } from "./start.ts";
import type { ShimDatabase } from "./vfs/shim-database.ts";

const NOT_PLAIN =
  "replication has ended, but the database is still in WAL mode: a connection is open, or its commits could be neither " +
  "cached nor marked for a resync. Start again, then detach().";

export interface LeaveContext {
  readonly platform: Platform;
  readonly database: ShimDatabase;
  readonly started: Started;
  readonly gate: RestartGate;
  readonly drainer: Drainer;
  /** Whether the application has connections open. */
  readonly connected: boolean;
}

/** Lets go of the database, and leaves one plain file where that is possible. Nothing else works on it any more. */
export async function leave(context: LeaveContext, detach: boolean): Promise<void> {
  const { platform, database, gate, drainer, connected } = context;
  const { local, capture } = context.started;
  const settled = drainer.record.resync === undefined && capture.broken === null;
  fault("stop:before-checkpoint");
  // Who detaches wants the plain file, also of commits that only a resync can make up for: the gate marks that first.
  if (detach) gate.abandon();
  const plain = !connected && (settled || detach) && local.checkpoint("TRUNCATE") && !capture.pending;
  if (!plain) {
    // Connections stay open, or commits wait: the WAL stays as it is, and the gate marks a resync before it goes.
    gate.abandon();
    local.close();
    if (detach) throw new StateError(NOT_PLAIN);
    return;
  }
  fault("stop:after-checkpoint");
  database.capture = null;
  if (detach) local.control.exec("PRAGMA journal_mode=delete");
  local.close();
  if (!detach) platform.seal?.();
  const fingerprint = detach ? null : platform.fingerprint();
  fault("stop:before-record");
  await platform.cache.savePosition({ ...drainer.record, wal: null, fingerprint });
}
