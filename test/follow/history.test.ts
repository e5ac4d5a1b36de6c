import { chmodSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../node/clock.ts";
import { loadCodecs } from "../../node/compression.ts";
import { FollowedCopyFile } from "../../node/followed-copy.ts";
import {
  BrokenReplicaError,
  ConfigError,
  DatabaseInUseError,
  type FollowProblem,
  LocalDatabaseError,
  type ReplicaFollower,
  StoreError,
} from "../../node/index.ts";
import { sharedModule } from "../../node/sqlite-module.ts";
import { Follower } from "../../src/follow.ts";
import { lineageKey, segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { listReplica } from "../../src/replica.ts";
import { isRoot, native } from "../node/vfs-fixture.ts";
import { FaultyStore } from "../replicator/faulty-store.ts";
import { createQuietly } from "../replicator/history-fixture.ts";
import {
  compactByHand,
  createFollower,
  expectSame,
  fill,
  pruneByHand,
  startWriter,
  temporaryFolder,
  transfer,
} from "./fixture.ts";

/** What happens when it starts, as the error it rejects with. */
async function startProblem(follower: ReplicaFollower): Promise<unknown> {
  return follower.start().then(
    () => null,
    (error: unknown) => error,
  );
}

function problem(expected: FollowProblem) {
  return expect.objectContaining({ code: "SLUICE_FOLLOW", problem: expected });
}

/** A writer with `count` transactions behind the snapshot, a segment each, and where the replica stands. */
async function history(count: number) {
  const writer = await startWriter();
  const begin = writer.replicator.status().uploaded;
  for (let n = 1; n <= count; n++) await writer.commit(transfer(n));
  return { ...writer, begin, end: begin + count };
}

describe("what is asked of the store", () => {
  test("one LIST where nothing is new; with news the object too", async () => {
    const writer = await startWriter();
    const asked: string[] = [];
    const store = new FaultyStore(writer.store);
    store.fault = (method, key) => {
      asked.push(`${method} ${key}`);
      return "pass";
    };
    const follower = await createFollower(store);
    await follower.start();
    asked.length = 0;
    await follower.poll();
    await follower.poll();
    expect(asked).toEqual(["list wal/0/", "list wal/0/"]);
    asked.length = 0;
    await writer.commit(transfer(1));
    await follower.poll();
    const key = segmentKey(0, follower.position!.txid, follower.position!.txid);
    expect(asked).toEqual(["list wal/0/", `get ${key}`]);
    expectSame(follower.path, writer.db);
  });

  test("an empty level 0 is not believed for ever: after ten minutes the whole replica is looked at", async () => {
    const writer = await startWriter();
    const asked: string[] = [];
    const store = new FaultyStore(writer.store);
    store.fault = (method, key) => {
      asked.push(`${method} ${key}`);
      return "pass";
    };
    let elapsed = 0;
    let slept = 0;
    const clock = {
      ...systemClock,
      now: () => systemClock.now() + elapsed,
      stopwatch() {
        const began = slept;
        return () => slept - began;
      },
    };
    const path = join(temporaryFolder(), "copy.db");
    const settings = { pollIntervalMs: 2 ** 30, logger: {} };
    const follower = new Follower(
      new FollowedCopyFile(await sharedModule(), path),
      store,
      await loadCodecs(),
      clock,
      settings,
    );
    onTestFinished(() => follower.stop());
    await follower.start();
    const begin = follower.position!.txid;
    for (let n = 1; n <= 3; n++) await writer.commit(transfer(n));
    await compactByHand(writer.store, 0, begin + 1, begin + 3);
    await pruneByHand(writer.store, 0, begin + 1, begin + 3);
    asked.length = 0;
    for (let n = 0; n < 10; n++) await follower.poll();
    elapsed = 500_000; // And as long as this test takes.
    await follower.poll();
    expect(new Set(asked)).toEqual(new Set(["list wal/0/"]));
    expect(asked).toHaveLength(11);
    elapsed = 601_000;
    asked.length = 0;
    await follower.poll();
    expect(asked).toEqual([
      `get ${lineageKey}`,
      ...["list wal/0/", "list wal/1/", "list wal/2/", "list wal/3/", "list snapshots/"],
      `get ${segmentKey(1, begin + 1, begin + 3)}`,
    ]);
    expectSame(path, writer.db);
    // Nor at all after a sleep in which retention may have taken what came.
    for (let n = 1; n <= 3; n++) await writer.commit(transfer(n));
    await compactByHand(writer.store, 0, begin + 4, begin + 6);
    await pruneByHand(writer.store, 0, begin + 4, begin + 6);
    await follower.poll();
    expect(follower.position!.txid).toBe(begin + 3);
    slept += 2 * 3600 * 1000;
    store.offline = true; // A poll that fails is no look.
    await expect(follower.poll()).rejects.toThrow(StoreError);
    store.offline = false;
    slept += 2 * 3600 * 1000;
    await follower.poll();
    expectSame(path, writer.db);
  });
});

describe("what compaction and retention leave", () => {
  /** A follower at the begin of a history that goes on without it. */
  async function behind(count: number) {
    const writer = await startWriter();
    const follower = await createFollower(writer.store);
    await follower.start();
    const begin = follower.position!.txid;
    for (let n = 1; n <= count; n++) await writer.commit(transfer(n, 2000));
    return { ...writer, follower, begin, end: begin + count };
  }

  test("a higher level where level 0 has gone, and level 0 behind it", async () => {
    const { store, follower, begin, end, db } = await behind(20);
    await compactByHand(store, 0, begin + 1, begin + 16);
    await pruneByHand(store, 0, begin + 1, begin + 16);
    const applied: number[] = [];
    follower.addEventListener("applied", ({ detail }) => applied.push(detail.objects));
    await follower.poll();
    expect(follower.position!.txid).toBe(end);
    expect(applied).toEqual([5]);
    expectSame(follower.path, db);
  });

  test("a segment that begins before the copy and ends behind it: by way of the snapshot, fetching what differs", async () => {
    const { store, follower, begin, end, db, commit } = await behind(3);
    await follower.poll();
    await commit(transfer(4));
    await commit(transfer(5));
    await compactByHand(store, 0, begin + 1, end + 1);
    await pruneByHand(store, 0, begin + 1, end + 1);
    await follower.poll();
    expect(follower.position!.txid).toBe(end + 2);
    expectSame(follower.path, db);
  });

  test("a newer snapshot where the segments before it have gone: only pages that differ are fetched and written", async () => {
    const { store, follower, begin, end, db, commit, replicator } = await behind(3);
    await commit(fill(400, 3000));
    await follower.poll();
    const pages = Number(db.selectValue("PRAGMA page_count"));
    await commit(transfer(5));
    await commit(transfer(6));
    await replicator.snapshot();
    await commit(transfer(7));
    await pruneByHand(store, 0, begin + 1, end + 3);
    await store.delete([snapshotKey(begin)]);
    const applied: { pages: number; objects: number }[] = [];
    follower.addEventListener("applied", ({ detail }) => applied.push(detail));
    await follower.poll();
    expect(applied).toHaveLength(1);
    expect(applied[0]!.objects).toBe(2);
    expect(applied[0]!.pages).toBeLessThan(pages / 10);
    expectSame(follower.path, db);
  });

  test("more than the tail's limit: fewer, merged objects", async () => {
    const { store, follower, begin, db } = await behind(70);
    for (let group = 0; group < 4; group++)
      await compactByHand(store, 0, begin + 1 + 16 * group, begin + 16 + 16 * group);
    const applied: number[] = [];
    follower.addEventListener("applied", ({ detail }) => applied.push(detail.objects));
    await follower.poll();
    expect(applied).toEqual([4 + 6]);
    expectSame(follower.path, db);
  });

  test("an object that goes between the list and its fetch is looked for again", async () => {
    const { store: inner, begin, end, db, commit } = await behind(4);
    const store = new FaultyStore(inner);
    const follower = await createFollower(store);
    await follower.start();
    await commit(transfer(5));
    await commit(transfer(6));
    const gone = segmentKey(0, end + 1, end + 1);
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      if (key === gone) {
        await compactByHand(inner, 0, end + 1, end + 2);
        await pruneByHand(inner, 0, end + 1, end + 2);
      }
      return get(key, options);
    };
    await follower.poll();
    expect(follower.position!.txid).toBe(begin + 6);
    expectSame(follower.path, db);
  });

  test("a gap is an error, at once and where it is, and nothing was put in", async () => {
    const { store, follower, begin, end } = await behind(4);
    await store.delete([segmentKey(0, begin + 2, begin + 2)]);
    const before = readFileSync(follower.path);
    const errors: unknown[] = [];
    follower.addEventListener("error", ({ detail }) => errors.push(detail));
    const waiting = follower.waitFor({ txid: end });
    const failed = expect(waiting).rejects.toMatchObject({ detail: { txid: begin + 2 } });
    await expect(follower.poll()).rejects.toBeInstanceOf(BrokenReplicaError);
    await failed;
    expect(errors).toEqual([expect.any(BrokenReplicaError)]);
    expect(follower.status()).toMatchObject({ state: "failed", position: { txid: begin } });
    expect(readFileSync(follower.path).equals(before)).toBe(true);
    await expect(follower.poll()).rejects.toBeInstanceOf(BrokenReplicaError);
    await expect(follower.waitFor({ txid: end })).rejects.toBeInstanceOf(BrokenReplicaError);
  });

  test("a gap that a later snapshot bridges is none", async () => {
    const { store, follower, begin, db, replicator } = await behind(4);
    await replicator.snapshot();
    await store.delete([segmentKey(0, begin + 2, begin + 2)]);
    await follower.poll();
    expectSame(follower.path, db);
  });

  test("a damaged object is an error", async () => {
    const { store, follower, begin, folder } = await behind(2);
    const path = join(folder, "replica", segmentKey(0, begin + 2, begin + 2));
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1]! ^= 1;
    await store.delete([segmentKey(0, begin + 2, begin + 2)]);
    writeFileSync(path, bytes);
    await expect(follower.poll()).rejects.toMatchObject({ code: "SLUICE_CORRUPT_OBJECT" });
    expect(follower.position!.txid).toBe(begin);
  });
});

