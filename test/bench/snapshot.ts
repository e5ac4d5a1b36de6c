import { setTimeout as sleep } from "node:timers/promises";
import { SqliteReplicator } from "../../node/index.ts";
import { machineStalls, memoryInUse, peakRss, StallProbe } from "./probe.ts";
import { commitRows, createDatabase, fillWithText, loadSqlite, randomNumbers } from "./workload.ts";

export interface SnapshotResult {
  readonly ms: number;
  readonly peakRss: number;
  readonly rssBefore: number;
  readonly longestStallMs: number;
  readonly nextLongestStallMs: number;
  /** Over 16 ms. */
  readonly stallsOverGoal: number;
  /** Stalls of a loop that only computes, for as long as the snapshot took, behind it. */
  readonly machine: { readonly longestMs: number; readonly over16Ms: number };
  /** Committed by the application meanwhile. */
  readonly commits: number;
}

/** Replicates a large database that has no replica yet: its first snapshot, while an application commits. */
export async function measureSnapshot(
  dbPath: string,
  replica: string,
  options: { readonly idle?: boolean } = {},
): Promise<SnapshotResult> {
  const replicator = await SqliteReplicator.create({ dbPath, replica, snapshotIntervalSecs: 0 });
  const done = new Promise<void>((resolve, reject) => {
    replicator.addEventListener("snapshot", () => resolve());
    replicator.addEventListener("error", ({ detail }) => reject(detail));
  });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("PRAGMA synchronous=NORMAL"); // the application's own syncs are not what is looked for
  // An application that has been running: its code is compiled.
  for (let i = 0; i < 50; i++) commitRows(db, 2, 1e6 + i);
  const rssBefore = process.memoryUsage.rss();
  const stalls = new StallProbe();
  const began = performance.now();
  let commits = 0;
  const app = setInterval(() => {
    if (options.idle) return;
    commitRows(db, 2, commits);
    commits += 2;
  }, 20);
  await done;
  const ms = performance.now() - began;
  const { longestMs, nextLongestMs, over16Ms } = stalls.end();
  clearInterval(app);
  const result = {
    ms,
    peakRss: peakRss(),
    rssBefore,
    machine: await machineStalls(ms),
    longestStallMs: longestMs,
    nextLongestStallMs: nextLongestMs,
    stallsOverGoal: over16Ms,
    commits,
  };
  db.close();
  await replicator.stop();
  return result;
}

/** Puts `count` segments behind the snapshot of a replica. */
export async function addSegments(dbPath: string, replica: string, count: number): Promise<void> {
  const replicator = await SqliteReplicator.create({ dbPath, replica, snapshotIntervalSecs: 0 });
  await replicator.start();
  const db = replicator.openDatabase();
  const random = randomNumbers(3);
  const last = Number(db.selectValue("SELECT max(id) FROM notes"));
  for (let i = 0; i < count; i++) {
    db.exec("BEGIN");
    for (let row = 0; row < 4; row++)
      db.exec({
        sql: "UPDATE notes SET title = ? WHERE id = ?",
        bind: [`edited ${i}`, 1 + Math.floor(random() * last)],
      });
    db.exec("COMMIT");
    await replicator.flush();
  }
  db.close();
  await replicator.stop();
}

export interface DrainResult {
  readonly ms: number;
  readonly commitMs: number;
  readonly walBytes: number;
  readonly frames: number;
  /** Largest resident memory during the drain, bytes. */
  readonly rssPeak: number;
  /** Most that was in use at once, not counting what waits for the garbage collector, over the least. */
  readonly usedGrowth: number;
  readonly longestStallMs: number;
  readonly nextLongestStallMs: number;
}

/**
 * One transaction of `bytes`, drained by the timer, step by step between turns of the event loop. Either stalls and time
 * are measured or memory `inUse`, since looking at that takes a garbage collection each time.
 */
export async function measureDrain(
  dbPath: string,
  replica: string,
  bytes: number,
  synchronous: string,
  inUse: boolean,
): Promise<DrainResult> {
  await createDatabase(dbPath, "CREATE TABLE warm(x)");
  const { sqlite3 } = await loadSqlite();
  const replicator = await SqliteReplicator.create({
    dbPath,
    replica,
    sqlite3,
    syncIntervalMs: 500,
    uploadIntervalMs: 3_600_000,
    snapshotIntervalSecs: 0,
  });
  await replicator.start();
  await replicator.snapshot();
  const db = replicator.openDatabase();
  db.exec(`PRAGMA synchronous=${synchronous}; PRAGMA cache_spill=on; INSERT INTO warm VALUES(1)`);
  await replicator.flush();
  db.exec("BEGIN");
  fillWithText(db, bytes, 5);
  const commitBegan = performance.now();
  db.exec("COMMIT");
  const commitMs = performance.now() - commitBegan;
  const { walFrames } = replicator.status();
  await sleep(100); // lets go of what made the rows; the drain is not due yet
  const usedBefore = memoryInUse();
  const cached = new Promise<void>((resolve) => replicator.addEventListener("wal", () => resolve()));
  const began = performance.now();
  const stalls = new StallProbe();
  let used = usedBefore;
  const looking = setInterval(() => {
    if (inUse) used = Math.max(used, memoryInUse());
  }, 20);
  await cached;
  clearInterval(looking);
  const ms = performance.now() - began;
  const { longestMs, nextLongestMs, peakRss } = stalls.end();
  const result = {
    ms,
    commitMs,
    walBytes: walFrames * 4120,
    frames: walFrames,
    rssPeak: peakRss,
    usedGrowth: used - Math.min(usedBefore, memoryInUse()),
    longestStallMs: longestMs,
    nextLongestStallMs: nextLongestMs,
  };
  db.close();
  await replicator.stop();
  return result;
}
