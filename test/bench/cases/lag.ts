import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { type S3Options, SqliteReplicator } from "../../../node/index.ts";
import { type S3Server, startCeph } from "../../s3/ceph.ts";
import type { BenchOptions, CaseResult } from "../main.ts";
import { atMost, milliseconds, percentile, type Row } from "../report.ts";
import { createDatabase, loadSqlite } from "../workload.ts";

/** Milliseconds between two commits, on average: one at random in each such span, so that they meet every phase of an interval alike. */
export const PAUSE_MS = 10;
export const BUCKET = "sluice-bench";

export const lagSchema = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)";
export const lagInsert = "INSERT INTO t(b) VALUES (hex(randomblob(50)))";
const WAIT_GOAL_MS = 30;

/** How long a commit takes to be in a real S3 server on this machine: by the intervals, and when somebody waits for it. */
export async function lagCase({ directory, commits }: BenchOptions): Promise<CaseResult> {
  const ceph = await startCeph();
  try {
    const s3 = await makeBucket(ceph.server);
    const rows: Row[] = [];
    const data: Record<string, unknown> = {};
    for (const intervalMs of [1000, 50]) {
      const lags = await measureLag(directory, s3, intervalMs, (commits * 3) / 20);
      rows.push({ what: `commit to S3, intervals of ${intervalMs} ms`, value: percentiles(lags) });
      data[`interval ${intervalMs}`] = lags;
    }
    const waits = await measureWaits(directory, s3, commits / 100);
    rows.push(
      atMost(
        "waitUntilUploaded() after a commit, p50",
        percentile(waits, 0.5),
        WAIT_GOAL_MS,
        milliseconds,
        percentiles(waits),
      ),
    );
    return { rows, data: { ...data, waits } };
  } finally {
    await ceph.stop();
  }
}

export async function makeBucket({
  endpoint,
  region,
  accessKeyId,
  secretAccessKey,
}: S3Server): Promise<S3Options> {
  const s3 = { endpoint, region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true };
  const client = new S3Client(s3);
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
  return s3;
}

async function begin(directory: string, s3: S3Options, name: string, intervalMs: number) {
  const dbPath = join(directory, `${name}.db`);
  await createDatabase(dbPath, lagSchema);
  const { sqlite3 } = await loadSqlite();
  const replicator = await SqliteReplicator.create({
    dbPath,
    sqlite3,
    s3Bucket: BUCKET,
    s3Prefix: name,
    s3,
    syncIntervalMs: intervalMs,
    uploadIntervalMs: intervalMs,
  });
  await replicator.start();
  const db = replicator.openDatabase();
  await replicator.snapshot();
  const commit = (): number => {
    db.exec(lagInsert);
    return performance.now();
  };
  commit(); // before the first upload the replica's end is looked at
  await replicator.waitUntilUploaded();
  const end = async () => {
    db.close();
    await replicator.stop();
  };
  return { replicator, commit, end };
}

/** From each commit to the event of the upload that carried it. */
export async function measureLag(
  directory: string,
  s3: S3Options,
  intervalMs: number,
  count: number,
  phase: (name: "begin" | "idle") => Promise<void> = async () => {},
): Promise<number[]> {
  const name = `lag-${intervalMs}-${Math.random()}`;
  const { replicator, commit, end } = await begin(directory, s3, name, intervalMs);
  const waiting = new Map<number, number>();
  const lags: number[] = [];
  replicator.addEventListener("upload", ({ detail }) => {
    const now = performance.now();
    for (const [txid, at] of waiting) {
      if (txid > detail.position.txid) break;
      lags.push(now - at);
      waiting.delete(txid);
    }
  });
  await phase("begin");
  const nextTime = commitTimes();
  for (let i = 0; i < count; i++) {
    await nextTime();
    const at = commit();
    waiting.set(replicator.status().captured, at);
  }
  // Nobody hurries it, or the last ones would be there too early.
  while (waiting.size > 0)
    await new Promise((resolve) => replicator.addEventListener("upload", resolve, { once: true }));
  await phase("idle");
  await end();
  return lags;
}

/** Resolves when the next commit is due. */
export function commitTimes(): () => Promise<void> {
  const began = performance.now();
  let count = 0;
  return () => sleep(began + (count++ + Math.random()) * PAUSE_MS - performance.now());
}

async function measureWaits(directory: string, s3: S3Options, count: number): Promise<number[]> {
  const { replicator, commit, end } = await begin(directory, s3, "waits", 1000);
  const waits: number[] = [];
  for (let i = 0; i < count; i++) {
    const at = commit();
    await replicator.waitUntilUploaded();
    waits.push(performance.now() - at);
  }
  await end();
  return waits;
}

function percentiles(values: readonly number[]): string {
  const at = (part: number) => milliseconds(percentile(values, part));
  return `p50 ${at(0.5)}, p99 ${at(0.99)} (${values.length} commits)`;
}
