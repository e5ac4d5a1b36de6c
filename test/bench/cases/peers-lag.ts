import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { S3Options } from "../../../node/index.ts";
import { startCeph } from "../../s3/ceph.ts";
import { type SpoilingProxy, startProxy } from "../../s3/proxy.ts";
import type { BenchOptions, CaseResult } from "../main.ts";
import { Litestream } from "../peers/litestream.ts";
import { nativeSql } from "../peers/sql.ts";
import { atMost, milliseconds, percentile, type Row } from "../report.ts";
import { BUCKET, commitTimes, lagInsert, lagSchema, makeBucket, measureLag, PAUSE_MS } from "./lag.ts";

/** Intervals of both: Sluice's own defaults, and Litestream's. */
const INTERVAL_MS = 1000;
/**
 * Few enough that the WAL is not restarted meanwhile: the end of a commit is then an offset in it. They fill whole
 * intervals, of which a part would have the longer lags, or the shorter ones.
 */
const COMMITS = (7 * INTERVAL_MS) / PAUSE_MS;
const IDLE_MS = 10_000;
const METRICS_EVERY_MS = 4;

interface Sent {
  readonly lags: number[];
  readonly requests: number;
  readonly bytes: number;
  /** Requests of IDLE_MS without any commit. */
  readonly idle: number;
}

/** From commit to durable in a real S3 server, and what it costs there: both through one proxy that counts. */
export async function peersLagCase({ directory, rounds, scale }: BenchOptions): Promise<CaseResult> {
  const folder = join(directory, "peers-lag");
  const ceph = await startCeph();
  let bytes = 0;
  const proxy = await startProxy(ceph.server.endpoint, {
    answer({ headers }) {
      bytes += Number(headers["content-length"] ?? 0);
      return false;
    },
  });
  try {
    const s3 = await makeBucket({ ...ceph.server, endpoint: proxy.endpoint });
    const commits = COMMITS * scale;
    const ours: Sent[] = [];
    const theirs: Sent[] = [];
    for (let round = 0; round < rounds; round++) {
      mkdirSync(folder, { recursive: true });
      ours.push(
        await counted(
          proxy,
          () => bytes,
          (idle) => measureLag(folder, s3, INTERVAL_MS, commits, idle),
        ),
      );
      theirs.push(
        await counted(
          proxy,
          () => bytes,
          (idle) => litestreamLag(folder, s3, commits, idle),
        ),
      );
      rmSync(folder, { recursive: true });
    }
    return { rows: summarize(ours, theirs, commits), data: { ours, theirs } };
  } finally {
    await proxy.close();
    await ceph.stop();
  }
}

/** What passes the proxy while `run` commits, and while it is idle then. `run` calls when its commits begin, and at their end. */
async function counted(
  proxy: SpoilingProxy,
  bytes: () => number,
  run: (phase: (name: "begin" | "idle") => Promise<void>) => Promise<number[]>,
): Promise<Sent> {
  const at: { requests: number; bytes: number }[] = [];
  let idle = 0;
  const lags = await run(async (name) => {
    at.push({ requests: proxy.requests.length, bytes: bytes() });
    if (name === "begin") return;
    await sleep(IDLE_MS);
    idle = proxy.requests.length - at[1]!.requests;
  });
  return { lags, requests: at[1]!.requests - at[0]!.requests, bytes: at[1]!.bytes - at[0]!.bytes, idle };
}

/** A commit is durable when Litestream says that its replica reaches as far as the WAL did after it. */
async function litestreamLag(
  folder: string,
  s3: S3Options,
  count: number,
  phase: (name: "begin" | "idle") => Promise<void>,
): Promise<number[]> {
  const path = join(folder, "litestream.db");
  const sql = nativeSql(path);
  sql.exec(`PRAGMA page_size=4096; PRAGMA journal_mode=wal; ${lagSchema}; PRAGMA wal_checkpoint(TRUNCATE)`);
  const { accessKeyId, secretAccessKey } = s3.credentials as { accessKeyId: string; secretAccessKey: string };
  const replica = {
    type: "s3",
    bucket: BUCKET,
    path: `litestream-${Math.random()}`,
    endpoint: s3.endpoint,
    region: s3.region,
    "force-path-style": true,
    "access-key-id": accessKeyId,
    "secret-access-key": secretAccessKey,
    "sync-interval": `${INTERVAL_MS}ms`,
  };
  const litestream = await Litestream.start(folder, [{ path, replica }]);
  try {
    const insert = sql.prepare(lagInsert);
    const waiting: { end: number; at: number }[] = [];
    const lags: number[] = [];
    let committing = true;
    const offset = "litestream_replica_wal_offset";
    const watching = litestream.until((metrics) => {
      const reached = metrics.find(({ name }) => name === offset)?.value ?? 0;
      const now = performance.now();
      while (waiting[0] !== undefined && waiting[0].end <= reached) lags.push(now - waiting.shift()!.at);
      return !committing && waiting.length === 0;
    }, METRICS_EVERY_MS);
    await phase("begin");
    const nextTime = commitTimes();
    for (let i = 0; i < count; i++) {
      await nextTime();
      insert();
      waiting.push({ end: statSync(`${path}-wal`).size, at: performance.now() });
    }
    committing = false;
    await watching;
    await phase("idle");
    sql.close();
    await litestream.stop();
    return lags;
  } finally {
    litestream.kill();
  }
}

function summarize(ours: readonly Sent[], theirs: readonly Sent[], commits: number): Row[] {
  const lags = (sent: readonly Sent[], part: number) =>
    percentile(
      sent.flatMap((round) => round.lags),
      part,
    );
  const sum = (sent: readonly Sent[], field: "requests" | "bytes" | "idle") =>
    sent.reduce((total, round) => total + round[field], 0) / sent.length;
  const cost = (sent: readonly Sent[]) =>
    `${sum(sent, "requests").toFixed(1)} requests, ${(sum(sent, "bytes") / 1000).toFixed(0)} kB`;
  const what = `${commits} commits over ${((commits * PAUSE_MS) / 1000).toFixed(0)} s to S3`;
  return [
    atMost(
      `${what}: lag p50`,
      lags(ours, 0.5),
      INTERVAL_MS / 2 + 30,
      milliseconds,
      `Litestream ${milliseconds(lags(theirs, 0.5))}`,
    ),
    atMost(
      `${what}: lag p99`,
      lags(ours, 0.99),
      INTERVAL_MS + 150,
      milliseconds,
      `Litestream ${milliseconds(lags(theirs, 0.99))}`,
    ),
    {
      what: `${what}: sent`,
      value: `${cost(ours)}; Litestream ${cost(theirs)}`,
      goal: "≤ its",
      reached: sum(ours, "requests") <= sum(theirs, "requests") && sum(ours, "bytes") <= sum(theirs, "bytes"),
    },
    {
      what: `idle for ${IDLE_MS / 1000} s: requests`,
      value: `${sum(ours, "idle")}; Litestream ${sum(theirs, "idle").toFixed(1)}`,
      goal: "0",
      reached: sum(ours, "idle") === 0,
    },
  ];
}