describe("what cannot be followed", () => {
  test("no replica, no snapshot yet", async () => {
    const follower = await createFollower(`file://${temporaryFolder()}/nowhere`);
    expect(await startProblem(follower)).toEqual(problem("no-replica"));
    expect(existsSync(follower.path)).toBe(false);
    const { store } = await startWriter();
    await store.delete([snapshotKey((await listReplica(store)).snapshots[0]!.txid)]);
    expect(await startProblem(await createFollower(store))).toBeInstanceOf(BrokenReplicaError);
  });

  test("a prefix that was begun anew", async () => {
    const one = await startWriter();
    const two = await startWriter();
    const follower = await createFollower(one.store);
    await follower.start();
    await follower.stop();
    const before = readFileSync(follower.path);
    const again = await createFollower(two.store, { dbPath: follower.path });
    expect(await startProblem(again)).toEqual(problem("another-history"));
    expect(await startProblem(again)).toEqual(problem("another-history"));
    await again.stop();
    rmSync(join(one.folder, "replica"), { recursive: true });
    expect(await startProblem(await createFollower(one.store, { dbPath: follower.path }))).toEqual(
      problem("another-history"),
    );
    expect(readFileSync(follower.path).equals(before)).toBe(true);
  });

  test("a bucket that was set back to an older state, or to one that went another way", async () => {
    const writer = await history(3);
    const old = temporaryFolder();
    cpSync(join(writer.folder, "replica"), old, { recursive: true });
    await writer.commit(transfer(4));
    const follower = await createFollower(writer.store);
    await follower.start();
    await follower.stop();
    const back = await createFollower(`file://${old}`, { dbPath: follower.path });
    expect(await startProblem(back)).toEqual(problem("diverged"));
    await back.stop();
    const key = segmentKey(0, writer.end, writer.end);
    // Another object of the same history under the key of the last one: it leads to the same transaction, by another id.
    const other = await createQuietly({
      dbPath: join(temporaryFolder(), "other.db"),
      replica: `file://${old}`,
      onUnknownLocal: "adopt-remote",
    });
    await other.start();
    const db = other.openDatabase();
    db.exec("CREATE TABLE fork(x)");
    await other.flush();
    db.close();
    await other.stop();
    expect(existsSync(join(old, segmentKey(0, writer.end + 1, writer.end + 1)))).toBe(true);
    expect(existsSync(join(old, key))).toBe(true);
    const forked = await createFollower(`file://${old}`, { dbPath: follower.path });
    expect(await startProblem(forked)).toEqual(problem("diverged"));
    await forked.stop();
    // It goes on: what continues the other state must not be put upon ours.
    const before = readFileSync(follower.path);
    const longer = await createQuietly({
      dbPath: join(temporaryFolder(), "longer.db"),
      replica: `file://${old}`,
    });
    await longer.start();
    const further = longer.openDatabase();
    further.exec("INSERT INTO fork VALUES(1)");
    await longer.flush();
    further.close();
    await longer.stop();
    const mixing = await createFollower(`file://${old}`, { dbPath: follower.path });
    expect(await startProblem(mixing)).toEqual(problem("diverged"));
    expect(readFileSync(follower.path).equals(before)).toBe(true);
  });

  test("a copy that somebody wrote to, whether it is being followed or not", async () => {
    const writer = await history(1);
    const follower = await createFollower(writer.store);
    await follower.start();
    native(follower.path, "CREATE TABLE mine(x)");
    await writer.commit(transfer(2));
    await expect(follower.poll()).rejects.toEqual(problem("changed"));
    expect(native(follower.path, "SELECT count(*) FROM mine")).toBe("0");
    expect(follower.status().state).toBe("failed");
    await follower.stop();
    expect(await startProblem(await createFollower(writer.store, { dbPath: follower.path }))).toEqual(
      problem("changed"),
    );
    expect(native(follower.path, "SELECT count(*) FROM mine")).toBe("0");
  });

  test("a database that no follower made", async () => {
    const writer = await history(1);
    const path = join(temporaryFolder(), "mine.db");
    native(path, "CREATE TABLE mine(x)");
    expect(await startProblem(await createFollower(writer.store, { dbPath: path }))).toEqual(
      problem("not-a-copy"),
    );
    expect(native(path, "SELECT count(*) FROM mine")).toBe("0");
  });

  test("a second follower on the same copy", async () => {
    const writer = await history(1);
    const follower = await createFollower(writer.store);
    await expect(createFollower(writer.store, { dbPath: follower.path })).rejects.toBeInstanceOf(
      DatabaseInUseError,
    );
    await follower.start();
    await follower.stop();
    await (await createFollower(writer.store, { dbPath: follower.path })).start();
  });

  test("the folder of another follower, made anew as an error advises, stays when the first one ends", async () => {
    const writer = await history(1);
    const first = await createFollower(writer.store);
    rmSync(`${first.path}-follow`, { recursive: true });
    const second = await createFollower(writer.store, { dbPath: first.path });
    await first.stop();
    await expect(createFollower(writer.store, { dbPath: first.path })).rejects.toBeInstanceOf(
      DatabaseInUseError,
    );
    await second.start();
    expectSame(second.path, writer.db);
  });

  test("a place where nothing can be written", async () => {
    const dbPath = join(temporaryFolder(), "copy.db");
    writeFileSync(`${dbPath}-follow`, "in the way");
    await expect(createFollower("file:///nowhere", { dbPath })).rejects.toBeInstanceOf(LocalDatabaseError);
    if (isRoot) return; // who may write everywhere
    const folder = temporaryFolder();
    chmodSync(folder, 0o500);
    const inside = createFollower("file:///nowhere", { dbPath: join(folder, "copy.db") });
    await expect(inside).rejects.toBeInstanceOf(LocalDatabaseError);
    chmodSync(folder, 0o700);
  });

  test("a record that is damaged or of a newer release", async () => {
    const writer = await history(1);
    const follower = await createFollower(writer.store);
    await follower.start();
    await follower.stop();
    const record = join(`${follower.path}-follow`, "copy.json");
    const text = readFileSync(record, "utf8");
    for (const spoilt of ["{", "null", "[]", text.replace('"version":1', '"version":2')]) {
      writeFileSync(record, spoilt);
      const again = await createFollower(writer.store, { dbPath: follower.path });
      expect(await startProblem(again)).toBeInstanceOf(LocalDatabaseError);
      await again.stop();
    }
    writeFileSync(record, text);
    await (await createFollower(writer.store, { dbPath: follower.path })).start();
  });
});

