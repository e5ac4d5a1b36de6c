import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  MemoryStore,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  pruneReplica,
  ReplicaFencedError,
  type SqliteReplicator,
} from "../../node/index.ts";
import { createTable, insert, next, rows, useReplicators } from "./fixture.ts";

const use = useReplicators();
const DAY_MS = 24 * 3600 * 1000;

/** How far everybody's clock is ahead. */
let slept = 0;

beforeEach(() => {
  const realNow = Date.now;
  slept = 0;
  vi.spyOn(Date, "now").mockImplementation(() => realNow() + slept);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A store whose next upload of a segment is on its way until it is let through. */
class HeldStore extends MemoryStore {
  #held: ((go: () => void) => void) | null = null;

  /** Resolves when an upload waits, with what lets it go on. */
  hold(): Promise<() => void> {
    return new Promise((resolve) => {
      this.#held = resolve;
    });
  }

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    if (key.startsWith("wal/0/") && this.#held !== null) {
      const held = this.#held;
      this.#held = null;
      await new Promise<void>((go, fail) => {
        options?.signal?.addEventListener("abort", () => fail(options.signal!.reason));
        held(go);
      });
    }
    await super.put(key, body, options);
  }
}

async function open(path: string, store: ObjectStore) {
  const replicator = await use.create(path, store, { stopTimeoutMs: 100 });
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  return { replicator, db };
}

/** Another writer goes on from what is there, for so long that all from before is deleted. Returns what it wrote. */
async function takeOver(path: string, store: ObjectStore, days: number): Promise<unknown[]> {
  const { replicator, db } = await open(path, store);
  for (let day = 0; day < days; day++) {
    for (let i = 0; i < 5; i++) {
      insert(db, `by the other on day ${day}`);
      await replicator.flush();
    }
    await replicator.snapshot();
    slept += DAY_MS;
  }
  await pruneReplica(store);
  const written = rows(db);
  db.close();
  await replicator.stop();
  return written;
}

async function keyOfNext(store: ObjectStore, replicator: SqliteReplicator): Promise<string[]> {
  const txid = (replicator.status().uploaded + 1).toString(16).padStart(16, "0");
  const found: string[] = [];
  for await (const { key } of store.list(`wal/0/${txid}`)) found.push(key);
  return found;
}

async function begun() {
  const folder = use.folder();
  const store = new HeldStore();
  const a = await open(join(folder, "a.db"), store);
  insert(a.db, "common");
  await a.replicator.flush();
  await a.replicator.snapshot();
  return { folder, store, ...a };
}

describe("a writer that sleeps for days", () => {
  test("in the middle of an upload to a key that became free again is fenced, not believed", async () => {
    const { folder, store, replicator, db } = await begun();
    const { uploaded } = replicator.status();
    const held = store.hold();
    insert(db, "in the middle of it");
    const go = await held;
    const fenced = next(replicator, "fenced");
    const waiting = replicator.waitUntilUploaded();
    waiting.catch(() => undefined);
    const written = await takeOver(join(folder, "b.db"), store, 10);
    expect(await keyOfNext(store, replicator)).toEqual([]);
    go();
    await expect(waiting).rejects.toBeInstanceOf(ReplicaFencedError);
    await fenced;
    expect(replicator.status()).toMatchObject({ state: "fenced", uploaded });
    // It landed, and does no harm.
    expect(await keyOfNext(store, replicator)).not.toEqual([]);
    const copy = await open(join(folder, "c.db"), store);
    expect(rows(copy.db)).toEqual(written);
    copy.db.close();
    db.close();
  });

  test("and wakes alone goes on", async () => {
    const { store, replicator, db } = await begun();
    const held = store.hold();
    insert(db, "in the middle of it");
    const go = await held;
    slept += 10 * DAY_MS;
    go();
    await replicator.waitUntilUploaded();
    insert(db, "and on");
    await replicator.waitUntilUploaded();
    expect(replicator.status()).toMatchObject({ state: "running", lastError: null });
    db.close();
  });

  test("between two uploads looks before it uploads", async () => {
    const { folder, store, replicator, db } = await begun();
    await takeOver(join(folder, "b.db"), store, 10);
    expect(await keyOfNext(store, replicator)).toEqual([]);
    insert(db, "after the sleep");
    await expect(replicator.waitUntilUploaded()).rejects.toBeInstanceOf(ReplicaFencedError);
    expect(await keyOfNext(store, replicator)).toEqual([]);
    db.close();
  });

  test("with a backlog does not upload it on its way to a restore", async () => {
    const { folder, store, replicator, db } = await begun();
    const held = store.hold();
    insert(db, "never uploaded");
    await held;
    db.close();
    await replicator.stop(); // what is on its way is cut off
    await takeOver(join(folder, "b.db"), store, 10);
    const again = await use.create(join(folder, "a.db"), store);
    await expect(again.restore({ overwrite: true })).rejects.toBeInstanceOf(ReplicaFencedError);
    expect(await keyOfNext(store, again)).toEqual([]);
  });
});
