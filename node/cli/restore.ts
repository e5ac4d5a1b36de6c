import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../src/errors.ts";
import { SqliteReplicator } from "../index.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { openReplica } from "./replica-word.ts";

export const restore: Command = {
  usage: "restore <replica> <database> [--overwrite] [--integrity quick|full|none]",
  help: `Writes the newest state of a replica to a database file. The file appears whole or not at all; an existing one is
only replaced with --overwrite. SQLite checks the result before it is put in place (--integrity, default quick).

  sluice restore s3://my-bucket/backups/app/ /var/lib/app/data.db
  sluice restore "s3://my-bucket/app/?endpoint=https://minio.example:9000" data.db --overwrite
  sluice restore file:///mnt/backup/app copy.db --integrity full

JSON: { restored: true, position: { txid, id }, database } or { restored: false, reason }, where the reason is
"no-replica" (exit code 3) or "database-exists" (exit code 1).`,
  options: { overwrite: { type: "boolean" }, integrity: { type: "string" } },
  words: [2, 2],
  async run([replica, dbPath], { json, overwrite, integrity }) {
    const store = await openReplica(replica!);
    // The write cache belongs to a replicator that goes on; a restore alone leaves nothing but the database.
    const cacheDir = mkdtempSync(join(tmpdir(), "sluice-restore-"));
    const line = new ProgressLine("restoring");
    try {
      const replicator = await SqliteReplicator.create({ dbPath: dbPath!, replica: store, cacheDir });
      try {
        const outcome = await replicator.restore({
          overwrite: overwrite === true,
          ...(integrity !== undefined && { integrityCheck: checkIntegrity(integrity) }),
          onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
            line.update(bytes / totalBytes, `${objects}/${totalObjects} objects, ${byteSize(bytes)}`),
        });
        line.clear();
        if (json) console.log(JSON.stringify({ ...outcome, ...(outcome.restored && { database: dbPath }) }));
        if (outcome.restored) {
          if (!json) console.log(`${dbPath} is at transaction ${outcome.position.txid}.`);
          return EXIT_OK;
        }
        const missing = outcome.reason === "no-replica";
        console.error(
          missing
            ? `sluice: there is no replica at ${store.url}, or no snapshot in it yet. See sluice ls.`
            : `sluice: ${dbPath} exists. Name another file, or replace it with --overwrite.`,
        );
        return missing ? EXIT_NOTHING : EXIT_FAILED;
      } finally {
        await replicator.stop();
      }
    } finally {
      line.clear();
      rmSync(cacheDir, { recursive: true, force: true });
    }
  },
};

function checkIntegrity(value: string | boolean): "quick" | "full" | "none" {
  if (value === "quick" || value === "full" || value === "none") return value;
  throw new ConfigError("--integrity", "must be quick, full or none");
}
