import { Remote } from "../../web/remote.ts";
import { atLeast, atMost, median, milliseconds, pairedRatio, printTable, type Row } from "../report.ts";
import type { BenchCalls, Variant } from "./bench.worker.ts";

/** How much a run does, from the page's address. */
const query = new URLSearchParams(location.search);
const ROUNDS = Number(query.get("rounds") ?? 3);
const SCALE = Number(query.get("scale") ?? 1);
const COMMITS = 10_000 * SCALE;
/** Of the default journal, which takes a good ten times as long a commit. */
const JOURNAL_COMMITS = COMMITS / 10;
const TRANSACTIONS = 100 * SCALE;
const READ_MEGABYTES = 50 * SCALE;
const SNAPSHOT_MEGABYTES = 100 * SCALE;
const ROUND_TRIPS = 3000 * SCALE;

class BenchWorker {
  readonly #worker = new Worker(new URL("./bench.worker.ts", import.meta.url), { type: "module" });
  readonly #remote = new Remote(this.#worker, null, (thrown) => Object.assign(new Error(), thrown));

  call(name: keyof BenchCalls, ...args: unknown[]): Promise<unknown> {
    return this.#remote.call(name, ...args);
  }

  end(): void {
    this.#worker.terminate();
  }
}

async function within<T>(
  variant: Variant,
  synchronous: string,
  megabytes: number,
  act: (worker: BenchWorker) => Promise<T>,
): Promise<T> {
  const worker = new BenchWorker();
  try {
    await worker.call("open", variant, synchronous, megabytes);
    const result = await act(worker);
    await worker.call("close");
    return result;
  } finally {
    worker.end();
  }
}

/** Milliseconds a transaction, of each variant, in interleaved rounds. */
async function commitTimes(
  variants: Readonly<Record<string, number>>,
  synchronous: string,
  rows: number,
): Promise<Record<string, number[]>> {
  const times: Record<string, number[]> = {};
  for (let round = 0; round < ROUNDS; round++)
    for (const [variant, count] of Object.entries(variants)) {
      const ms = await within(variant as Variant, synchronous, 0, (worker) =>
        worker.call("commits", count, rows, round),
      );
      times[variant] ??= [];
      times[variant].push(Number(ms) / count);
      console.log(`${variant} ${synchronous} ${rows} rows: ${milliseconds(Number(ms))}`);
    }
  return times;
}

async function commitCase(): Promise<{ rows: Row[]; data: unknown }> {
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const [synchronous, goal] of [
    ["NORMAL", 1.8],
    ["FULL", 2.2],
  ] as const) {
    const variants = { replicated: COMMITS, "wal-exclusive": COMMITS, journal: JOURNAL_COMMITS };
    const times = await commitTimes(variants, synchronous, 1);
    const { replicated = [], journal = [] } = times;
    const exclusive = times["wal-exclusive"]!;
    const absolute = (base: number[]) => `${perSecond(replicated)} and ${perSecond(base)} commits/s`;
    rows.push(
      atLeast(
        `one-row commits, ${synchronous}: replicated vs WAL exclusive`,
        pairedRatio(exclusive, replicated),
        goal,
        absolute(exclusive),
      ),
      atLeast(
        `one-row commits, ${synchronous}: replicated vs the default journal`,
        pairedRatio(journal, replicated),
        12,
        absolute(journal),
      ),
    );
    data[synchronous] = times;
    const large = await commitTimes(
      { replicated: TRANSACTIONS, "wal-exclusive": TRANSACTIONS, journal: TRANSACTIONS / 10 },
      synchronous,
      1000,
    );
    for (const [variant, name] of [
      ["wal-exclusive", "WAL exclusive"],
      ["journal", "the default journal"],
    ] as const)
      rows.push({
        what: `transactions of 1,000 rows, ${synchronous}: replicated vs ${name}`,
        value: `${pairedRatio(large[variant]!, large.replicated!).toFixed(2)}× (${milliseconds(median(large.replicated!))} each)`,
      });
    data[`${synchronous} large`] = large;
  }
  return { rows, data };
}

function perSecond(times: readonly number[]): string {
  return (1000 / median(times)).toFixed(0);
}

async function readCase(): Promise<{ rows: Row[]; data: unknown }> {
  const times: Record<string, { points: number[]; scans: number[] }> = {};
  for (let round = 0; round < ROUNDS; round++)
    for (const variant of ["replicated", "wal-exclusive"] as const)
      await within(variant, "NORMAL", READ_MEGABYTES, async (worker) => {
        times[variant] ??= { points: [], scans: [] };
        await worker.call("scan");
        for (let i = 0; i < 3; i++) {
          times[variant].points.push(Number(await worker.call("pointReads", 20_000 * SCALE)));
          times[variant].scans.push(Number(await worker.call("scan")));
        }
      });
  const { replicated, "wal-exclusive": plain } = times as Record<
    string,
    { points: number[]; scans: number[] }
  >;
  const row = (what: string, ours: number[], base: number[]) =>
    atMost(
      `${what}: replicated / unshimmed`,
      1 / pairedRatio(base, ours),
      1.03,
      (ratio) => `${ratio.toFixed(3)}×`,
      milliseconds(median(ours)),
    );
  return {
    rows: [
      row("point reads", replicated!.points, plain!.points),
      row("full scans", replicated!.scans, plain!.scans),
    ],
    data: times,
  };
}

/** Milliseconds of each one-row commit as the page sees it, the shortest first. */
async function roundTrips(worker: BenchWorker, goesOn: (done: number) => boolean): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; goesOn(i); i++) {
    const began = performance.now();
    await worker.call("commitOne", i);
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b);
}

async function snapshotCase(): Promise<{ rows: Row[]; data: unknown }> {
  const ratios: number[] = [];
  const found: Record<string, number>[] = [];
  for (let round = 0; round < ROUNDS; round++)
    await within("replicated", "NORMAL", SNAPSHOT_MEGABYTES, async (worker) => {
      const at = (times: readonly number[], share: number) => times[Math.floor(times.length * share)]!;
      const alone = await roundTrips(worker, (done) => done < ROUND_TRIPS);
      let going = true;
      const snapshot = worker.call("snapshot").then(() => {
        going = false;
      });
      const times = await roundTrips(worker, () => going);
      await snapshot;
      ratios.push(at(times, 0.999) / at(alone, 0.999));
      found.push({
        alone: at(alone, 0.999),
        meanwhile: at(times, 0.999),
        aloneMedian: at(alone, 0.5),
        meanwhileMedian: at(times, 0.5),
        commits: times.length,
      });
    });
  const { alone, meanwhile } = found.at(-1)!;
  return {
    rows: [
      atMost(
        `round trip of a commit while ${SNAPSHOT_MEGABYTES} MB are snapshotted, p99.9: against without`,
        median(ratios),
        3,
        (ratio) => `${ratio.toFixed(2)}×`,
        `${milliseconds(meanwhile!)} and ${milliseconds(alone!)}`,
      ),
    ],
    data: found,
  };
}

const cases = { commit: commitCase, read: readCase, snapshot: snapshotCase };

async function main(): Promise<void> {
  const wanted = query.get("only")?.split(",") ?? Object.keys(cases);
  const results: Record<string, unknown> = { userAgent: navigator.userAgent, rounds: ROUNDS, scale: SCALE };
  for (const name of wanted) {
    const { rows, data } = await cases[name as keyof typeof cases]();
    printTable(rows);
    results[name] = { rows, data };
  }
  Object.assign(globalThis, { benchResults: results });
}

main().catch((error: unknown) => {
  Object.assign(globalThis, { benchResults: { error: String(error) } });
});
