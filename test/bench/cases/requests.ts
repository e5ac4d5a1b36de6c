import { join } from "node:path";
import type { BenchOptions, CaseResult } from "../main.ts";
import { measure } from "../processes.ts";

/** Requests and bytes that small commits cost, as fast as they come and spread over ten seconds. */
export async function requestsCase({ directory, commits }: BenchOptions): Promise<CaseResult> {
  const work = join(directory, "requests");
  const { replicated: burst } = await measure("commits", work, "NORMAL", commits);
  const spread = await measure("requests", work, commits, commits / 10);
  const cost = ({ segments, segmentBytes }: { segments: number; segmentBytes: number }) =>
    `${segments} PUTs, ${(segmentBytes / segments / 1024).toFixed(0)} KiB each, ` +
    `${(segmentBytes / commits).toFixed(0)} bytes a commit`;
  return {
    rows: [
      { what: `${commits} commits in one loop`, value: cost(burst) },
      { what: `${commits} commits over ${spread.seconds.toFixed(0)} s`, value: cost(spread) },
    ],
    data: { burst, spread },
  };
}
