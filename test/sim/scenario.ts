import { type CommonConfig, checkRetention, type Retention } from "../../src/config.ts";
import type { Random } from "../replicator/random.ts";

export const MOST_MACHINES = 3;

/** Milliseconds. */
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** What a seed makes of the world before it begins. */
export interface Scenario {
  readonly pageSize: number;
  /** How much a step of the application writes, as a part of what the workload does elsewhere. */
  readonly scale: number;
  /** Of all connections; null: each sets it as it likes, also OFF. */
  readonly synchronous: 1 | 2 | null;
  readonly machines: number;
  /** Steps of each application. */
  readonly steps: number;
  /** The longest between two of them, milliseconds. */
  readonly pauseMs: number;
  /** The store honours If-None-Match. */
  readonly atomic: boolean;
  readonly config: CommonConfig;
  /** The rules of each process that merges and deletes beside the writers. */
  readonly keepers: readonly Retention[];
  /** The shortest that is kept, by these and by the writers. */
  readonly retention: Retention;
  /** The longest between two runs of each, milliseconds. */
  readonly keepMs: number;
  readonly followers: number;
  readonly pollIntervalMs: number;
  /** Somebody restores now and then, to elsewhere. */
  readonly readers: boolean;
  /** How often something happens to the world, milliseconds. */
  readonly chaosMs: number;
  /** How long a machine sleeps while others go on, and how long all of them do. */
  readonly naps: readonly number[];
  /** How likely a request, a change of the queue, goes wrong while there is trouble. */
  readonly storeTrouble: number;
  readonly queueTrouble: number;
  readonly fullDisks: boolean;
  /** Machines may lose their write cache, or all that they have. */
  readonly losses: boolean;
  /** How likely the end of a process is that of the machine's power. */
  readonly powerLoss: number;
  /** How likely another program changes the database between two processes. */
  readonly meddling: number;
  /** How many operations a process lives for. */
  readonly crashAfter: (random: Random) => number;
}

const PAGE_SIZES = [
  512, 512, 512, 512, 1024, 1024, 1024, 1024, 2048, 4096, 4096, 4096, 4096, 8192, 16384, 65536,
];
const SMALL_PAGE_SIZES = [512, 512, 512, 512, 512, 1024, 4096];

/** Seconds of history, and of all of it. */
const RETENTIONS = [
  [6 * 3600, 6 * 3600],
  [24 * 3600, 6 * 3600],
  [48 * 3600, 6 * 3600],
  [7 * 86_400, 86_400],
] as const;

/** Most seeds are small: many short lives find more than a few long ones in the same time. */
export function scenarioOf(random: Random): Scenario {
  const small = random.chance(0.98);
  // Minutes of much that happens, or days with pauses in which history grows old.
  const busy = random.chance(0.6);
  const machines = random.pick([1, 1, 1, 2, 2, MOST_MACHINES]);
  const chaosMs = busy ? random.pick([200, 2000, 20_000]) : random.pick([HOUR, 4 * HOUR]);
  const crashes = random.pick([0, 0.5, 0.9]);
  const steps = (small ? 5 : 20) + random.below(small ? 20 : 60);
  const [retentionSecs, fineRetentionSecs] = random.pick(RETENTIONS);
  const keepers = Array.from({ length: random.pick(busy ? [0, 0, 1, 2] : [0, 1, 2, 2]) }, () => {
    const [secs, fineSecs] = random.pick(RETENTIONS);
    return checkRetention(secs, fineSecs)!;
  });
  return {
    pageSize: random.pick(small ? SMALL_PAGE_SIZES : PAGE_SIZES),
    scale: small ? 0.1 : 1,
    synchronous: random.pick([1, 1, 1, 2, 2, 2, null]),
    machines,
    steps: busy ? steps : 2 * steps,
    pauseMs: busy ? 3000 : random.pick([HOUR, 6 * HOUR]),
    atomic: machines > 1 || random.chance(0.85),
    config: {
      snapshotIntervalSecs: random.pick([0, 10, 3600]),
      maxCacheSize: random.pick([1 << 16, 1 << 18, 1 << 27]),
      syncIntervalMs: random.pick([1, 20, 1000]),
      uploadIntervalMs: random.pick([0, 100, 10_000]),
      checkpointPages: random.pick([1, 20, 1000]),
      stopTimeoutMs: random.pick([10, 5000]),
      compaction: random.chance(0.8),
      retentionSecs,
      fineRetentionSecs,
    },
    keepers,
    retention: shortest([checkRetention(retentionSecs, fineRetentionSecs)!, ...keepers]),
    keepMs: 4 * chaosMs,
    followers: random.pick([0, 0, 1]),
    pollIntervalMs: chaosMs,
    readers: random.chance(0.3),
    chaosMs,
    naps: busy ? [1000, MINUTE] : [7 * HOUR, 2 * DAY, 2 * DAY],
    storeTrouble: random.pick([0, 0.05, 0.3]),
    queueTrouble: random.pick([0, 0, 0.1]),
    fullDisks: random.chance(0.2),
    losses: random.chance(0.2),
    powerLoss: random.pick([0, 0.5, 1]),
    meddling: random.pick([0, 0, 0.2]),
    crashAfter: (dice) =>
      dice.chance(crashes)
        ? 1 + Math.floor((small ? 1000 : 3000) ** (dice.below(1000) / 1000))
        : Number.POSITIVE_INFINITY,
  };
}

function shortest(rules: readonly Retention[]): Retention {
  return {
    retentionMs: Math.min(...rules.map(({ retentionMs }) => retentionMs)),
    fineRetentionMs: Math.min(...rules.map(({ fineRetentionMs }) => fineRetentionMs)),
  };
}
