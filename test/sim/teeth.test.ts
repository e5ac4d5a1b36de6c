import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { bundle } from "../faults/bundle.ts";
import { simulateSeeds } from "./children.ts";
import { mutate, mutations } from "./mutations.ts";

const root = join(import.meta.dirname, "../..");
/** Within so many seeds each is found. */
const SEEDS = 40;

test.for(mutations)("finds: $what", { timeout: 300_000 }, async (mutation) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-teeth-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const plugins = [mutate(mutation, root)];
  const script = await bundle("test/sim/main.ts", folder, { whole: true, plugins });
  let found: number | null = null;
  await simulateSeeds(script, { from: 1, count: SEEDS }, ({ seed, failure }) => {
    if (failure !== undefined) found = seed;
    return found === null;
  });
  expect(found).not.toBeNull();
});
