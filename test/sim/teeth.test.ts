import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildSimulation } from "./build.ts";
import { simulateSeeds } from "./children.ts";
import { mutations } from "./mutations.ts";

/** Within so many seeds each is found. */
const SEEDS = 2000;

test.for(mutations)("finds: $what", { timeout: 300_000 }, async (mutation) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-teeth-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const script = await buildSimulation(folder, [mutation]);
  let found: number | null = null;
  await simulateSeeds(script, { from: mutation.from ?? 1, count: SEEDS }, ({ seed, failure }) => {
    if (failure !== undefined) found = seed;
    return found === null;
  });
  expect(found).not.toBeNull();
});
