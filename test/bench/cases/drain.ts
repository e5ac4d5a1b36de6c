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
  const sizes = [bytes / 40, bytes / 5];
  const work = join(directory, "drain");
  const drain = async (size: number, synchronous: string, inUse: boolean) => {
    mkdirSync(work, { recursive: true });
    const replica = pathToFileURL(join(work, "replica")).href;
    const result = await measure("drain", join(work, "app.db"), replica, size, synchronous, inUse);
    rmSync(work, { recursive: true });
    data[`${synchronous} ${size} ${inUse ? "memory" : "time"}`] = result;
    return result;
  };
  for (const synchronous of ["NORMAL", "FULL"]) {
    const result = await drain(sizes[1]!, synchronous, false);
    const what = `drain of one transaction of ${mebibytes(result.walBytes)}, ${synchronous}`;
    rows.push(
      { what, value: `${milliseconds(result.ms)} (its commit ${milliseconds(result.commitMs)})` },
      atMost(
        `${what}: longest stall`,
        result.longestStallMs,
        20,
        milliseconds,
        `next ${milliseconds(result.nextLongestStallMs)}`,
      ),
      { what: `${what}: resident memory`, value: mebibytes(result.rssPeak) },
    );
  }
  const [small, large] = [await drain(sizes[0]!, "NORMAL", true), await drain(sizes[1]!, "NORMAL", true)];
  rows.push(
    atMost(
      "memory in use for each page more in a transaction",
      (large.usedGrowth - small.usedGrowth) / (large.frames - small.frames),
      32,
      (value) => `${value.toFixed(1)} bytes`,
      `${mebibytes(small.usedGrowth)} at ${small.frames} pages, ${mebibytes(large.usedGrowth)} at ${large.frames}`,
    ),
  );
  return { rows, data };
}
