import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CrashSite, type History, type Run } from "./crash-fixture.ts";
import { Random } from "./random.ts";

const KILLS = Number(process.env.SLUICE_KILLS ?? 300);
const SEED = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
/** Histories under way at one time. */
const LANES = 2;
const KILLS_OF_A_HISTORY = 15;
const PAGE_SIZES = [null, 512, 4096, 65536];

const site = new CrashSite();
beforeAll(() => site.prepare());
afterAll(() => site.clear());

test(`${KILLS} SIGKILLs lose nothing (SLUICE_SEED=${SEED})`, {
  timeout: 10_000 + KILLS * 4_000,
}, async () => {
  let left = KILLS;
  let seed = SEED;
  const lane = async () => {
    while (left > 0) {
      const kills = Math.min(KILLS_OF_A_HISTORY, left);
      left -= kills;
      await surviveKills(seed++, kills);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
});

async function surviveKills(seed: number, kills: number): Promise<void> {
  const random = new Random(seed);
  const history = site.history(seed * 1000);
  const pageSize = random.pick(PAGE_SIZES);
  if (pageSize !== null) history.createDatabase(pageSize);
  for (let killed = 0; killed < kills; ) {
    const ending = await history.live(someRun(random));
    expectNoResync(ending.lines, seed);
    if (ending.killed) killed += 1;
    else if (random.chance(0.6)) history.loseDatabase(random.chance(0.5));
  }
  await expectGoodEnd(history, seed);
}

function someRun(random: Random): Run {
  const transactions = random.spread(30);
  const half = random.chance(0.3);
  switch (random.pick(["outside", "file-call", "fault"])) {
    case "outside":
      return { transactions, kill: null, killAfterLines: random.spread(60) };
    case "file-call":
      return { transactions, kill: { at: "file-call", count: random.spread(600), half } };
    default:
      return { transactions, kill: { at: "fault", count: random.spread(50) } };
  }
}

/** A life that is left in peace verifies all that came before; what it leaves behind, others can read. */
async function expectGoodEnd(history: History, seed: number): Promise<void> {
  const { killed, lines } = await history.live({ transactions: 3, kill: null });
  expect(killed).toBe(false);
  expectNoResync(lines, seed);
  expect(execFileSync("sqlite3", [history.path, "PRAGMA integrity_check"], { encoding: "utf8" })).toBe(
    "ok\n",
  );
}

function expectNoResync(lines: readonly string[], seed: number): void {
  expect(
    lines.filter((line) => line.startsWith("resync")),
    `a crash can be followed; history ${seed}`,
  ).toEqual([]);
}
