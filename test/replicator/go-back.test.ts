import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  ConfigError,
  NotRestorableError,
  type RestoreOptions,
  type SqliteReplicator,
  type SqliteReplicatorConfig,
  UnknownLocalHistoryError,
} from "../../node/index.ts";
import { armFaults } from "../../src/faults.ts";
import { createQuietly, type ForkedHistory, forkedHistory, hashFolder } from "./history-fixture.ts";

let history: ForkedHistory;
beforeAll(async () => {
  history = await forkedHistory();
});
afterAll(() => fs.rmSync(history.folder, { recursive: true }));
afterEach(() => armFaults(null));

/** Transaction 1 makes 500 rows, each further one 5. */
const rowsAt = (txid: number) => 495 + 5 * txid;
const NEWEST = 7;

interface Place {
  readonly replica: string;
  readonly dbPath: string;
}

/** A replica of the test's own, and where its database is; `live`: with the database that wrote it, and its record. */
function place({ live }: { live: boolean }): Place {
  const folder = fs.mkdtempSync(join(history.folder, "place-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  const source = join(history.replica, "..");
  const names = ["replica", ...(live ? ["live.db", "live.db-sluice"] : [])];
  for (const name of names)
    fs.cpSync(join(source, name), join(folder, name), { recursive: true, preserveTimestamps: true });
  return { replica: join(folder, "replica"), dbPath: join(folder, "live.db") };
}

async function withReplicator<T>(
  { replica, dbPath }: Place,
  use: (replicator: SqliteReplicator) => Promise<T>,
  config: Partial<SqliteReplicatorConfig> = {},
): Promise<T> {
  const replicator = await createQuietly({ dbPath, replica: `file://${replica}`, ...config });
  try {
    return await use(replicator);
  } finally {
    await replicator.stop();
  }
}

const restore = (at: Place, options: RestoreOptions) =>
  withReplicator(at, (replicator) => replicator.restore({ overwrite: true, ...options }));

/** Starts, and says how many rows there are. */
const startAndCount = (at: Place, config: Partial<SqliteReplicatorConfig> = {}) =>
  withReplicator(
    at,
    async (replicator) => {
      await replicator.start();
      const db = replicator.openDatabase();
      const rows = db.selectValue("SELECT count(*) FROM t");
      db.close();
      await replicator.flush();
      return rows;
    },
    config,
  );

/** How many rows the newest state has, or that of a transaction, restored elsewhere and opened by sqlite3. */
async function restoredRows({ replica, dbPath }: Place, txid?: number): Promise<number> {
  const copy = { replica, dbPath: `${dbPath}.copy` };
  await restore(copy, txid === undefined ? {} : { txid });
  return Number(execFileSync("sqlite3", [copy.dbPath, "SELECT count(*) FROM t"], { encoding: "utf8" }));
}

describe("back to a transaction or a time", () => {
  test("each state, by all ways to say a time", async () => {
    const at = place({ live: false });
    const times: number[] = [];
    for (let txid = 0; txid <= NEWEST; txid++) {
      const outcome = await restore(at, { txid });
      expect(outcome).toMatchObject({ restored: true, position: { txid } });
      if (outcome.restored) times.push(outcome.time);
      if (txid > 0) expect(await restoredRows(at, txid)).toBe(rowsAt(txid));
    }
    for (const time of times)
      for (const timestamp of [time, new Date(time), new Date(time).toISOString()]) {
        // Two commits of one millisecond are possible.
        const position = { txid: times.lastIndexOf(time) };
        expect(await restore(at, { timestamp })).toMatchObject({ restored: true, position, time });
      }
  });

  test("there is nothing before the first state, or behind the last transaction; after the last time there is it", async () => {
    const at = place({ live: true });
    const before = hashFolder(join(at.dbPath, ".."));
    for (const options of [{ txid: NEWEST + 1 }, { timestamp: 0 }, { timestamp: "2020-02-29T00:00:00Z" }])
      await expect(restore(at, options)).rejects.toMatchObject({
        constructor: NotRestorableError,
        oldest: { txid: 0 },
        newest: { txid: NEWEST },
      });
    expect(hashFolder(join(at.dbPath, ".."))).toEqual(before);
    expect(await restore(at, { timestamp: Date.now() + 1e9 })).toMatchObject({ position: { txid: NEWEST } });
  });

  test.each<[RestoreOptions, string]>([
    [{ txid: -1 }, "txid"],
    [{ txid: 1.5 }, "txid"],
    [{ txid: "1" as never }, "txid"],
    [{ txid: 1, timestamp: 1 }, "timestamp"],
    [{ timestamp: new Date("never") }, "timestamp"],
    [{ timestamp: Number.NaN }, "timestamp"],
    [{ timestamp: "2026-03-01" }, "timestamp"],
    [{ timestamp: "2026-03-01T12:00:00" }, "timestamp"],
    [{ timestamp: "2026-02-30T12:00:00Z" }, "timestamp"],
    [{ timestamp: "2026-03-01T25:00:00Z" }, "timestamp"],
    [{ timestamp: "-5m" }, "timestamp"],
  ])("%j is refused", async (options, field) => {
    await expect(restore(place({ live: false }), options)).rejects.toMatchObject({
      constructor: ConfigError,
      field,
    });
  });
});

describe("start() after it", () => {
  test("refuses, and uploads nothing, with a record of the database before or without", async () => {
    for (const live of [true, false]) {
      const at = place({ live });
      await restore(at, { txid: 4 });
      const before = hashFolder(at.replica);
      await expect(startAndCount(at)).rejects.toBeInstanceOf(UnknownLocalHistoryError);
      await expect(startAndCount(at)).rejects.toBeInstanceOf(UnknownLocalHistoryError);
      expect(hashFolder(at.replica)).toEqual(before);
    }
  });

  test("adopt-local appends the old state, and the history stays", async () => {
    const at = place({ live: true });
    const adopting = { onUnknownLocal: "adopt-local" } as const;
    await withReplicator(
      at,
      async (replicator) => {
        await replicator.restore({ overwrite: true, txid: 4 });
        await replicator.start();
        await replicator.flush();
      },
      adopting,
    );
    expect(await restoredRows(at)).toBe(rowsAt(4));
    for (const txid of [4, 5, 6, NEWEST]) expect(await restoredRows(at, txid)).toBe(rowsAt(txid));
    expect((await fs.promises.readdir(join(at.replica, "wal/0"))).length).toBe(NEWEST + 1);
    // From now on it is a database as any other.
    expect(await startAndCount(at)).toBe(rowsAt(4));
  });

  test("adopt-remote takes the newest state", async () => {
    const at = place({ live: true });
    await restore(at, { txid: 4 });
    expect(await startAndCount(at, { onUnknownLocal: "adopt-remote" })).toBe(rowsAt(NEWEST));
    expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
  });

  test("the newest state is none that one goes back to", async () => {
    const at = place({ live: true });
    await restore(at, { txid: NEWEST });
    expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
  });

  test("restoring the newest state again is a way out", async () => {
    const at = place({ live: true });
    await restore(at, { txid: 4 });
    await restore(at, {});
    expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
  });

  const cutOff = (point: string) =>
    armFaults((reached) => {
      if (reached === point) throw new Error(`cut off at ${point}`);
    });

  test.each(["restore:after-rename", "restore:before-record"])(
    "refuses and uploads nothing where the restore was cut off: %s",
    async (point) => {
      const at = place({ live: true });
      cutOff(point);
      await expect(restore(at, { txid: 4 })).rejects.toThrow();
      armFaults(null);
      const before = hashFolder(at.replica);
      await expect(startAndCount(at)).rejects.toBeInstanceOf(UnknownLocalHistoryError);
      expect(hashFolder(at.replica)).toEqual(before);
      await restore(at, {});
      expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
    },
  );

  test.each(["restore:before-finish", "restore:before-rename"])(
    "goes on where the restore was cut off before it changed anything: %s",
    async (point) => {
      for (const onUnknownLocal of ["error", "adopt-local", "adopt-remote"] as const) {
        const at = place({ live: true });
        cutOff(point);
        await expect(restore(at, { txid: 4 })).rejects.toThrow();
        armFaults(null);
        const before = hashFolder(at.replica);
        expect(await startAndCount(at, { onUnknownLocal })).toBe(rowsAt(NEWEST));
        if (onUnknownLocal === "error") expect(hashFolder(at.replica)).toEqual(before);
        expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
        expect(await restoredRows(at)).toBe(rowsAt(NEWEST));
      }
    },
  );

  test.each<[string, "goes on" | "refuses"]>([
    ["restore:before-finish", "goes on"],
    ["restore:before-rename", "goes on"],
    ["restore:after-rename", "refuses"],
    ["restore:before-record", "refuses"],
  ])("by the replicator whose restore failed: at %s it %s", async (point, does) => {
    const at = place({ live: true });
    const before = hashFolder(at.replica);
    await withReplicator(at, async (replicator) => {
      cutOff(point);
      await expect(replicator.restore({ overwrite: true, txid: 4 })).rejects.toThrow();
      armFaults(null);
      if (does === "goes on") {
        await replicator.start();
        await replicator.flush();
      } else await expect(replicator.start()).rejects.toBeInstanceOf(UnknownLocalHistoryError);
    });
    expect(hashFolder(at.replica)).toEqual(before);
  });

  test("takes the newest state where the database is gone", async () => {
    const at = place({ live: true });
    await restore(at, { txid: 4 });
    fs.rmSync(at.dbPath);
    expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
    expect(await startAndCount(at)).toBe(rowsAt(NEWEST));
  });
});
