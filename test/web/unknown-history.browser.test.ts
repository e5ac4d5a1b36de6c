import { afterAll } from "vitest";
import { findClaim } from "../../src/replica.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../../web/compression.ts";
import { restored } from "../suites/restored.ts";
import {
  CREATE,
  type HistoryPlace,
  KNOWN,
  type Life,
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

  async loseSideFile(): Promise<void> {
    await db.call("openPool", this.#pool);
    await db.call("unlink", "/data.db-sluice");
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
  // All of it had been taken over by IndexedDB.
  "the side file was lost": losing(
    { error: "goes on", "adopt-local": "goes on", "adopt-remote": "goes on" },
    left,
    "loseSideFile",
  ),
  "the side file was lost, and another device went on": losing(KNOWN, leftBehind, "loseSideFile"),
  "both were lost": losing(UNKNOWN, left, "loseIndexedDb", "loseSideFile"),
  "both were lost, and another device went on": losing(UNKNOWN, leftBehind, "loseIndexedDb", "loseSideFile"),
});
