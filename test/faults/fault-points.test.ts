import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CrashSite, type History, type Run } from "./crash-fixture.ts";
import { faultPoints } from "./points.ts";

interface Scenario {
  /** What happens to a history that was stopped, before the life that passes the point. */
  readonly prepare?: (history: History) => void;
  readonly run?: Partial<Run>;
  /** For the lives after it too. */
  readonly config?: Run["config"];
  readonly damaged?: boolean;
  /** A resync is the answer to what was prepared, or to what the life itself did. */
  readonly resyncs?: boolean;
  /** From nothing, not from a history that was stopped. */
  readonly fresh?: boolean;
}

const writing: Scenario = {};
const beginning: Scenario = { fresh: true };
const restoring: Scenario = { prepare: (history) => history.loseDatabase(true) };
const restoringBesideCache: Scenario = { prepare: (history) => history.loseDatabase(false) };
const changed: Scenario = { prepare: (history) => history.changeDatabase(), resyncs: true };
const checkpointing: Scenario = { run: { config: { checkpointPages: 1 } } };
/** Enough segments to be merged, and snapshots to be thinned. */
const tending: Scenario = { run: { transactions: 160, config: { syncIntervalMs: 1, uploadIntervalMs: 0 } } };
const stopping: Scenario = { run: { transactions: 2 } };
const overflowing: Scenario = {
  run: {
    offline: true,
    transactions: 300,
    config: { maxCacheSize: 65536, syncIntervalMs: 1, uploadIntervalMs: 0 },
  },
  resyncs: true,
};
/** The next life uploads what is left of the backlog before it looks at the database, and resyncs from there. */
const overflowingBehindHead: Scenario = { ...overflowing, config: { onUnknownLocal: "adopt-local" } };
/** What the crash leaves of it is damaged still. */
const damaged: Scenario = { run: { offline: true }, damaged: true, resyncs: true };
const adopting = (onUnknownLocal: "adopt-local" | "adopt-remote"): Scenario => ({
  prepare: (history) => {
    history.changeDatabase();
    history.loseCache();
  },
  config: { onUnknownLocal },
  resyncs: true,
});

const scenarios: Record<string, Scenario> = {
  "adopt:before-record": adopting("adopt-local"),
  "adopt:before-restore": adopting("adopt-remote"),
  "cache:after-rename": writing,
  "cache:before-ack-sync": writing,
  "cache:before-rename": writing,
  "compact:after-put": tending,
  "compact:before-put": tending,
  "discard:after-mark": damaged,
  "discard:before-ack": damaged,
  "drain:after-checkpoint": checkpointing,
  "drain:after-commit": writing,
  "drain:before-checkpoint": checkpointing,
  "drain:before-commit": writing,
  "drain:begin": writing,
  "gate:drained": writing,
  "merge:before-commit": overflowing,
  "overflow:after-drop": overflowingBehindHead,
  "overflow:after-mark": overflowingBehindHead,
  "prune:after-delete": tending,
  "prune:before-delete": tending,
  "restore:after-rename": restoring,
  "restore:before-finish": restoring,
  "restore:before-page-one": restoring,
  "restore:before-record": restoringBesideCache,
  "restore:before-rename": restoringBesideCache,
  "restore:object": restoring,
  "resync:after-commit": changed,
  "resync:before-commit": changed,
  "snapshot:before-metadata": beginning,
  "snapshot:before-publish": beginning,
  "start:after-record": beginning,
  "start:before-mark": changed,
  "start:before-record": beginning,
  "start:opened": writing,
  "stop:after-checkpoint": stopping,
  "stop:before-checkpoint": stopping,
  "stop:before-record": stopping,
  "upload:after-ack": writing,
  "upload:after-claim": beginning,
  "upload:before-ack": writing,
  "upload:before-put": writing,
};

const site = new CrashSite();
let stopped: History;

beforeAll(async () => {
  await site.prepare();
  stopped = site.history(1);
  expect((await stopped.live({ transactions: 25, kill: null })).killed).toBe(false);
});
afterAll(() => site.clear());

test("every fault point in the source has its test", () => {
  const elsewhere = /^follow:/; // test/follow/crash.test.ts
  expect(faultPoints().filter((point) => !elsewhere.test(point))).toEqual(Object.keys(scenarios).sort());
});

describe.concurrent("SIGKILL at the fault point", () => {
  for (const [point, { prepare, run, config, damaged, resyncs, fresh }] of Object.entries(scenarios)) {
    test(point, async ({ expect }) => {
      const history = fresh ? site.history(2) : site.copyOf(stopped);
      prepare?.(history);
      const kill = { at: "fault", point, count: 1 } as const;
      const both = { ...(config && { config }), ...(damaged && { damaged }) };
      const cut = await history.live({ transactions: 40, ...both, ...run, kill });
      expect(cut.killed, "the life passes the point").toBe(true);
      const next = await history.live({ ...both, transactions: 5, kill: null });
      expect(next.killed).toBe(false);
      if (!resyncs) expect([...cut.lines, ...next.lines].filter((line) => /^resync/.test(line))).toEqual([]);
    });
  }
});
