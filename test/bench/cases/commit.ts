import { join } from "node:path";
import type { CommitResult, CommitVariant } from "../commit.ts";
import type { BenchOptions, CaseResult } from "../main.ts";
import { measure } from "../processes.ts";
import { atLeast, atMost, mebibytes, median, milliseconds, pairedRatio, type Row } from "../report.ts";

const MiB = 2 ** 20;
const goals = { FULL: 1.0, NORMAL: 0.95 } as const;
const variants: readonly CommitVariant[] = ["replicated", "exclusive", "shared"];

/** One-row commits that never yield: replicated against the same VFS alone, turn by turn. */
export async function commitCase({ directory, commits, rounds }: BenchOptions): Promise<CaseResult> {
  const rows: Row[] = [];
  const data: Record<string, Record<CommitVariant, CommitResult[]>> = {};
  for (const synchronous of ["NORMAL", "FULL"] as const) {
    const results: Record<CommitVariant, CommitResult[]> = { replicated: [], exclusive: [], shared: [] };
    data[synchronous] = results;
    for (let round = 0; round < rounds; round++)
      // Each variant comes first, second and third equally often.
      for (let i = 0; i < variants.length; i++) {
        const variant = variants[(round + i) % variants.length]!;
        results[variant].push(
          await measure("commits", join(directory, "commit"), variant, synchronous, commits),
        );
      }
    rows.push(...summarize(synchronous, commits, results));
  }
  return { rows, data };
}

function summarize(
  synchronous: keyof typeof goals,
  commits: number,
  { replicated, exclusive, shared }: Record<CommitVariant, CommitResult[]>,
): Row[] {
  const ms = (results: readonly CommitResult[]) => results.map((result) => result.ms);
  const ours = median(ms(replicated));
  const absolute = (base: readonly CommitResult[]) =>
    `${milliseconds(ours)} vs ${milliseconds(median(ms(base)))}`;
  const wal = Math.max(...replicated.map((result) => result.walBytes));
  return [
    atLeast(
      `${commits} commits, ${synchronous}: replicated vs without the shim (exclusive)`,
      pairedRatio(ms(exclusive), ms(replicated)),
      goals[synchronous],
      absolute(exclusive),
    ),
    {
      what: `${commits} commits, ${synchronous}: replicated vs shared memory alone`,
      value: `${pairedRatio(ms(shared), ms(replicated)).toFixed(2)}× (${absolute(shared)})`,
    },
    atMost(`${synchronous}: largest WAL meanwhile`, wal, 32 * MiB, mebibytes),
    {
      what: `${synchronous}: flush after the loop`,
      value: milliseconds(median(replicated.map((result) => result.flushMs))),
    },
  ];
}
