import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BenchOptions, CaseResult } from "../main.ts";
import { measure } from "../processes.ts";
import { atMost, mebibytes, milliseconds, type Row } from "../report.ts";
import type { DrainResult } from "../snapshot.ts";

/** One huge transaction, drained by the timer. */
export async function drainCase({ directory, bytes }: BenchOptions): Promise<CaseResult> {
  const rows: Row[] = [];
  const data: Record<string, DrainResult> = {};
  const sizes = [bytes / 20, bytes / 5];
  for (const synchronous of ["NORMAL", "FULL"]) {
    const grown: number[] = [];
    for (const size of sizes) {
      const work = join(directory, "drain");
      mkdirSync(work, { recursive: true });
      const replica = pathToFileURL(join(work, "replica")).href;
      const result = await measure("drain", join(work, "app.db"), replica, size, synchronous);
      rmSync(work, { recursive: true });
      data[`${synchronous} ${size}`] = result;
      grown.push(result.rssPeak - result.rssBefore);
      const what = `drain of one transaction of ${mebibytes(result.walBytes)}, ${synchronous}`;
      rows.push(
        {
          what: `${what}: time`,
          value: `${milliseconds(result.ms)} (commit ${milliseconds(result.commitMs)})`,
        },
        atMost(
          `${what}: longest stall`,
          result.longestStallMs,
          20,
          milliseconds,
          `next ${milliseconds(result.nextLongestStallMs)}`,
        ),
        { what: `${what}: memory over before`, value: mebibytes(grown.at(-1)!) },
      );
    }
    const frames = sizes.map((size) => data[`${synchronous} ${size}`]!.frames);
    rows.push({
      what: `${synchronous}: memory for each page more`,
      value: `${((grown[1]! - grown[0]!) / (frames[1]! - frames[0]!)).toFixed(0)} bytes`,
    });
  }
  return { rows, data };
}
