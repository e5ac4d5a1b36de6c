import type { CommonConfig } from "../../src/config.ts";
import type { Random } from "../replicator/random.ts";

export const MOST_MACHINES = 3;

/** What a seed makes of the world before it begins. */
export interface Scenario {
  readonly pageSize: number;
  /** Of all connections; null: each sets it as it likes, also OFF. */
  readonly synchronous: 1 | 2 | null;
  readonly machines: number;
  /** Steps of each application. */
  readonly steps: number;
  /** The store honours If-None-Match. */
  readonly atomic: boolean;
  readonly config: CommonConfig;
  /** How often something happens to the world, milliseconds. */
  readonly chaosMs: number;
  /** How likely a request, a change of the queue, goes wrong while there is trouble. */
  readonly storeTrouble: number;
  readonly queueTrouble: number;
  readonly fullDisks: boolean;
  /** Machines may lose their write cache, or all that they have. */
  readonly losses: boolean;
  /** How likely the end of a process is that of the machine's power. */
  readonly powerLoss: number;
  /** How many operations a process lives for. */
  readonly crashAfter: (random: Random) => number;
}

const PAGE_SIZES = [
  512, 512, 512, 512, 1024, 1024, 1024, 1024, 2048, 4096, 4096, 4096, 4096, 8192, 16384, 65536,
];

export function scenarioOf(random: Random): Scenario {
  const machines = random.pick([1, 1, 1, 2, 2, MOST_MACHINES]);
  const crashes = random.pick([0, 0.5, 0.9]);
  return {
    pageSize: random.pick(PAGE_SIZES),
    synchronous: random.pick([1, 1, 1, 2, 2, 2, null]),
    machines,
    steps: 20 + random.below(60),
    atomic: machines > 1 || random.chance(0.85),
    config: {
      snapshotIntervalSecs: random.pick([0, 10, 3600]),
      maxCacheSize: random.pick([1 << 16, 1 << 18, 1 << 27]),
      syncIntervalMs: random.pick([1, 20, 1000]),
      uploadIntervalMs: random.pick([0, 100, 10_000]),
      checkpointPages: random.pick([1, 20, 1000]),
      stopTimeoutMs: random.pick([10, 5000]),
    },
    chaosMs: random.pick([200, 2000, 20_000]),
    storeTrouble: random.pick([0, 0.05, 0.3]),
    queueTrouble: random.pick([0, 0, 0.1]),
    fullDisks: random.chance(0.2),
    losses: random.chance(0.2),
    powerLoss: random.pick([0, 0.5, 1]),
    crashAfter: (dice) =>
      dice.chance(crashes) ? 1 + Math.floor(3000 ** (dice.below(1000) / 1000)) : Number.POSITIVE_INFINITY,
  };
}
