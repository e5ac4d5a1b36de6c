import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { BenchOptions, CaseResult } from "../main.ts";
import { inFolder, Litestream } from "../peers/litestream.ts";
import { measure } from "../processes.ts";
import { atMost, mebibytes, milliseconds } from "../report.ts";

const DATABASES = 50;
const PER_SECOND = 5;
const SECONDS = 15;
/** Both intervals at their defaults, and what an answer may take: nothing waits for a second round. */
const LAG_GOAL_MS = 2150;

/** Many small databases in one process. */
export async function peersManyCase({ directory, scale }: BenchOptions): Promise<CaseResult> {
  const seconds = Math.ceil(SECONDS * scale);
  const folder = join(directory, "peers-many");
  const base = join(directory, "many.db");
  await measure("makePeerDatabase", base, "hot page", 0);
  const prepare = () => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    for (let i = 0; i < DATABASES; i++) cpSync(base, join(folder, `${i}.db`));
  };
  prepare();
  const ours = await measure("many", "sluice", folder, DATABASES, PER_SECOND, seconds);
  prepare();
  const databases = Array.from({ length: DATABASES }, (_, i) => ({
    path: join(folder, `${i}.db`),
    replica: inFolder(join(folder, `${i}.replica`)),
  }));
  const litestream = await Litestream.start(folder, databases);
  const native = await measure("many", "native", folder, DATABASES, PER_SECOND, seconds);
  const theirs = await litestream.stop();
  rmSync(folder, { recursive: true });
  rmSync(base);
  const perSecond = (ms: number) => `${(ms / seconds / DATABASES).toFixed(2)} ms a second`;
  const what = `${DATABASES} databases, ${PER_SECOND} commits a second each`;
  return {
    rows: [
      atMost(`${what}: longest lag`, ours.longestLagMs, LAG_GOAL_MS, milliseconds, `${ours.commits} commits`),
      {
        what: `${what}: processor time of each`,
        value: `${perSecond(ours.cpuMs)}; native and Litestream ${perSecond(native.cpuMs + theirs.cpuMs)}`,
      },
      {
        what: `${what}: memory of each`,
        value: `${mebibytes((ours.peakRss - ours.rssBefore) / DATABASES)}; native and Litestream ${mebibytes((native.peakRss - native.rssBefore + theirs.peakRss) / DATABASES)}`,
      },
      { what: `${what}: longest stall of the event loop`, value: milliseconds(ours.longestStallMs) },
    ],
    data: { ours, native, theirs },
  };
}
