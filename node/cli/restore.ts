import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../src/errors.ts";
import { SqliteReplicator } from "../index.ts";
import { megabytes, ProgressLine } from "../progress.ts";
import type { Command } from "./run.ts";

export const restore: Command = {
  usage: "restore <replica> <database> [--overwrite] [--integrity quick|full|none]",
  help: `Writes the newest state of a replica to a database file. The file appears whole or not at all; an existing one is
only replaced with --overwrite. SQLite checks the result before it is put in place (--integrity, default quick).

  sluice restore s3://my-bucket/backups/app/ /var/lib/app/data.db
  sluice restore file:///mnt/backup/app copy.db --integrity full

JSON: { restored: true, position: { txid, id }, database } or { restored: false, reason }.`,
  options: { overwrite: { type: "boolean" }, integrity: { type: "string" } },
  words: [2, 2],
  async run([replica, dbPath], { json, overwrite, integrity }) {
    // The write cache belongs to a replicator that goes on; a restore alone leaves nothing but the database.
    const cacheDir = mkdtempSync(join(tmpdir(), "sluice-restore-"));
    const line = new ProgressLine("restoring", process.stderr);
    try {
      const replicator = await SqliteReplicator.create({ dbPath: dbPath!, replica: replica!, cacheDir });
      try {
        const outcome = await replicator.restore({
          overwrite: overwrite === true,
          ...(integrity !== undefined && { integrityCheck: checkIntegrity(integrity) }),
          onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
            line.update(bytes / totalBytes, `${objects}/${totalObjects} objects, ${megabytes(bytes)}`),
        });
        if (outcome.restored) line.done(`transaction ${outcome.position.txid}`);
        if (json) console.log(JSON.stringify({ ...outcome, ...(outcome.restored && { database: dbPath }) }));
        if (outcome.restored) return 0;
        console.error(
          outcome.reason === "no-replica"
            ? `sluice: there is no replica at ${replica}. Check the prefix with sluice ls.`
            : `sluice: ${dbPath} exists. Name another file, or replace it with --overwrite.`,
        );
        return 1;
      } finally {
        await replicator.stop();
      }
    } finally {
      rmSync(cacheDir, { recursive: true, force: true });
    }
  },
};

function checkIntegrity(value: string | boolean): "quick" | "full" | "none" {
  if (value === "quick" || value === "full" || value === "none") return value;
  throw new ConfigError("--integrity", "must be quick, full or none");
}
