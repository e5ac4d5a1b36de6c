import { execFileSync } from "node:child_process";
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { describe, expect, onTestFinished, test } from "vitest";
import { DirectoryStore } from "../../node/index.ts";
import { installNodeVfs } from "../../node/vfs.ts";
import { txidToHex } from "../../src/format/position.ts";
import { Random } from "./random.ts";
import {
  filePageHashes,
  pageHashes,
  quietModule,
  quietReplicator,
  temporaryFolder,
} from "./replica-fixture.ts";
import { createSchema, randomStep } from "./workload.ts";

const script = fileURLToPath(new URL("../../scripts/restore-by-hand.sh", import.meta.url));
const seed = Number(process.env.SLUICE_SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));

/** Segments. */
const SNAPSHOT_EVERY = 6;

/** The workload's random SQL, and a segment after each step of it. */
async function replicate(sqlite3: Sqlite3Static, folder: string, pageSize: number, segments: number) {
  const random = new Random(seed + pageSize);
  const dbPath = join(folder, "live.db");
  const plain = new sqlite3.oo1.DB({ filename: dbPath, flags: "c", vfs: installNodeVfs(sqlite3) });
  plain.exec(`PRAGMA page_size=${pageSize}; PRAGMA auto_vacuum=${random.below(3)}`);
  createSchema(plain);
  plain.close();
  const replica = join(folder, "replica");
  const store = new DirectoryStore(pathToFileURL(replica));
  const { replicator, complaints } = await quietReplicator({
    dbPath,
    replica: store,
    sqlite3,
    retentionSecs: 0, // every snapshot stays
  });
  await replicator.start();
  await replicator.snapshot();
  const connections = [replicator.openDatabase(), replicator.openDatabase()];
  const reader = replicator.openDatabase();
  /** What a connection read when the store held everything up to a txid. */
  const boundaries = new Map<number, string[]>();
  while (boundaries.size < segments) {
    randomStep({ sqlite3, db: random.pick(connections), random, pageSize });
    await replicator.flush();
    const { uploaded, captured } = replicator.status();
    expect(uploaded).toBe(captured);
    if (uploaded > 0) boundaries.set(uploaded, pageHashes(sqlite3, reader));
    if (boundaries.size % SNAPSHOT_EVERY === 0) await replicator.snapshot();
  }
  for (const db of [...connections, reader]) db.close();
  await replicator.stop();
  expect(complaints).toEqual([]);
  return { replica, boundaries };
}

/** A replica as it was when the store held everything up to `txid`. */
function linkReplica(replica: string, to: string, txid: number, firstSnapshotOnly: boolean): void {
  for (const part of ["snapshots", "wal/0", "wal/1"]) {
    mkdirSync(join(to, part), { recursive: true });
    if (!existsSync(join(replica, part))) continue;
    const keys = readdirSync(join(replica, part)).sort();
    for (const key of part === "snapshots" && firstSnapshotOnly ? keys.slice(0, 1) : keys)
      if (lastTxidOf(key) <= txidToHex(txid)) linkSync(join(replica, part, key), join(to, part, key));
  }
}

/** As far as its name tells: at level 0 the first one. */
function lastTxidOf(key: string): string {
  return basename(key).split(".")[0]!.slice(-16);
}

describe.each([512, 4096, 65536])("zstd and sqlite3 alone, pages of %i bytes", (pageSize) => {
  test("rebuild the database at every segment boundary, byte for byte", async () => {
    onTestFinished(
      ({ task }) => void (task.result?.state === "fail" && console.error(`SLUICE_SEED=${seed}`)),
    );
    const folder = temporaryFolder();
    const { replica, boundaries } = await replicate(await quietModule(), folder, pageSize, 30);
    const then = join(folder, "then");
    const target = join(folder, "by-hand.db");
    const last = [...boundaries.keys()].at(-1);
    expect(readdirSync(join(replica, "wal/0")).length).toBeGreaterThanOrEqual(boundaries.size);
    expect(readdirSync(join(replica, "snapshots")).length).toBeGreaterThan(boundaries.size / SNAPSHOT_EVERY);
    for (const [txid, live] of boundaries) {
      // From the snapshot that was the newest; at the end also from the first one over every segment.
      for (const firstSnapshotOnly of txid === last ? [false, true] : [false]) {
        linkReplica(replica, then, txid, firstSnapshotOnly);
        expect(execFileSync(script, [then, target], { encoding: "utf8" })).toBe("ok\n");
        expect(filePageHashes(target, pageSize)).toEqual(live);
        rmSync(then, { recursive: true });
        rmSync(target);
      }
    }
  });
});
