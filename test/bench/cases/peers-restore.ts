import { copyFileSync, cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BenchOptions, CaseResult } from "../main.ts";
import { litestreamBinary } from "../peers/litestream.ts";
import { nativeValue } from "../peers/sql.ts";
import { workloads } from "../peers/workloads.ts";
import { type Ended, measure, run } from "../processes.ts";
import {
  atLeast,
  atMost,
  growth,
  mebibytes,
  median,
  milliseconds,
  pairedRatio,
  type Row,
  spread,
} from "../report.ts";
import { write } from "./peers-write.ts";

const MB = 1e6;
const MEMORY_GOAL = 200 * 2 ** 20;
const START_GOAL_MS = 50;
const CLI = "dist/cli.js";
/** Transactions of the long log, behind the smallest of the databases. */
const LONG_LOG = 200_000;

/** How much faster than Litestream, by size up to which it is asked: the whole process, and inside a running one. */
const goals = [
  { megabytes: 10, whole: 1.8, inside: 5 },
  { megabytes: 100, whole: 1.8, inside: 3 },
  { megabytes: Number.POSITIVE_INFINITY, whole: 1, inside: null },
] as const;

type Restorer = "litestream" | "sluice" | "inside" | "cp" | "zstd";
const restorers: readonly Restorer[] = ["litestream", "sluice", "inside", "cp", "zstd"];
export type RestoreResults = Record<Restorer, Omit<Ended, "output">[]>;

/** Restores with a log behind the snapshot, turn by turn with Litestream, `cp` and `zstd -d`; and starting with nothing to do. */
export async function peersRestoreCase(options: BenchOptions): Promise<CaseResult> {
  const { sizes, scale } = options;
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  const log = workloads.orders.count * scale;
  const runs = sizes.map((megabytes) => ({ megabytes, log }));
  if (options.long) runs.push({ megabytes: Math.min(...sizes), log: LONG_LOG * scale });
  const points: [number, number][] = [];
  for (const run of runs) {
    const { megabytes, log } = run;
    const name = `${megabytes} MB, log of ${log}`;
    const folder = join(options.directory, "peers-restore");
    const replicas = await makeReplicas(folder, megabytes, log);
    const results = await compare(replicas, options.rounds);
    rows.push(...summarize(name, megabytes, log === LONG_LOG, results));
    const checks = [];
    for (const check of ["quick", "full"] as const)
      checks.push(`${check} ${milliseconds((await measure("check", replicas.out, check)).ms)}`);
    rows.push({ what: `${name}: integrity check, apart`, value: checks.join(", ") });
    const starts = [];
    for (let i = 0; i < options.rounds; i++)
      starts.push(await measure("start", replicas.database, replicas.sluice));
    const over = median(starts.map(({ overMs }) => overMs));
    const open = milliseconds(median(starts.map(({ openMs }) => openMs)));
    rows.push(
      atMost(`${name}: start with nothing to do, over opening`, over, START_GOAL_MS, milliseconds, open),
    );
    data[name] = { results, starts };
    if (runs.indexOf(run) < sizes.length)
      points.push([megabytes, median(results.sluice.map(({ ms }) => ms))]);
    rmSync(folder, { recursive: true });
  }
  if (points.length > 1) {
    const power = growth(points);
    rows.push({
      what: "restore, whole process: grows as a power of the size",
      value: power.toFixed(2),
      goal: "≤ 1",
      reached: power <= 1,
    });
  }
  return { rows, data };
}

interface Replicas {
  /** The database as Sluice left it, and as `cp` and `zstd` have it. */
  readonly database: string;
  readonly packed: string;
  readonly sluice: string;
  readonly litestream: string;
  readonly out: string;
  readonly orders: unknown;
}

