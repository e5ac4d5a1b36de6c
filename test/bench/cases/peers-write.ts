import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BenchOptions, CaseResult } from "../main.ts";
import { inFolder, Litestream, measureFolder } from "../peers/litestream.ts";
import { type WorkloadName, workloads } from "../peers/workloads.ts";
import type { WriteResult } from "../peers/write.ts";
import { measure } from "../processes.ts";
import { atLeast, median, milliseconds, pairedRatio, type Row, spread } from "../report.ts";

const MB = 1e6;
/** Workloads whose pace or bytes depend on how large the database is. */
const GROWING: WorkloadName = "orders";
/** What it works on where the size does not matter. */
const SMALL_MB = 10;

export type Engine = "sluice" | "wasm" | "litestream" | "native";
const engines: readonly Engine[] = ["sluice", "wasm", "litestream", "native"];
export type WriteResults = Record<Engine, WriteResult[]>;

/** Commit throughput, latency, bytes, processor time: each engine with its replication and without, turn by turn. */
export async function peersWriteCase(options: BenchOptions): Promise<CaseResult> {
  const rows: Row[] = [];
  const data: Record<string, WriteResults> = {};
  for (const workload of Object.keys(workloads) as WorkloadName[])
    for (const megabytes of workload === GROWING ? options.sizes : [SMALL_MB]) {
      const name = workload === GROWING ? `${workload}, ${megabytes} MB` : workload;
      const results = await compare(options, workload, megabytes * MB);
      data[name] = results;
      rows.push(...summarize(name, workload, results));
    }
  return { rows, data };
}

async function compare(
  { directory, rounds, scale }: BenchOptions,
  workload: WorkloadName,
  bytes: number,
): Promise<WriteResults> {
  const folder = join(directory, "peers-write");
  const base = join(folder, "base.db");
  await measure("makePeerDatabase", base, workload, bytes);
  const results: WriteResults = { sluice: [], wasm: [], litestream: [], native: [] };
  const count = Math.ceil(workloads[workload].count * scale);
  for (let round = 0; round < rounds; round++)
    // Each comes first, second, third and fourth equally often.
    for (let i = 0; i < engines.length; i++) {
      const engine = engines[(round + i) % engines.length]!;
      const work = join(folder, "work");
      mkdirSync(work);
      const path = join(work, "app.db");
      cpSync(base, path);
      results[engine].push(await write(engine, path, workload, count, join(work, "replica")));
      rmSync(work, { recursive: true });
    }
  rmSync(folder, { recursive: true });
  return results;
}

/** One run. For Litestream, what its process used is added to what the writer did. */
export async function write(
  engine: Engine,
  path: string,
  workload: WorkloadName,
  count: number,
  replica: string,
  native: "native" | "patient" = "native",
): Promise<WriteResult> {
  const url = pathToFileURL(replica).href;
  if (engine !== "litestream") return measure("write", engine, path, workload, count, url);
  const litestream = await Litestream.start(`${path}-config`, [{ path, replica: inFolder(replica) }]);
  try {
    const before = measureFolder(replica, isLog);
    const result = await measure("write", native, path, workload, count, url);
    const { cpuMs, peakRss } = await litestream.stop();
    const { objects, bytes } = measureFolder(replica, isLog);
    return {
      ...result,
      cpuMs: result.cpuMs + cpuMs,
      peakRss: result.peakRss + peakRss,
      requests: objects - before.objects,
      bytes: bytes - before.bytes,
    };
  } finally {
    litestream.kill();
  }
}

function isLog(path: string): boolean {
  return path.endsWith(".wal.lz4");
}

function summarize(name: string, workload: WorkloadName, results: WriteResults): Row[] {
  const of = (engine: Engine, field: keyof WriteResult) => results[engine].map((result) => result[field]);
  const { sluice, wasm, litestream, native } = {
    sluice: of("sluice", "ms"),
    wasm: of("wasm", "ms"),
    litestream: of("litestream", "ms"),
    native: of("native", "ms"),
  };
  const { count } = results.sluice[0]!;
  const bytes = (engine: Engine) => median(of(engine, "bytes"));
  const megabytes = (engine: Engine) => `${(bytes(engine) / MB).toFixed(2)} MB`;
  const tails = (engine: Engine) =>
    (["p50", "p99", "p999"] as const).map((part) => median(of(engine, part)).toFixed(3)).join("/");
  return [
    pace(
      name,
      workload,
      pairedRatio(wasm, sluice),
      `${milliseconds(median(sluice))} for ${count}; ${spread(wasm, sluice)}; Litestream ${pairedRatio(native, litestream).toFixed(2)}×, ${spread(native, litestream)}`,
    ),
    {
      what: `${name}: bytes sent / Litestream's`,
      value: `${(bytes("sluice") / bytes("litestream")).toFixed(3)}× (${megabytes("sluice")} in ${median(of("sluice", "requests"))} requests, ${megabytes("litestream")} in ${median(of("litestream", "requests"))})`,
      ...(workload === GROWING && {
        goal: "≤ 0.15×",
        reached: bytes("sluice") <= 0.15 * bytes("litestream"),
      }),
    },
    {
      what: `${name}: latency p50/p99/p99.9, ms`,
      value: engines.map((engine) => `${engine} ${tails(engine)}`).join("; "),
    },
    {
      what: `${name}: processor time, peak memory`,
      value: engines
        .map(
          (engine) =>
            `${engine} ${(median(of(engine, "cpuMs")) / 1000).toFixed(2)} s ${(median(of(engine, "peakRss")) / MB).toFixed(0)} MB`,
        )
        .join("; "),
    },
  ];
}

/** What the goals name: small commits and orders. The others show where it costs. */
function pace(name: string, workload: WorkloadName, ratio: number, absolute: string): Row {
  const what = `${name}: pace with replication / without`;
  if (workload === GROWING) return atLeast(what, ratio, 0.95, absolute);
  if (name.startsWith("one row")) return atLeast(what, ratio, 1, absolute);
  return { what, value: `${ratio.toFixed(2)}× (${absolute})` };
}
