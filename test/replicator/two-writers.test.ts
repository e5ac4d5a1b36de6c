import { copyFileSync, cpSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  BrokenReplicaError,
  LocalDatabaseError,
  MemoryStore,
  ReplicaFencedError,
  type SqliteReplicator,
  StateError,
  UnknownLocalHistoryError,
  verifyReplica,
} from "../../node/index.ts";
import { armFaults } from "../../src/faults.ts";
import { collect } from "../../src/store/object-store.ts";
import { native } from "../node/vfs-fixture.ts";
import { objectsOf } from "../suites/unknown-history.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, next, rows } from "./fixture.ts";
import { keysBelow, loseEnd, useWriters } from "./writers-fixture.ts";

const { use, started, contents, running, goOn } = useWriters();

/** A writer whose replica another one, restored from it, has extended. */
async function overtaken() {
  const folder = use.folder();
  const store = new MemoryStore();
  const a = await started(join(folder, "a.db"), store);
  insert(a.db, "common");
  await a.replicator.flush();
  await a.replicator.snapshot();
  const b = await started(join(folder, "b.db"), store);
  insert(b.db, "by b");
  await b.replicator.flush();
  return { folder, store, a, b };
}

/** What a database that stopped has beyond what its store lost: nothing, a commit that waits for upload, another program's. */
const SINCE = ["nothing", "a commit that waits", "a change without Sluice"] as const;

/** One that stopped, and whose store lost these segments then. */
async function withoutItsEnd(since: (typeof SINCE)[number]) {
  const { folder, path, store, network, a } = await running();
  if (since === "a commit that waits") {
    network.offline = true;
    const cached = next(a.replicator, "wal");
    insert(a.db, "since");
    await cached;
  }
  a.db.close();
  await a.replicator.stop();
  await loseEnd(store);
  if (since === "a change without Sluice") native(path, "INSERT INTO t(b) VALUES ('since')");
  const own = ["common", "a 1", "a 2", "a 3", ...(since === "nothing" ? [] : ["since"])];
  return { folder, store, path, own };
}

/** The same, and another one, restored from what was left, added one then. */
async function overtakenBeforeItsEnd(since: (typeof SINCE)[number]) {
  const lost = await withoutItsEnd(since);
  await goOn(lost);
  return lost;
}

