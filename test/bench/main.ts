import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitCase } from "./cases/commit.ts";
import { drainCase } from "./cases/drain.ts";
import { lagCase } from "./cases/lag.ts";
import { largeCase } from "./cases/large.ts";
import { peersLagCase } from "./cases/peers-lag.ts";
import { peersManyCase } from "./cases/peers-many.ts";
import { peersRestoreCase } from "./cases/peers-restore.ts";
import { peersWriteCase } from "./cases/peers-write.ts";
import { requestsCase } from "./cases/requests.ts";
import { drawCharts } from "./charts.ts";
import { printTable, type Row } from "./report.ts";

/** What one case found: lines for people, and everything it measured. */
export interface CaseResult {
  readonly rows: readonly Row[];
  readonly data: unknown;
}

/** How much a run does. */
export interface BenchOptions {
  readonly directory: string;
  readonly commits: number;
  readonly rounds: number;
  readonly bytes: number;
  readonly segments: number;
  /** What `bytes`, `commits` and `segments` were multiplied by already, and the workloads of the peers are yet to be. */
  readonly scale: number;
  /** Sizes of databases that are compared with peers, MB. */
  readonly sizes: readonly number[];
  /** Whether a restore through a very long log is measured too. */
  readonly long: boolean;
}

type Cases = Record<string, (options: BenchOptions) => Promise<CaseResult>>;

/** Sluice alone, against the machine. */
const own: Cases = {
  commit: commitCase,
  requests: requestsCase,
  lag: lagCase,
  drain: drainCase,
  large: largeCase,
};

/** Beside Litestream and native SQLite, which test/bench/peers/install.js brings. */
const peers: Cases = {
  "peers-write": peersWriteCase,
  "peers-restore": peersRestoreCase,
  "peers-lag": peersLagCase,
  "peers-many": peersManyCase,
};

const cases: Cases = { ...own, ...peers };

const usage = `npm run bench -- [--only ${Object.keys(own).join(",")}] [--quick] [--rounds n] [--json file] [--directory folder]
npm run bench:peers -- [--only ${Object.keys(peers).join(",")}] [--sizes 10,100,1000,10000] …

  --only       cases, separated by commas. Default: all (about ten minutes, 5 GB of disk)
  --quick      a tenth of the sizes: to see that it runs, not to compare
  --rounds     interleaved rounds. Default 9 of the commit path, 3 of the peers
  --sizes      of the databases that are compared with peers, MB. Default 10,100
  --long       restores through a log of 200,000 transactions too: minutes more
  --json       where the results go. Default: bench.json in the system's folder for temporary files
  --charts     a folder for charts of the peers by size, as SVG
  --directory  where databases and replicas are made and removed. Default: the same folder`;

const { values } = parseArgs({
  options: {
    peers: { type: "boolean", default: false },
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    sizes: { type: "string", default: "10,100" },
    long: { type: "boolean", default: false },
    json: { type: "string", default: join(tmpdir(), "bench.json") },
    charts: { type: "string" },
    directory: { type: "string", default: tmpdir() },
    help: { type: "boolean", default: false },
  },
});

if (values.help) console.log(usage);
else await main();

async function main(): Promise<void> {
  const scale = values.quick ? 0.1 : 1;
  const directory = mkdtempSync(join(values.directory, "sluice-bench-"));
  const options: BenchOptions = {
    directory,
    commits: 20_000 * scale,
    rounds: Number(values.rounds ?? (values.peers ? 3 : 9)),
    bytes: 2 ** 30 * scale,
    segments: 1000 * scale,
    scale,
    sizes: values.sizes.split(",").map(Number),
    long: values.long,
  };
  const only = values.only?.split(",") ?? Object.keys(values.peers ? peers : own);
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}`;
  console.log(`${machine}\n`);
  const results: Record<string, unknown> = { machine, date: new Date().toISOString(), ...options };
  try {
    for (const name of only) {
      const run = cases[name];
      if (run === undefined) throw new Error(`there is no case ${name}\n\n${usage}`);
      const { rows, data } = await run(options);
      printTable(rows);
      console.log();
      results[name] = { rows, data };
      writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    }
    if (values.charts !== undefined) drawCharts(values.charts, results as Parameters<typeof drawCharts>[1]);
    console.log(values.json);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