test("a store that cannot be reached is tried again, and said", async () => {
  const writer = await history(1);
  const store = new FaultyStore(writer.store);
  const follower = await createFollower(store, { pollIntervalMs: 5 });
  await follower.start();
  const failed = new Promise((resolve) =>
    follower.addEventListener("error", ({ detail }) => resolve(detail), { once: true }),
  );
  store.offline = true;
  await writer.commit(transfer(2));
  expect(await failed).toBeInstanceOf(StoreError);
  expect(follower.status()).toMatchObject({ state: "following", lastError: expect.stringContaining("cut") });
  store.offline = false;
  await follower.waitFor({ txid: writer.end + 1 });
  expectSame(follower.path, writer.db);
  expect(follower.status().lastError).toBe(null);
});

test("stopping ends what waits, and the next follower goes on where it was", async () => {
  const writer = await history(1);
  const follower = await createFollower(writer.store, { pollIntervalMs: 1 });
  await follower.start();
  for (const wrong of [{}, { txid: Number.NaN }, { txid: "1" }, { tixd: 1 }, undefined])
    await expect(follower.waitFor(wrong as never)).rejects.toBeInstanceOf(ConfigError);
  const waiting = expect(follower.waitFor({ txid: 1e9 })).rejects.toMatchObject({ code: "SLUICE_STATE" });
  await follower.stop();
  await waiting;
  await expect(follower.poll()).rejects.toMatchObject({ code: "SLUICE_STATE" });
  await writer.commit(transfer(2));
  const again = await createFollower(writer.store, { dbPath: follower.path, pollIntervalMs: 1 });
  const applied: (number | null)[] = [];
  again.addEventListener("applied", ({ detail }) => applied.push(detail.from?.txid ?? null));
  await again.start();
  expect(applied).toEqual([writer.end]);
  await writer.commit(transfer(3));
  await again.waitFor({ txid: writer.end + 2 });
  expectSame(again.path, writer.db);
});
