import { measureCommits, measureRequests } from "./commit.ts";
import { measureMany } from "./peers/many.ts";
import { measureStart } from "./peers/start.ts";
import { makePeerDatabase, measureWrite } from "./peers/write.ts";
import { measureCheck, measureRestore } from "./restore.ts";
import { addSegments, measureDrain, measureSnapshot } from "./snapshot.ts";
import { makeDatabase } from "./workload.ts";

/** What can be measured, each in a process of its own: its memory and its JIT are then its own too. */
export const measurements = {
  commits: measureCommits,
  requests: measureRequests,
  makeDatabase,
  snapshot: measureSnapshot,
  addSegments,
  drain: measureDrain,
  restore: measureRestore,
  check: measureCheck,
  makePeerDatabase,
  write: measureWrite,
  start: measureStart,
  many: measureMany,
};

export type Measurements = typeof measurements;

// `node child.js <name> <arguments as JSON>` prints the result as JSON.
const [name, args] = process.argv.slice(2);
if (name !== undefined && name in measurements) {
  const measure = measurements[name as keyof Measurements] as (...args: unknown[]) => Promise<unknown>;
  console.log(JSON.stringify((await measure(...JSON.parse(args!))) ?? null));
}