describe("two writers on one replica", () => {
  test("exactly one continues; the other is told, and its database still works", async () => {
    const { folder, store, a, b } = await overtaken();
    const fenced = next(a.replicator, "fenced");
    insert(a.db, "by a");
    await expect(a.replicator.waitUntilUploaded()).rejects.toBeInstanceOf(ReplicaFencedError);
    expect(await fenced).toBeInstanceOf(ReplicaFencedError);
    expect(a.replicator.status().state).toBe("fenced");
    for (let i = 0; i < 3000; i++) insert(a.db, `a goes on ${i}`); // past a checkpoint and a restart of the WAL
    expect(a.db.selectValue("PRAGMA integrity_check")).toBe("ok");
    expect(a.replicator.status().walFrames).toBeLessThan(3000);
    insert(b.db, "by b again");
    await b.replicator.flush();
    expect(await contents(join(folder, "c.db"), store)).toEqual(["common", "by b", "by b again"]);
    a.db.close();
    b.db.close();
  });

  test("whoever asked for a snapshot is told too, also behind the one that found out", async () => {
    const { a, b } = await overtaken();
    insert(a.db, "by a");
    const asked = [a.replicator.snapshot(), a.replicator.snapshot()];
    for (const snapshot of asked) await expect(snapshot).rejects.toBeInstanceOf(ReplicaFencedError);
    a.db.close();
    b.db.close();
  });

  test("a writer that comes back after another took over is told at its start", async () => {
    const { folder, store, a, b } = await overtaken();
    a.db.close();
    await a.replicator.stop().catch(() => undefined);
    const again = await use.create(join(folder, "a.db"), store);
    const fenced = next(again, "fenced");
    await again.start();
    expect(await fenced).toBeInstanceOf(ReplicaFencedError);
    b.db.close();
  });

  test.each([
    ["adopt-remote", ["common", "by b"]],
    ["adopt-local", ["common", "by a"]],
  ] as const)("%s gets the fenced one out", async (onUnknownLocal, expected) => {
    const { folder, store, a, b } = await overtaken();
    b.db.close();
    await b.replicator.stop();
    insert(a.db, "by a");
    await expect(a.replicator.waitUntilUploaded()).rejects.toBeInstanceOf(ReplicaFencedError);
    a.db.close();
    await a.replicator.stop();
    const again = await started(join(folder, "a.db"), store, { onUnknownLocal });
    expect(rows(again.db)).toEqual(expected);
    insert(again.db, "went on");
    await again.replicator.waitUntilUploaded();
    expect(again.replicator.status().state).toBe("running");
    expect(await contents(join(folder, "d.db"), store)).toEqual([...expected, "went on"]);
    again.db.close();
  });

  test("adopt-local of another page size fails, and adopt-remote still gets out", async () => {
    const { folder, store, a, b } = await overtaken();
    for (const { db, replicator } of [a, b]) {
      db.close();
      await replicator.stop().catch(() => undefined);
    }
    const path = join(folder, "large.db");
    native(path, "PRAGMA page_size=16384; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)");
    const local = await use.create(path, store, { onUnknownLocal: "adopt-local" });
    await expect(local.start()).rejects.toBeInstanceOf(LocalDatabaseError);
    await local.stop();
    const remote = await started(path, store, { onUnknownLocal: "adopt-remote" });
    expect(rows(remote.db)).toEqual(["common", "by b"]);
    remote.db.close();
  });

  /** Who starts undecided is told, and nothing in the store changes. */
  async function isFenced(path: string, store: MemoryStore): Promise<void> {
    const before = await objectsOf(store);
    const undecided = await started(path, store);
    insert(undecided.db, "undecided");
    await expect(undecided.replicator.waitUntilUploaded()).rejects.toBeInstanceOf(ReplicaFencedError);
    undecided.db.exec("DELETE FROM t WHERE b='undecided'");
    undecided.db.close();
    await undecided.replicator.stop();
    expect(await objectsOf(store)).toEqual(before);
  }

  // Beyond its own end the fenced one finds nothing then: where the other's stands, it would leave a gap.
  test.each(
    SINCE.flatMap((since) => (["adopt-remote", "adopt-local"] as const).map((how) => [since, how] as const)),
  )(
    "one whose last segments the store lost, and which has %s since, does not go on behind another that went on before them, but for %s",
    async (since, onUnknownLocal) => {
      const { folder, store, path, own } = await overtakenBeforeItsEnd(since);
      await isFenced(path, store);
      const expected = onUnknownLocal === "adopt-local" ? own : ["common", "by b"];
      const decided = await started(path, store, { onUnknownLocal });
      expect(rows(decided.db)).toEqual(expected);
      insert(decided.db, "went on");
      await decided.replicator.waitUntilUploaded();
      expect(decided.replicator.status().state).toBe("running");
      decided.db.close();
      await decided.replicator.stop();
      expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
      expect(await contents(join(folder, "d.db"), store)).toEqual([...expected, "went on"]);
    },
  );

  test.each(SINCE)(
    "where nobody went on, and it has %s since, it says so and appends what is lost as one segment",
    async (since) => {
      const { folder, store, path, own } = await withoutItsEnd(since);
      const again = await use.create(path, store);
      const heard: unknown[] = [];
      again.addEventListener("error", ({ detail }) => heard.push(detail));
      const resynced = new Promise((resolve) =>
        again.addEventListener("resync", ({ detail }) => detail.phase === "done" && resolve(detail)),
      );
      await again.start();
      expect(await resynced).toMatchObject({ whole: null });
      await again.waitUntilUploaded();
      // The snapshot that is due where a replica does not lead to its end may have begun before that was looked at.
      expect(heard.filter((error) => !(error instanceof StateError))).toEqual([
        expect.any(BrokenReplicaError),
      ]);
      const db = again.openDatabase();
      insert(db, "went on");
      await again.waitUntilUploaded();
      db.close();
      await again.stop();
      expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
      expect(await contents(join(folder, "d.db"), store)).toEqual([...own, "went on"]);
    },
  );

  test.each([false, true])(
    "one that runs finds out when it looks again; another went on: %s",
    async (overtaken) => {
      const { folder, store, a } = await running();
      await loseEnd(store);
      if (overtaken) await goOn({ folder, store });
      const before = await objectsOf(store);
      const told = next(a.replicator, overtaken ? "fenced" : "resync");
      a.replicator.wake();
      await told;
      if (overtaken) expect(await objectsOf(store)).toEqual(before);
      else await a.replicator.waitUntilUploaded();
      a.db.close();
      await a.replicator.stop();
      expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
      const expected = overtaken ? ["common", "by b"] : ["common", "a 1", "a 2", "a 3"];
      expect(await contents(join(folder, "c.db"), store)).toEqual(expected);
    },
  );

  test("what waits is not given up where the database is gone, too", async () => {
    const { store, path } = await withoutItsEnd("a commit that waits");
    const before = await objectsOf(store);
    rmSync(path);
    rmSync(`${path}-wal`, { force: true });
    for (const onUnknownLocal of ["error", "adopt-local"] as const) {
      const again = await use.create(path, store, { onUnknownLocal });
      await expect(again.start()).rejects.toBeInstanceOf(BrokenReplicaError);
      expect(again.status().pendingSegments).toBe(1);
      await again.stop();
      expect(await objectsOf(store)).toEqual(before);
    }
  });

  test("nor is it forgotten what was uploaded: what is left is restored when that is asked for", async () => {
    const { folder, store, path } = await withoutItsEnd("nothing");
    rmSync(path);
    rmSync(`${path}-wal`, { force: true });
    const again = await use.create(path, store);
    const refusal = await again.start().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BrokenReplicaError);
    const { message, detail } = refusal as BrokenReplicaError;
    const left = detail.txid! - 1;
    expect(message).toContain(`restore({ txid: ${left} })`);
    expect(statSync(path).size).toBe(0); // it is there for its lock
    expect(await again.restore({ txid: left })).toMatchObject({ restored: true, position: { txid: left } });
    await again.start();
    const db = again.openDatabase();
    expect(rows(db)).toEqual(["common"]);
    insert(db, "went on");
    await again.waitUntilUploaded();
    db.close();
    await again.stop();
    expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
    expect(await contents(join(folder, "d.db"), store)).toEqual(["common", "went on"]);
  });

  test("no snapshot of its own gets there while nobody could look", async () => {
    const { store, path } = await overtakenBeforeItsEnd("nothing");
    const before = await objectsOf(store);
    const network = new FaultyStore(store);
    let looks = 0;
    network.fault = (method, key) =>
      method === "get" && key === "lineage.json" && looks++ === 0 ? "before" : "pass";
    const again = await use.create(path, network);
    const fenced = next(again, "fenced");
    await again.start();
    expect(await fenced).toBeInstanceOf(ReplicaFencedError);
    await again.stop();
    expect(looks).toBeGreaterThan(1);
    expect(await objectsOf(store)).toEqual(before);
  });

  test("nor does it where an older object is damaged as well", async () => {
    const { store, path } = await overtakenBeforeItsEnd("a change without Sluice");
    const [key] = await keysBelow(store, "snapshots/");
    const damaged = await collect((await store.get(key!)).body, 1 << 26);
    damaged[damaged.length - 60]! ^= 1; // in the index
    await store.put(key!, damaged);
    await isFenced(path, store);
  });

  // With one transaction of the other's the backlog ends beyond the replica, where nothing tells of another writer.
  test.each(["cache:before-ack-sync", "adopt:before-record"])(
    "adopt-local that ends at %s does not go on behind what was never uploaded",
    async (point) => {
      const folder = use.folder();
      const store = new MemoryStore();
      const reached = new FaultyStore(store);
      const a = await started(join(folder, "a.db"), reached, { stopTimeoutMs: 0 });
      insert(a.db, "common");
      await a.replicator.flush();
      await a.replicator.snapshot();
      reached.offline = true;
      for (const text of ["a 1", "a 2", "a 3"]) {
        const cached = next(a.replicator, "wal");
        insert(a.db, text);
        await cached;
      }
      a.db.close();
      await a.replicator.stop();
      await goOn({ folder, store });
      const before = await objectsOf(store);

      const dying = await use.create(join(folder, "a.db"), store, { onUnknownLocal: "adopt-local" });
      onTestFinished(() => armFaults(null));
      armFaults((passed) => {
        if (passed === point) throw new Error("the process ends");
      });
      await expect(dying.start()).rejects.toThrow("the process ends");
      armFaults(null);
      await dying.stop();

      const undecided = await use.create(join(folder, "a.db"), store);
      await undecided.start();
      await expect(undecided.flush()).rejects.toBeInstanceOf(ReplicaFencedError);
      await undecided.stop();
      expect(await objectsOf(store)).toEqual(before);
      const decided = await started(join(folder, "a.db"), store, { onUnknownLocal: "adopt-local" });
      await decided.replicator.waitUntilUploaded();
      decided.db.close();
      expect(await contents(join(folder, "c.db"), store)).toEqual(["common", "a 1", "a 2", "a 3"]);
    },
  );

  test("whoever finds another's snapshot where there was nothing at its start is told, though it commits nothing", async () => {
    const folder = use.folder();
    const store = new MemoryStore();
    const network = new FaultyStore(store);
    native(join(folder, "a.db"), "CREATE TABLE mine(a)");
    const a = await use.create(join(folder, "a.db"), network);
    const fenced = next(a, "fenced");
    await a.start();
    network.meanwhile = async (method, key) => {
      if (method !== "list" || !key.startsWith("snapshots/")) return;
      network.meanwhile = async () => {};
      const b = await use.create(join(folder, "b.db"), store);
      await b.start();
      await b.snapshot();
      await b.stop();
    };
    expect(await fenced).toBeInstanceOf(ReplicaFencedError);
    expect(a.status()).toMatchObject({ state: "fenced", lastSnapshot: null });
  });

  test("of ten that begin at once on an empty prefix, one claims it", async () => {
    const folder = use.folder();
    const store = new MemoryStore();
    const writers = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const replicator = await use.create(join(folder, `w${i}.db`), store, { autoRestore: false });
        await replicator.start().catch(() => undefined);
        return replicator;
      }),
    );
    const running = writers.filter((writer) => writer.status().state !== "created");
    const outcome = async (writer: SqliteReplicator) => {
      const db = writer.openDatabase();
      createTable(db);
      insert(db, "mine");
      const won = await writer.waitUntilUploaded().then(
        () => true,
        (error) => {
          expect(error).toBeInstanceOf(ReplicaFencedError);
          return false;
        },
      );
      db.close();
      return won;
    };
    const won = await Promise.all(running.map(outcome));
    expect(won.filter(Boolean)).toHaveLength(1);
  });
});

