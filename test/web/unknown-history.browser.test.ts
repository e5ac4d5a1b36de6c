import { afterAll, expect, test } from "vitest";
import { findClaim } from "../../src/replica.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../../web/compression.ts";
import { restored } from "../suites/restored.ts";
import {
  CREATE,
  differing,
  type HistoryPlace,
  KNOWN,
  type Life,
  objectsOf,
  produce,
  type Situation,
  UNKNOWN,
  unknownHistorySuite,
  update,
} from "../suites/unknown-history.ts";
import { DbWorker } from "./db-client.ts";

/** One after the other they all live in one worker: what is lost is lost while nothing is open. */
const db = new DbWorker();
afterAll(() => db.end());

/** Nothing happens by itself. */
const NEVER_MS = 2 ** 30;
const QUIET = {
  syncIntervalMs: NEVER_MS,
  uploadIntervalMs: NEVER_MS,
  snapshotIntervalSecs: 0,
  retentionSecs: 0,
};

/** A database in a pool of an app of its own. */
class PoolPlace implements HistoryPlace {
  readonly store: ObjectStore;
  readonly #pool = { directory: `/sluice-test-${crypto.randomUUID()}` };
  readonly #cacheDir = crypto.randomUUID();

  constructor(store: ObjectStore = new MemoryStore()) {
    this.store = store;
  }

  async open(config = {}): Promise<Life> {
    await db.create({ ...QUIET, cacheDir: this.#cacheDir, ...config }, this.store, this.#pool);
    return life;
  }

  /** A life in a worker of its own, which ends at a fault point after a commit. Returns what that wrote. */
  async cutShort(point: string): Promise<unknown> {
    const worker = new DbWorker();
    await worker.create({ ...QUIET, cacheDir: this.#cacheDir }, this.store, this.#pool);
    await worker.call("start");
    await worker.call("exec", CREATE);
    await worker.call("waitUntilUploaded");
    await worker.call("snapshot");
    await worker.call("exec", update(20));
    const written = await worker.call("value", ROW_20);
    const { ended } = await worker.endAt(point);
    worker.call("flush").catch(() => undefined);
    await ended;
    // Its handles are closed somewhat later.
    const open = () => db.call("openPool", this.#pool).then(String, () => null);
    await expect.poll(open).not.toBeNull();
    return written;
  }

  async loseSideFile(): Promise<void> {
    await db.call("openPool", this.#pool);
    await db.call("unlink", "/data.db-sluice");
  }

  async loseDatabase(): Promise<void> {
    await db.call("openPool", this.#pool);
    await db.call("unlink", "/data.db");
  }

  async loseIndexedDb(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const request = indexedDB.deleteDatabase(this.#cacheDir);
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new Error("it is open"));
    });
  }

  async local(): Promise<Uint8Array> {
    await db.call("openPool", this.#pool);
    return (await db.call("exportFile", "/data.db")) as Uint8Array;
  }

  async restored(store: ObjectStore): Promise<Uint8Array> {
    const { lineage } = (await findClaim(store))!;
    return (await restored({ store, lineage, codecs: await loadCodecs() }, "latest")).file;
  }
}

const call = (name: Parameters<DbWorker["call"]>[0]) => async () => void (await db.call(name));
const life: Life = {
  start: call("start"),
  exec: async (sql) => void (await db.call("exec", sql)),
  flush: call("flush"),
  waitUntilUploaded: call("waitUntilUploaded"),
  snapshot: call("snapshot"),
  async stop() {
    await db.call("close");
    await db.call("stop");
  },
  next: (event, fits = () => true) =>
    new Promise((resolve, reject) => {
      const heard = (_: string, detail: never) => {
        if (fits(detail)) resolve(detail);
      };
      db.call("listen", [event], heard).catch(reject);
    }),
};

const ROW_20 = "SELECT v FROM t WHERE id = 20";

/** A database that was uploaded, and has a commit that was not. */
async function left(): Promise<PoolPlace> {
  const place = new PoolPlace();
  await produce(place, CREATE);
  await produce(place, update(20), false);
  return place;
}

/** And another device went on meanwhile. */
async function leftBehind(): Promise<PoolPlace> {
  const place = await left();
  await produce(new PoolPlace(place.store), update(150));
  return place;
}

const losing = (
  outcomes: Situation["outcomes"],
  make: () => Promise<PoolPlace>,
  ...losses: readonly ("loseIndexedDb" | "loseSideFile")[]
): Situation => ({
  outcomes,
  async make() {
    const place = await make();
    for (const loss of losses) await place[loss]();
    return place;
  },
});

unknownHistorySuite({
  // The side file says who wrote, and how far: the replica ends with that.
  "IndexedDB was lost, and with it what was not uploaded": losing(
    { ...UNKNOWN, error: "appended" },
    left,
    "loseIndexedDb",
  ),
  "IndexedDB was lost, and another device went on": losing(UNKNOWN, leftBehind, "loseIndexedDb"),
  // All of it had been taken over by IndexedDB, which cannot say whether a mark was lost.
  "the side file was lost": losing(
    { error: "compared", "adopt-local": "compared", "adopt-remote": "compared" },
    left,
    "loseSideFile",
  ),
  "the side file was lost, and another device went on": losing(KNOWN, leftBehind, "loseSideFile"),
  "both were lost": losing(UNKNOWN, left, "loseIndexedDb", "loseSideFile"),
  "both were lost, and another device went on": losing(UNKNOWN, leftBehind, "loseIndexedDb", "loseSideFile"),
});

test.each(["error", "adopt-local", "adopt-remote"] as const)(
  "a worker ends before IndexedDB has a commit, and the side file that has it is lost; %s: the WAL has it too",
  async (onUnknownLocal) => {
    const place = new PoolPlace();
    const written = await place.cutShort("drain:after-commit");
    await place.loseSideFile();
    const before = await objectsOf(place.store);
    const life = await place.open({ onUnknownLocal });
    await life.start();
    expect(await db.call("value", ROW_20)).toBe(written);
    await life.waitUntilUploaded();
    await life.stop();
    expect(await objectsOf(place.store)).toMatchObject(before);
    expect(differing(await place.local(), await place.restored(place.store))).toBe(0);
  },
);

test.each(["loseIndexedDb", "loseDatabase"] as const)(
  "IndexedDB was lost of a database that was restored and is what the replica holds, or is gone, too: %s",
  async (last) => {
    const place = await leftBehind();
    const copy = new PoolPlace(place.store);
    const first = await copy.open();
    await first.start();
    await first.stop();
    await copy.loseIndexedDb();
    if (last === "loseDatabase") await copy.loseDatabase();
    const before = await objectsOf(place.store);
    const life = await copy.open();
    await life.start();
    await life.exec(update(5));
    await life.waitUntilUploaded();
    await life.stop();
    expect(await objectsOf(place.store)).toMatchObject(before);
    expect(differing(await copy.local(), await copy.restored(place.store))).toBe(0);
  },
);
