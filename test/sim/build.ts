import { join } from "node:path";
import { bundle } from "../faults/bundle.ts";
import { type Mutation, mutate } from "./mutations.ts";

const root = join(import.meta.dirname, "../..");

/** Sizes at which something else begins, so small that small databases reach them. */
const SIZES = [
  ["src/plan-compaction.ts", "export const GROUP_SIZE = 16;", "export const GROUP_SIZE = 3;"],
  ["src/housekeeping-task.ts", "const UPLOADS_A_GROUP = 16;", "const UPLOADS_A_GROUP = 3;"],
  ["src/compact.ts", "export const INDEX_LIMIT = 2 << 20;", "export const INDEX_LIMIT = 1 << 10;"],
  ["src/prune.ts", "const BATCH = 1000;", "const BATCH = 3;"],
  ["src/follow-look.ts", "export const TAIL_LIMIT = 64;", "export const TAIL_LIMIT = 4;"],
  ["src/merge-backlog.ts", "const MERGE_AT_ONCE = 64;", "const MERGE_AT_ONCE = 3;"],
  ["src/snapshot-task.ts", "const FREE_SEGMENT_BYTES = 16 << 20;", "const FREE_SEGMENT_BYTES = 1 << 16;"],
  ["src/cache/side-file.ts", "const PART_SIZE = 256 * 1024;", "const PART_SIZE = 2048;"],
  ["src/cache/side-file.ts", "const KEPT_SIZE = 4 * 1024 * 1024;", "const KEPT_SIZE = 16 * 1024;"],
  ["src/gate.ts", "const DRAIN_AT = 24 << 20;", "const DRAIN_AT = 24 << 10;"],
  ["src/tasks.ts", "const WAL_LIMIT = 64 << 20;", "const WAL_LIMIT = 128 << 10;"],
  ["src/vfs/wal-buffer.ts", "const CAPACITY = 1 << 18;", "const CAPACITY = 1 << 12;"],
  ["src/vfs/capture.ts", "const FRAMES_AT_FIRST = 4096;", "const FRAMES_AT_FIRST = 16;"],
] as const;

/** Bundles the simulation into a folder; returns the script that simulates seeds. */
export function buildSimulation(folder: string, mutations: readonly Mutation[] = []): Promise<string> {
  const sizes = SIZES.map(([file, text, instead]) => ({ what: text, file, text, instead }));
  const plugins = [...sizes, ...mutations].map((each) => mutate(each, root));
  return bundle("test/sim/main.ts", folder, { whole: true, plugins });
}
