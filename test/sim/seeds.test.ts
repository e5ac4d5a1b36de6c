import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildSimulation } from "./build.ts";
import { type SeedResult, simulateSeeds } from "./children.ts";

/** `npm run sim` sets both. */
const seeds = Number(process.env.SLUICE_SEEDS ?? 1600);
const from = Number(process.env.SLUICE_SEED ?? 1);
const REPLAYED = 5;
const MOST_FAILURES = 3;

let folder: string;
let script: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-sim-"));
  script = await buildSimulation(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

test(`${seeds} seeds from ${from}: every invariant holds`, { timeout: 60_000 + seeds * 2000 }, async () => {
  const failed: SeedResult[] = [];
  const processes = Math.min(seeds, availableParallelism());
  await Promise.all(
    Array.from({ length: processes }, (_, i) => {
      const count = Math.ceil((seeds - i) / processes);
      return simulateSeeds(script, { from: from + i, count, step: processes }, (result) => {
        if (result.failure !== undefined) failed.push(result);
        return failed.length < MOST_FAILURES;
      });
    }),
  );
  const told = failed.map(({ seed, failure }) => `npm run sim -- --from ${seed} --seeds 1\n${failure}`);
  expect(told.join("\n\n")).toBe("");
});

test("a seed replays exactly, whatever was simulated before it", { timeout: 300_000 }, async () => {
  const hashes = async (first: number, count: number) => {
    const found = new Map<number, string>();
    await simulateSeeds(script, { from: first, count }, ({ seed, hash }) => {
      found.set(seed, hash);
      return true;
    });
    return found;
  };
  const [all, last] = await Promise.all([hashes(1, 2 * REPLAYED), hashes(1 + REPLAYED, REPLAYED)]);
  expect(all.size).toBe(2 * REPLAYED);
  for (const [seed, hash] of last) expect({ seed, hash: all.get(seed) }).toEqual({ seed, hash });
});
