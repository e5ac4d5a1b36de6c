import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitCase } from "./cases/commit.ts";
import { drainCase } from "./cases/drain.ts";
import { lagCase } from "./cases/lag.ts";
import { largeCase } from "./cases/large.ts";
import { requestsCase } from "./cases/requests.ts";
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
}

const cases: Record<string, (options: BenchOptions) => Promise<CaseResult>> = {
  commit: commitCase,
  requests: requestsCase,
  lag: lagCase,
  drain: drainCase,
  large: largeCase,
};

const usage = `npm run bench -- [--only ${Object.keys(cases).join(",")}] [--quick] [--rounds n] [--json file] [--directory folder]

  --only       cases, separated by commas. Default: all (about ten minutes, 5 GB of disk)
  --quick      a tenth of the sizes: to see that it runs, not to compare
  --rounds     interleaved rounds of the commit path. Default 9
  --json       where the results go. Default: bench.json in the system's folder for temporary files
  --directory  where databases and replicas are made and removed. Default: the same folder`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: Object.keys(cases).join(",") },
    quick: { type: "boolean", default: false },
    rounds: { type: "string", default: "9" },
    json: { type: "string", default: join(tmpdir(), "bench.json") },
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
    rounds: Number(values.rounds),
    bytes: 2 ** 30 * scale,
    segments: 1000 * scale,
  };
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}`;
  console.log(`${machine}\n`);
  const results: Record<string, unknown> = { machine, date: new Date().toISOString(), ...options };
  try {
    for (const name of values.only.split(",")) {
      const run = cases[name];
      if (run === undefined) throw new Error(`there is no case ${name}\n\n${usage}`);
      const { rows, data } = await run(options);
      printTable(rows);
      console.log();
      results[name] = { rows, data };
      writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    }
    console.log(values.json);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
