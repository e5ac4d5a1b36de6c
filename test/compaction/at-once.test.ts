import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll } from "vitest";
import { DirectoryStore } from "../../node/directory-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { housekeepingSuite } from "../suites/housekeeping.ts";
import { tendedHere } from "./tended.ts";
import { tendedByProcesses } from "./tended-by-processes.ts";

const base = mkdtempSync(join(tmpdir(), "sluice-at-once-"));
afterAll(() => rmSync(base, { recursive: true }));
let folders = 0;

housekeepingSuite(
  "memory",
  async () => {
    const store = new MemoryStore();
    return tendedHere(() => store);
  },
  { rounds: 10, segments: 45 },
);

housekeepingSuite(
  "a directory",
  async () => {
    const url = pathToFileURL(join(base, `${folders++}`));
    return tendedHere(() => new DirectoryStore(url));
  },
  { rounds: 10, segments: 45, inTurns: true },
);

housekeepingSuite("a directory, by processes", () => tendedByProcesses(base), {
  rounds: 6,
  segments: 30,
  inTurns: true,
});
