import { join } from "node:path";
import type { CommitResult, CommitVariant } from "../commit.ts";
import type { BenchOptions, CaseResult } from "../main.ts";
import { measure } from "../processes.ts";
import {
  atLeast,
  atMost,
  mebibytes,
  median,
  milliseconds,
  pairedRatio,
  type Row,
  spread,
} from "../report.ts";

const MiB = 2 ** 20;
const goals = { FULL: 1.0, NORMAL: 0.95 } as const;

/** One-row commits that never yield: replicated against the same VFS alone, turn by turn. */
export async function commitCase({ directory, commits, rounds }: BenchOptions): Promise<CaseResult> {
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const synchronous of ["NORMAL", "FULL"] as const) {
    const results = [];
    for (let round = 0; round < rounds; round++)
      results.push(await measure("commits", join(directory, "commit"), synchronous, commits));
    data[synchronous] = results;
    rows.push(...summarize(synchronous, commits, results));
  }
  return { rows, data };
}

function summarize(
  synchronous: keyof typeof goals,
  commits: number,
  results: readonly Record<CommitVariant, CommitResult>[],
): Row[] {
  const ms = (variant: CommitVariant) => results.map((result) => result[variant].ms);
  const absolute = (base: CommitVariant) =>
    `${spread(ms(base), ms("replicated"))}; ${milliseconds(median(ms("replicated")))} vs ${milliseconds(median(ms(base)))}`;
  const wal = Math.max(...results.map((result) => result.replicated.walBytes));
  return [
    atLeast(
      `${commits} commits, ${synchronous}: replicated vs without the shim (exclusive)`,
      pairedRatio(ms("exclusive"), ms("replicated")),
      goals[synchronous],
      absolute("exclusive"),
    ),
    {
      what: `${commits} commits, ${synchronous}: replicated vs shared memory alone`,
      value: `${pairedRatio(ms("shared"), ms("replicated")).toFixed(2)}× (${absolute("shared")})`,
    },
    atMost(`${synchronous}: largest WAL meanwhile`, wal, 32 * MiB, mebibytes),
    {
      what: `${synchronous}: flush after the loop`,
      value: milliseconds(median(results.map((result) => result.replicated.flushMs))),
    },
  ];
}
