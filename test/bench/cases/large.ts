import { copyFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BenchOptions, CaseResult } from "../main.ts";
import { measure, run } from "../processes.ts";
import { atLeast, atMost, mebibytes, median, milliseconds, pairedRatio, type Row } from "../report.ts";
import type { RestoreResult } from "../restore.ts";

const MiB = 2 ** 20;
const RESTORE_MEMORY_GOAL = 200 * MiB;
/** Over what the process had before. */
const SNAPSHOT_MEMORY_GOAL = 150 * MiB;
/** One frame of a screen. */
const STALL_GOAL_MS = 16;
/** Restores that are timed, each beside one `zstd -d`. */
const PAIRS = 3;

/** Snapshot and restore of a large database. */
export async function largeCase({ directory, bytes, segments }: BenchOptions): Promise<CaseResult> {
  const database = join(directory, "large.db");
  const replicaPath = join(directory, "large-replica");
  const replica = pathToFileURL(replicaPath).href;
  await measure("makeDatabase", database, bytes);
  const size = statSync(database).size;
  const copy = join(directory, "large-copy.db");
  copyFileSync(database, copy);

  const packed = join(directory, "large.db.zst");
  const before = await run("zstd", ["-q", "-f", "-3", database, "-o", packed]);
  const snapshot = await measure("snapshot", database, replica);
  const after = await run("zstd", ["-q", "-f", "-3", copy, "-o", packed]);
  const zstdMs = (before.ms + after.ms) / 2;
  rmSync(packed);
  const folder = join(replicaPath, "snapshots");
  const object = join(folder, readdirSync(folder)[0]!);
  const rows: Row[] = [
    {
      what: `snapshot of ${mebibytes(size)} while the application commits, vs zstd -3`,
      value: `${(zstdMs / snapshot.ms).toFixed(2)}× (${milliseconds(snapshot.ms)} vs ${milliseconds(zstdMs)}; ${mebibytes(statSync(object).size)}; ${snapshot.commits} commits)`,
    },
    atMost(
      "snapshot: peak memory over idle",
      snapshot.peakRss - snapshot.rssBefore,
      SNAPSHOT_MEMORY_GOAL,
      mebibytes,
      `peak ${mebibytes(snapshot.peakRss)}`,
    ),
    atMost(
      "snapshot: longest stall of the event loop",
      snapshot.longestStallMs,
      STALL_GOAL_MS,
      milliseconds,
      `next ${milliseconds(snapshot.nextLongestStallMs)}, ${snapshot.stallsOverGoal} over the goal; a loop that only computes: ${milliseconds(snapshot.machine.longestMs)}, ${snapshot.machine.over16Ms}`,
    ),
  ];

  const restored = join(directory, "restored.db");
  const plain = await restorePairs(restored, replica, object);
  rows.push(...restoreRows("restore", plain));
  for (const check of ["quick", "full"] as const) {
    const { ms } = await measure("check", restored, check);
    rows.push({ what: `${check} integrity check of it, apart`, value: milliseconds(ms) });
  }
  await measure("addSegments", database, replica, segments);
  const behind = await restorePairs(restored, replica, object);
  rows.push(...restoreRows(`restore with ${segments} segments behind`, behind));
  for (const file of readdirSync(directory)) rmSync(join(directory, file), { recursive: true });
  return { rows, data: { size, snapshot, zstdMs, plain, behind } };
}

interface RestorePairs {
  readonly ours: RestoreResult[];
  readonly zstd: number[];
  /** `zstd -d` and the fsync that a restore does too. */
  readonly durable: number[];
}

async function restorePairs(path: string, replica: string, object: string): Promise<RestorePairs> {
  const pairs: RestorePairs = { ours: [], zstd: [], durable: [] };
  const unpacked = `${path}.unpacked`;
  for (let i = 0; i < PAIRS; i++) {
    for (const suffix of ["", "-wal", "-sluice"]) rmSync(path + suffix, { recursive: true, force: true });
    const { ms } = await run("zstd", ["-q", "-f", "-d", object, "-o", unpacked]);
    pairs.zstd.push(ms);
    pairs.durable.push(ms + (await run("sync", [unpacked])).ms);
    rmSync(unpacked);
    pairs.ours.push(await measure("restore", path, replica));
  }
  return pairs;
}

function restoreRows(what: string, { ours, zstd, durable }: RestorePairs): Row[] {
  const ms = ours.map((result) => result.ms);
  return [
    atLeast(
      `${what}, vs zstd -d`,
      pairedRatio(zstd, ms),
      0.5,
      `${milliseconds(median(ms))} vs ${milliseconds(median(zstd))}`,
    ),
    {
      what: `${what}, vs zstd -d and sync`,
      value: `${pairedRatio(durable, ms).toFixed(2)}× (${milliseconds(median(durable))})`,
    },
    atMost(`${what}: peak memory`, Math.max(...ours.map((r) => r.peakRss)), RESTORE_MEMORY_GOAL, mebibytes),
  ];
}