/** The same database with the same orders since, replicated by both. */
async function makeReplicas(folder: string, megabytes: number, log: number): Promise<Replicas> {
  mkdirSync(folder);
  const database = join(folder, "app.db");
  const theirs = join(folder, "litestream.db");
  await measure("makePeerDatabase", database, "orders", megabytes * MB);
  cpSync(database, theirs);
  const sluice = join(folder, "replica");
  const litestream = join(folder, "litestream");
  await write("sluice", database, "orders", log, sluice);
  await write("litestream", theirs, "orders", log, litestream, "patient");
  rmSync(theirs);
  const packed = join(folder, "app.db.zst");
  await run("zstd", ["-q", "-3", database, "-o", packed]);
  return {
    database,
    packed,
    sluice: pathToFileURL(sluice).href,
    litestream: pathToFileURL(litestream).href,
    out: join(folder, "out.db"),
    orders: nativeValue(database, "SELECT count(*) FROM orders"),
  };
}

async function compare(replicas: Replicas, rounds: number): Promise<RestoreResults> {
  const results: RestoreResults = { litestream: [], sluice: [], inside: [], cp: [], zstd: [] };
  const { out } = replicas;
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < restorers.length; i++) {
      const restorer = restorers[(round + i) % restorers.length]!;
      for (const suffix of ["", "-wal", "-shm", "-sluice"])
        rmSync(out + suffix, { recursive: true, force: true });
      results[restorer].push(await restore[restorer](replicas));
      if (nativeValue(out, "SELECT count(*) FROM orders") !== replicas.orders)
        throw new Error(`${restorer} restored something else`);
    }
  return results;
}

const restore: Record<Restorer, (replicas: Replicas) => Promise<Omit<Ended, "output">>> = {
  litestream: ({ litestream, out }) => run(litestreamBinary, ["restore", "-o", out, litestream]),
  sluice: ({ sluice, out }) => run(process.execPath, [CLI, "restore", sluice, out, "--integrity", "none"]),
  inside: async ({ sluice, out }) => ({ cpuMs: 0, ...(await measure("restore", out, sluice)) }),
  async cp({ database, out }) {
    const began = performance.now();
    copyFileSync(database, out);
    await run("sync", [out]);
    return { ms: performance.now() - began, cpuMs: 0, peakRss: 0 };
  },
  async zstd({ packed, out }) {
    const { ms, cpuMs, peakRss } = await run("zstd", ["-q", "-d", packed, "-o", out]);
    return { ms: ms + (await run("sync", [out])).ms, cpuMs, peakRss };
  },
};

function summarize(name: string, megabytes: number, long: boolean, results: RestoreResults): Row[] {
  const ms = (restorer: Restorer) => results[restorer].map((result) => result.ms);
  const goal = goals.find((goal) => megabytes <= goal.megabytes)!;
  const row = (what: string, restorer: Restorer, least: number | null): Row => {
    const ratio = pairedRatio(ms("litestream"), ms(restorer));
    const absolute = `${milliseconds(median(ms(restorer)))}, Litestream ${milliseconds(median(ms("litestream")))}; ${spread(ms("litestream"), ms(restorer))}`;
    if (least !== null) return atLeast(`${name}: ${what}`, ratio, least, absolute);
    return { what: `${name}: ${what}`, value: `${ratio.toFixed(2)}× (${absolute})` };
  };
  const peak = (restorer: Restorer) => Math.max(...results[restorer].map((result) => result.peakRss));
  const cpu = (restorer: Restorer) => milliseconds(median(results[restorer].map((result) => result.cpuMs)));
  return [
    row("restore, whole process, vs Litestream", "sluice", long ? 5 : goal.whole),
    row("restore, in a running process, vs Litestream", "inside", long ? 5 : goal.inside),
    {
      what: `${name}: cp and sync; zstd -d and sync`,
      value: `${milliseconds(median(ms("cp")))}; ${milliseconds(median(ms("zstd")))}`,
    },
    atMost(
      `${name}: restore, peak memory`,
      peak("sluice"),
      MEMORY_GOAL,
      mebibytes,
      `Litestream ${mebibytes(peak("litestream"))}; processor time ${cpu("sluice")}, Litestream ${cpu("litestream")}`,
    ),
  ];
}
