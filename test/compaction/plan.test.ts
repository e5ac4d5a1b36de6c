import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { snapshotKey } from "../../src/format/keys.ts";
import { frontier, groupsToRemake, levelsOf, nextGroups } from "../../src/plan-compaction.ts";
import { planRetention, type RetentionRules } from "../../src/plan-retention.ts";
import type { SegmentInfo } from "../../src/replica.ts";
import { seed } from "../seed.ts";
import { HOUR_MS, KeyWorld, noFacts } from "./key-world.ts";

const DAY_MS = 24 * HOUR_MS;
const rules: RetentionRules = {
  retentionMs: 7 * DAY_MS,
  fineRetentionMs: DAY_MS,
  deletesLevel0: true,
  pinned: [],
};

function uploaded(count: number, everyMs = 1000): KeyWorld {
  const world = new KeyWorld();
  world.snapshot();
  for (let i = 0; i < count; i++) {
    world.now += everyMs;
    world.upload(1 + (i % 3));
  }
  return world;
}

function keysOf(groups: readonly (readonly { readonly key: string }[])[]): string[][] {
  return groups.map((group) => group.map(({ key }) => key));
}

describe("groups", () => {
  test("16 neighbours make one of the next level, and what is left over waits", () => {
    const world = uploaded(16 * 16 * 16 + 16 * 16 + 16 + 3);
    world.compact();
    const counts = levelsOf(world.list()).map((segments) => segments.length);
    expect(counts).toEqual([4371, 273, 17, 1]);
    expect(world.newestCount()).toBe(1 + 1 + 1 + 1 + 3);
  });

  test("they are the same whatever of what is covered was deleted", () => {
    fc.assert(
      fc.property(fc.nat(1200), fc.infiniteStream(fc.boolean()), (count, chances) => {
        const world = uploaded(count);
        world.compact();
        for (let i = 0; i < 40; i++) world.upload(1);
        const whole = levelsOf(world.list());
        const covered = (level: number, maxTxid: number) =>
          whole.slice(level + 1).some((above) => above.some((one) => one.maxTxid! >= maxTxid));
        for (const { key, level, maxTxid } of [...world.segments.values()])
          if (covered(level, maxTxid) && chances.next().value) world.segments.delete(key);
        const rest = levelsOf(world.list());
        for (const level of [1, 2, 3]) {
          const expected = keysOf(nextGroups(whole, level, noFacts()));
          expect(keysOf(nextGroups(rest, level, noFacts()))).toEqual(expected);
          expect(keysOf(nextGroups(frontier(rest), level, noFacts()))).toEqual(expected);
        }
      }),
      { numRuns: 25, ...seed },
    );
  });

  test("what cannot be merged ends a group early, and is passed over", () => {
    const world = uploaded(40);
    const levels = levelsOf(world.list());
    const facts = noFacts();
    facts.unmergeable.add(levels[0]![5]!.key);
    facts.breaks.add(levels[0]![10]!.minTxid);
    const groups = nextGroups(levels, 1, facts).map((group) => levels[0]!.indexOf(group[0]!));
    expect(groups).toEqual([0, 6, 10]);
    expect(nextGroups(levels, 1, facts).map((group) => group.length)).toEqual([5, 4, 16]);
  });
});

