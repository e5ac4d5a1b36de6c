import { describe, expect, onTestFinished, test } from "vitest";
import { armFaults } from "../../src/faults.ts";
import { Chain } from "../compaction/chain.ts";
import {
  DEATHS,
  type Death,
  FINE_RETENTION_SECS,
  RETENTION_SECS,
  type Tended,
  type Work,
} from "../compaction/tended.ts";
import { codecs, lineage } from "../format/objects.ts";
import { Random } from "../replicator/random.ts";
import { restored } from "./restored.ts";

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;
const FINE_MS = FINE_RETENTION_SECS * 1000;
const GROUP = 16;

export interface HousekeepingSuiteOptions {
  /** Rounds of four hours. Six and more have something to delete. */
  readonly rounds: number;
  /** Segments that are uploaded in a round. */
  readonly segments: number;
  /** One test for all deaths, in turns, where writing is slow; or one for each. */
  readonly inTurns?: boolean;
}

/**
 * What retention promises can be restored at every moment, while it is written to, and compactors and pruners work at
 * once, with clocks that differ by years, and some of them die in each round. `open` makes an empty replica.
 */
export function housekeepingSuite(
  name: string,
  open: () => Promise<Tended>,
  { rounds, segments, inTurns = false }: HousekeepingSuiteOptions,
): void {
  const cases: [string, readonly Death["at"][]][] = inTurns
    ? [["any point", DEATHS]]
    : DEATHS.map((at) => [at, [at]]);
  describe(`compactors and pruners of one replica: ${name}`, () => {
    test.each(cases)(
      "at once, while it is written to and restored, and some die at %s",
      async (_, deaths) => {
        onTestFinished(() => armFaults(null));
        const replica = await open();
        const random = new Random(deaths[0]!.length + rounds);
        const chain = new Chain(replica.store, replica.clock);
        await chain.claim();
        await chain.snapshotOfNothing();
        const died = new Set<string>();
        for (let round = 0; round < rounds; round++) {
          await chain.writeMany(segments - GROUP);
          if (round % 3 === 2) await chain.snapshot();
          await replica.age(4 * HOUR_MS);
          const death = deaths[round % deaths.length]!;
          // What is merged already can go at once.
          if (!death.startsWith("compact")) await replica.tend({ verb: "compact", skewMs: 0, death: null });
          const works = worksOf(random, death, Math.floor(round / deaths.length));
          const all = Promise.all(works.map(replica.tend));
          const [outcomes] = await Promise.all([
            all,
            chain.writeMany(GROUP),
            restoreUntil(all, chain, random),
          ]);
          if (outcomes.includes(true)) died.add(death);
          await expectPromised(chain);
        }
        expect([...died].sort()).toEqual([...deaths].sort());
        await replica.tend({ verb: "compact", skewMs: 0, death: null });
        await replica.tend({ verb: "prune", skewMs: 0, death: null });
        await expectPromised(chain);
        const deleted = chain.times.size - (await countOf(chain, "wal/0/"));
        expect(deleted).toBeGreaterThan(segments);
        expect(await countOf(chain, "wal/1/")).toBeGreaterThan(0);
      },
    );
  });
}

/**
 * Two that merge and two that delete, by rules of their own. In every other turn both of a kind die the first time that
 * they pass a point, so that one does for certain, and otherwise one of them, sooner or later.
 */
function worksOf(random: Random, at: Death["at"], turn: number): Work[] {
  const dying = at.startsWith("compact") ? "compact" : "prune";
  const pass = turn % 2 === 0 || dying === "prune" ? 1 : 1 + random.below(3);
  return (["compact", "prune", "compact", "prune"] as const).map((verb, i) => ({
    verb,
    skewMs: (random.below(3) - 1) * 400 * DAY_MS,
    ...(i === 3 && { fineRetentionSecs: 2 * FINE_RETENTION_SECS }),
    death: verb === dying && (turn % 2 === 0 || i < 2) ? { at, pass } : null,
  }));
}

/** The ends of segments that retention promises: each, and of those older than the fine part every 16th. */
function promised(chain: Chain, marginMs = 0): number[] {
  const now = chain.clock.now() + marginMs;
  return [...chain.times]
    .filter(([, time], i) => {
      const age = now - time;
      return age < FINE_MS || (age < RETENTION_SECS * 1000 && i % GROUP === GROUP - 1);
    })
    .map(([txid]) => txid);
}

async function expectPromised(chain: Chain): Promise<void> {
  const restorable = await chain.restorable();
  expect(promised(chain).filter((txid) => !restorable.has(txid))).toEqual([]);
}

/** Restores what is promised, one after the other at random, as long as others work on the replica, and once at least. */
async function restoreUntil(others: Promise<unknown>, chain: Chain, random: Random): Promise<void> {
  let working = true;
  const done = () => {
    working = false;
  };
  others.then(done, done);
  const txids = promised(chain, HOUR_MS);
  do {
    const txid = random.pick(txids);
    const { file } = await restored({ store: chain.store, lineage, codecs }, { txid });
    if (Buffer.compare(file, Buffer.concat(chain.states.get(txid)!)) !== 0)
      throw new Error(`a restore to ${txid} is not what was there`);
  } while (working);
}

async function countOf({ store }: Chain, prefix: string): Promise<number> {
  let count = 0;
  for await (const _ of store.list(prefix)) count += 1;
  return count;
}