describe("a local database of unknown history", () => {
  test.each(["adopt-local", "adopt-remote"] as const)("is refused, unless %s", async (onUnknownLocal) => {
    const folder = use.folder();
    const store = new MemoryStore();
    const first = await started(join(folder, "a.db"), store);
    insert(first.db, "remote");
    await first.replicator.flush();
    await first.replicator.snapshot();
    first.db.close();
    await first.replicator.stop();
    // The same folder's database goes on without its cache: an older volume, a lost cache, a copy on staging.
    cpSync(join(folder, "a.db"), join(folder, "b.db"));
    const other = await started(join(folder, "b.db"), new MemoryStore());
    insert(other.db, "local");
    other.db.close();
    await other.replicator.stop();
    rmSync(join(folder, "b.db-sluice"), { recursive: true });

    const refused = await use.create(join(folder, "b.db"), store);
    await expect(refused.start()).rejects.toBeInstanceOf(UnknownLocalHistoryError);
    await refused.stop();
    expect(await contents(join(folder, "untouched.db"), store)).toEqual(["remote"]);

    const decided = await started(join(folder, "b.db"), store, { onUnknownLocal });
    const expected = onUnknownLocal === "adopt-local" ? ["remote", "local"] : ["remote"];
    expect(rows(decided.db)).toEqual(expected);
    insert(decided.db, "later");
    await decided.replicator.waitUntilUploaded();
    expect(await contents(join(folder, "c.db"), store)).toEqual([...expected, "later"]);
    decided.db.close();
  });

  test("is followed when it equals the replica page by page", async () => {
    const folder = use.folder();
    const store = new MemoryStore();
    const first = await started(join(folder, "a.db"), store);
    insert(first.db, "one");
    await first.replicator.flush();
    await first.replicator.snapshot();
    first.db.close();
    await first.replicator.stop();
    copyFileSync(join(folder, "a.db"), join(folder, "b.db"));
    const copy = await use.create(join(folder, "b.db"), store);
    await copy.start();
    const db = copy.openDatabase();
    insert(db, "two");
    await copy.waitUntilUploaded();
    expect(copy.status().state).toBe("running");
    db.close();
    expect(await contents(join(folder, "c.db"), store)).toEqual(["one", "two"]);
  });
});