describe("retention", () => {
  test("of a long history what a restore needs stays, and little else", () => {
    const world = new KeyWorld();
    for (let hour = 0; hour < 10 * 24; hour++) {
      world.snapshot();
      for (let i = 0; i < 12; i++) {
        world.now += 5 * 60_000;
        world.upload(1);
      }
      world.compact();
      world.remake(rules.fineRetentionMs);
      world.delete(world.plan(rules), () => true);
    }
    const { snapshots, segments } = world.list();
    // One a day, the newest, and the base.
    expect(snapshots.length).toBeLessThanOrEqual(10);
    const counts = levelsOf({ snapshots, segments }).map((level) => level.length);
    expect(counts[0]).toBeLessThan(24 * 12 + 10 * 32);
    expect(counts[1]).toBeLessThan(8 * 18 + 10 * 16);
    expect(world.newestCount()).toBeLessThanOrEqual(70);
  });

  test("a key of level 0 is never freed where creates are not exclusive", () => {
    const world = uploaded(600, 30 * 60_000);
    for (let i = 0; i < 300; i++) {
      world.now += HOUR_MS;
      world.upload(1);
      if (i % 12 === 0) world.snapshot();
    }
    world.compact();
    world.remake(rules.fineRetentionMs);
    const levelsGoing = (deletesLevel0: boolean) =>
      new Set(
        planRetention(world.list(), { ...rules, deletesLevel0 }).map(({ object }) =>
          "level" in object ? object.level : "snapshot",
        ),
      );
    expect(levelsGoing(true)).toContain(0);
    expect(levelsGoing(false)).not.toContain(0);
    expect(levelsGoing(false)).toContain("snapshot");
  });

  test("nothing goes where the keys show a gap", () => {
    const world = uploaded(600);
    world.compact();
    expect(world.plan(rules).deletions).not.toEqual([]);
    for (const { key, minTxid } of [...world.segments.values()])
      if (minTxid > 1023 && minTxid < 1060) world.segments.delete(key);
    expect(world.plan(rules).deletions).toEqual([]);
  });

  test("a group of which some have gone is not made again, nor anything else of what is left", () => {
    const world = uploaded(256);
    world.compact();
    const [fine, ones] = levelsOf(world.list()) as [SegmentInfo[], SegmentInfo[]];
    world.segments.delete(ones[3]!.key);
    const groups = () => groupsToRemake(levelsOf(world.list()), noFacts(), () => true);
    expect(keysOf(groups().map(({ group }) => group))).toEqual(keysOf([fine.slice(48, 64)]));
    expect(groups()[0]!.maxTxid).toBe(ones[3]!.maxTxid);
    for (const { key } of fine.slice(50, 53)) world.segments.delete(key);
    expect(groups()).toEqual([]);
  });

  test("a snapshot from which nothing leads on is not the base", () => {
    const world = uploaded(64);
    world.compact();
    // It was under way for so long that a pruner that did not know of it took its group's level 0.
    for (const { key, level } of [...world.segments.values()]) if (level === 0) world.segments.delete(key);
    const { minTxid } = levelsOf(world.list())[1]![1]!;
    world.now += DAY_MS;
    world.snapshots.set(minTxid, world.now);
    world.now += 2 * DAY_MS;
    for (let i = 0; i < 32; i++) world.upload(1);
    world.compact();
    world.now += 6 * DAY_MS;
    world.snapshot();
    const promised = world.promised(rules, 0);
    expect(promised.length).toBe(2 + 1);
    world.delete(world.plan(rules), () => true);
    const restorable = world.restorable();
    expect(promised.filter((txid) => !restorable.has(txid))).toEqual([]);
  });

  test("a snapshot that was published late makes no other one the first of its day, and so the base", () => {
    const world = uploaded(10);
    const late = world.txid;
    for (let i = 0; i < 10; i++) world.upload(1);
    world.now += HOUR_MS;
    world.snapshot();
    const second = world.txid;
    world.now += 9 * DAY_MS;
    world.upload(1);
    world.snapshot();
    const going = () => world.plan(rules).deletions.map(({ object }) => object.key);
    expect(going()).toEqual([snapshotKey(second)]);
    // By a writer that had slept meanwhile.
    world.snapshots.set(late, world.now);
    expect(going()).toEqual([snapshotKey(late), snapshotKey(second)]);
  });

  test("a snapshot under way keeps its way to the end", () => {
    const world = uploaded(8);
    const pinned = world.txid;
    for (let i = 0; i < 16 * 17; i++) world.upload(1);
    world.compact();
    const goes = (pins: number[]) =>
      world.plan({ ...rules, pinned: pins }).deletions.map(({ object }) => object.key);
    const needed = goes([]).filter((key) => !goes([pinned]).includes(key));
    expect(needed.length).toBe(15); // of level 1; level 0 stays by itself
  });

  /** Everything at once, by two pruners with rules of their own that act on listings up to an hour old, and die anywhere. */
  test("what is promised can be restored at every moment", () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ do: fc.constant("write" as const), count: fc.integer({ min: 1, max: 60 }) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant("wait" as const), hours: fc.constantFrom(0.2, 0.9, 3, 20) }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("snapshot" as const) }) },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant("compact" as const), count: fc.integer({ min: 1, max: 40 }) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ do: fc.constant("remake" as const), count: fc.integer({ min: 1, max: 20 }) }),
      },
      { weight: 4, arbitrary: fc.record({ do: fc.constant("plan" as const), who: fc.nat(1) }) },
      {
        weight: 6,
        arbitrary: fc.record({ do: fc.constant("delete" as const), who: fc.nat(1), seed: fc.nat(7) }),
      },
    );
    const minute = fc.constantFrom(1000, 20_000, 5 * 60_000);
    const fine = fc.constantFrom(6, 24);
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), minute, fine, (steps, everyMs, hours) => {
        const pruners: RetentionRules[] = [
          { ...rules, retentionMs: 2 * DAY_MS, fineRetentionMs: hours * HOUR_MS },
          { ...rules, retentionMs: 3 * DAY_MS, fineRetentionMs: 12 * HOUR_MS },
        ];
        const least = { ...rules, retentionMs: 2 * DAY_MS, fineRetentionMs: Math.min(hours, 12) * HOUR_MS };
        const world = uploaded(16 * 20, everyMs);
        const plans = pruners.map((pruner) => world.plan(pruner));
        for (const step of steps) {
          if (step.do === "write")
            for (let i = 0; i < step.count; i++) {
              world.now += everyMs;
              world.upload(1 + (i % 2));
            }
          if (step.do === "wait") world.now += step.hours * HOUR_MS;
          if (step.do === "snapshot") world.snapshot();
          if (step.do === "compact") world.compact(step.count);
          if (step.do === "remake") world.remake(least.fineRetentionMs, step.count);
          if (step.do === "plan") plans[step.who] = world.plan(pruners[step.who]!);
          if (step.do === "delete")
            world.delete(plans[step.who]!, (i) => step.seed === 0 || i % 8 !== step.seed);
          const restorable = world.restorable();
          const lost = world.promised(least, 0).filter((txid) => !restorable.has(txid));
          expect(lost).toEqual([]);
        }
      }),
      { numRuns: 50, ...seed },
    );
  });
});
