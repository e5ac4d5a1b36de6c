import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkRestoreOptions, checkTime, type RestoreOptions } from "../../src/config.ts";
import { ConfigError, ReplicaFencedError } from "../../src/errors.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { type RestoreOutcome, SqliteReplicator } from "../index.ts";
import { canonicalPath } from "../platform.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { interruptible } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";
import { parseDuration } from "./status.ts";

export const restore: Command = {
  usage:
    "restore <replica> <database> [--txid <number> | --timestamp <time>] [--overwrite] [--integrity quick|full|none]",
  help: `Writes the newest state of a replica to a database file, or the last one at or before a transaction or a time. The
file appears whole or not at all; an existing one is only replaced with --overwrite, and then only pages that differ are
fetched. SQLite checks the result before it is put in place (--integrity, default quick).

  sluice restore s3://my-bucket/backups/app/ /var/lib/app/data.db
  sluice restore "s3://my-bucket/app/?endpoint=https://minio.example:9000" data.db --overwrite
  sluice restore file:///mnt/backup/app copy.db --integrity full
  sluice restore file:///mnt/backup/app then.db --timestamp 2026-03-01T12:00:00Z
  sluice restore file:///mnt/backup/app then.db --timestamp -90m
  sluice restore file:///mnt/backup/app then.db --txid 4711

A time is ISO 8601 with a zone, or how long ago (-30s, -5m, -2h, -1d). States are where segments end; sluice ls shows what there is.
A gap in the replica before the state that is asked for is an error. Where a program replicates this database, stop it first; its
queue, data.db-sluice beside the database, is uploaded before, and told.

JSON: { restored: true, position: { txid, id }, time, bytesFetched, bytesSaved, database }, with the time of the last commit in
ISO 8601 and how many bytes of objects were not needed because the database that is replaced had the same pages; or
{ restored: false, reason }, where the reason is "no-replica" (exit code 3) or "database-exists" (exit code 1).`,
  options: {
    txid: { type: "string" },
    timestamp: { type: "string" },
    overwrite: { type: "boolean" },
    integrity: { type: "string" },
  },
  words: [2, 2],
  async run([replica, dbPath], { json, overwrite, integrity, txid, timestamp }) {
    const options: RestoreOptions = {
      overwrite: overwrite === true,
      ...(integrity !== undefined && { integrityCheck: checkIntegrity(integrity) }),
      ...(txid !== undefined && { txid: parseTxid(String(txid)) }),
      ...(timestamp !== undefined && { timestamp: parseTimestamp(String(timestamp)) }),
    };
    checkRestoreOptions(options);
    const store = await openReplica(replica!);
    const outcome = await interruptible((signal) => restoreDatabase(store, dbPath!, { ...options, signal }));
    if (json) console.log(JSON.stringify(documentOf(outcome, dbPath!)));
    if (outcome.restored) {
      if (!json) console.log(inWords(outcome, options, dbPath!));
      return EXIT_OK;
    }
    const missing = outcome.reason === "no-replica";
    console.error(
      missing
        ? `sluice: there is no replica at ${store.url}, or no snapshot in it yet. See sluice ls.`
        : `sluice: ${dbPath} exists. Name another file, or replace it with --overwrite.`,
    );
    return missing ? EXIT_NOTHING : EXIT_FAILED;
  },
};

async function restoreDatabase(
  store: ObjectStore,
  dbPath: string,
  options: RestoreOptions & { readonly signal: AbortSignal },
): Promise<RestoreOutcome> {
  const queue = queueOf(dbPath);
  const line = new ProgressLine("restoring");
  const { signal } = options;
  try {
    const replicator = await SqliteReplicator.create({
      dbPath,
      replica: store,
      cacheDir: queue.folder,
      signal,
    });
    try {
      return await replicator.restore({
        ...options,
        onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
          line.update(bytes / totalBytes, `${objects}/${totalObjects} objects, ${byteSize(bytes)}`),
      });
    } catch (error) {
      line.clear();
      if (error instanceof ReplicaFencedError && !queue.isTemporary)
        console.error(
          `sluice: ${queue.folder} holds commits that the replica does not have and cannot take. Move that folder away to ` +
            "give them up, and restore again.",
        );
      throw error;
    } finally {
      await replicator.stop();
    }
  } finally {
    line.clear();
    if (queue.isTemporary) rmSync(queue.folder, { recursive: true, force: true });
  }
}

/**
 * A queue beside the database belongs to the program that replicates it, and has to know what happened: what waits in it goes
 * up first. Where there is none a restore leaves nothing but the database.
 */
function queueOf(dbPath: string): { folder: string; isTemporary: boolean } {
  const beside = `${canonicalPath(dbPath)}-sluice`;
  if (existsSync(beside)) return { folder: beside, isTemporary: false };
  return { folder: mkdtempSync(join(tmpdir(), "sluice-restore-")), isTemporary: true };
}

type Restored = RestoreOutcome & { restored: true };

function documentOf(outcome: RestoreOutcome, database: string) {
  return outcome.restored ? { ...outcome, time: new Date(outcome.time).toISOString(), database } : outcome;
}

/** Says so where the state is not exactly the one that was asked for. */
function inWords(
  { position, time, bytesFetched, bytesSaved }: Restored,
  { txid, timestamp }: RestoreOptions,
  dbPath: string,
): string {
  const committed = `committed ${new Date(time).toISOString()}`;
  const which =
    txid !== undefined && txid !== position.txid
      ? `, the last state that can be restored at or before transaction ${txid}`
      : timestamp !== undefined
        ? `, the last state that can be restored at or before ${new Date(timestamp).toISOString()}`
        : "";
  const saved =
    bytesSaved === 0
      ? ""
      : ` ${byteSize(bytesFetched)} fetched, ${byteSize(bytesSaved)} saved by pages that were there already.`;
  return `${dbPath} is at transaction ${position.txid}, ${committed}${which}.${saved}`;
}

function parseTxid(text: string): number {
  // Keys have hexadecimal numbers with leading zeros: one of those must not be taken for another transaction.
  if (/^(0|[1-9]\d*)$/.test(text)) return Number(text);
  throw new ConfigError("--txid", "must be a decimal number without leading zeros, as sluice ls shows it");
}

/** Milliseconds since 1970. */
function parseTimestamp(text: string): number {
  if (text.startsWith("-")) return Date.now() - parseDuration("--timestamp", text.slice(1));
  return checkTime("--timestamp", text);
}

function checkIntegrity(value: string | boolean): "quick" | "full" | "none" {
  if (value === "quick" || value === "full" || value === "none") return value;
  throw new ConfigError("--integrity", "must be quick, full or none");
}
