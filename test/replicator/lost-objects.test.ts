import { copyFileSync, cpSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  BrokenReplicaError,
  type MemoryStore,
  ReplicaFencedError,
  StoreError,
  verifyReplica,
} from "../../node/index.ts";
import { objectsOf } from "../suites/unknown-history.ts";
import { insert, next, rows } from "./fixture.ts";
import { keysBelow, loseEnd, useWriters } from "./writers-fixture.ts";

const { use, contents, running, goOn } = useWriters();
const OWN = ["common", "a 1", "a 2", "a 3"];

/** One that stopped with a database that is lost. */
async function without(lose: (store: MemoryStore) => Promise<void>, since?: string) {
  const writer = await running();
  const { path, store, network, a } = writer;
  if (since !== undefined) {
    network.offline = true;
    const cached = next(a.replicator, "wal");
    insert(a.db, since);
    await cached;
  }
  a.db.close();
  await a.replicator.stop();
  await lose(store);
  for (const file of [path, `${path}-wal`]) rmSync(file, { force: true });
  return writer;
}

async function loseAll(store: MemoryStore): Promise<void> {
  await store.delete(await keysBelow(store, ""));
}

describe("a writer that runs while the store loses", () => {
  test.each([
    ["everything", ""],
    ["its claim", "lineage.json"],
    ["its snapshots", "snapshots/"],
  ])("%s has it there again when it looks", async (_, prefix) => {
    const { folder, store, a } = await running();
    await store.delete(await keysBelow(store, prefix));
    const taken = next(a.replicator, "snapshot");
    a.replicator.wake();
    await taken;
    insert(a.db, "went on");
    await a.replicator.waitUntilUploaded();
    expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
    expect(await contents(join(folder, "c.db"), store)).toEqual([...OWN, "went on"]);
    a.db.close();
  });

  test("everything has it there again with its next snapshot, also where it never looks", async () => {
    const { folder, store, a } = await running();
    await loseAll(store);
    await a.replicator.snapshot();
    expect(await contents(join(folder, "c.db"), store)).toEqual(OWN);
    a.db.close();
  });

  test("its end does not cover by a snapshot what another went on with", async () => {
    const { folder, store, a } = await running();
    await loseEnd(store);
    await goOn({ folder, store });
    const before = await objectsOf(store);
    await expect(a.replicator.snapshot()).rejects.toBeInstanceOf(ReplicaFencedError);
    expect(await objectsOf(store)).toEqual(before);
    a.db.close();
  });

  test("its end does not take for another's what it uploads while it looks", async () => {
    const { folder, store, network, a } = await running();
    await loseEnd(store);
    let audited = false;
    a.replicator.addEventListener("audit", () => {
      audited = true;
    });
    network.meanwhile = async (_, key) => {
      if (!audited || key !== "lineage.json") return;
      audited = false;
      const cached = next(a.replicator, "wal");
      insert(a.db, "meanwhile");
      await cached;
      void a.replicator.flush().catch(() => undefined);
      for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
    };
    await a.replicator.snapshot();
    await a.replicator.waitUntilUploaded();
    expect(await contents(join(folder, "c.db"), store)).toEqual([...OWN, "meanwhile"]);
    a.db.close();
  });

  describe("its end before it goes on", () => {
    /** It has gone on until it was told of the gap. */
    async function goneOn({ store, a }: Awaited<ReturnType<typeof running>>) {
      await loseEnd(store);
      const heard: unknown[] = [];
      a.replicator.addEventListener("error", ({ detail }) => heard.push(detail));
      const texts: string[] = [];
      while (heard.length === 0 && texts.length < 100) {
        texts.push(`on ${texts.length}`);
        insert(a.db, texts.at(-1)!);
        await a.replicator.waitUntilUploaded();
      }
      expect(heard[0]).toBeInstanceOf(BrokenReplicaError);
      return [...OWN, ...texts];
    }

    test("is told of the gap, and closes it by a snapshot", async () => {
      const writer = await running();
      const taken = next(writer.a.replicator, "snapshot");
      const texts = await goneOn(writer);
      await taken;
      expect(await contents(join(writer.folder, "c.db"), writer.store)).toEqual(texts);
      writer.a.db.close();
    });

    test("and ends before it has closed the gap has the next process close it", async () => {
      const writer = await running();
      const { folder, path, store, network, a } = writer;
      network.fault = (method) => (method === "putStream" ? "before" : "pass");
      const left = join(use.folder(), "a.db");
      const failed = new Promise<void>((resolve) =>
        a.replicator.addEventListener("error", ({ detail }) => {
          if (detail instanceof StoreError) return resolve();
          for (const file of ["", "-wal"]) copyFileSync(`${path}${file}`, `${left}${file}`);
          cpSync(`${path}-sluice`, `${left}-sluice`, { recursive: true });
        }),
      );
      const texts = await goneOn(writer);
      await failed;
      a.db.close();
      await a.replicator.stop();
      network.fault = () => "pass";
      const again = await use.create(left, network);
      const taken = next(again, "snapshot");
      await again.start();
      await taken;
      expect(await contents(join(folder, "c.db"), store)).toEqual(texts);
    });
  });

  test("its end while it is down leaves no gap", async () => {
    const { folder, store, network, a } = await running();
    network.offline = true;
    insert(a.db, "while it was down");
    await expect(a.replicator.flush()).rejects.toThrow();
    await loseEnd(store);
    network.offline = false;
    await a.replicator.waitUntilUploaded();
    expect(await verifyReplica({ replica: store })).toMatchObject({ ok: true, findings: [] });
    expect(await contents(join(folder, "c.db"), store)).toEqual([...OWN, "while it was down"]);
    a.db.close();
  });
});

describe("a restore of what the store lost since it was uploaded", () => {
  test("is refused also up to a time that is later, and not up to one before", async () => {
    const { folder, path, store } = await without(loseEnd);
    const elsewhere = await use.create(join(folder, "b.db"), store);
    const left = await elsewhere.restore();
    if (!left.restored) throw new Error(left.reason);
    const again = await use.create(path, store);
    await expect(again.restore({ timestamp: Date.now() })).rejects.toBeInstanceOf(BrokenReplicaError);
    expect(await again.restore({ timestamp: left.time })).toMatchObject({ restored: true });
  });

  test("is refused where another went on to the same transaction", async () => {
    const { folder, path, store } = await without(loseEnd);
    await goOn({ folder, store }, ["b 1", "b 2", "b 3"]);
    const again = await use.create(path, store);
    const refusal = await again.start().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BrokenReplicaError);
    expect((refusal as Error).message).toContain("restore({ txid: 5 })");
    expect(await again.restore({ txid: 5 })).toMatchObject({ restored: true });
  });

  test("names what works, also where a start needs it for a database that lost its WAL", async () => {
    const { path, store, a } = await running();
    const torn = join(use.folder(), "a.db");
    for (const file of ["", "-wal"]) copyFileSync(`${path}${file}`, `${torn}${file}`);
    truncateSync(`${torn}-wal`, 32 + 4096 + 24);
    cpSync(`${path}-sluice`, `${torn}-sluice`, { recursive: true });
    a.db.close();
    await a.replicator.stop();
    await loseEnd(store);
    const again = await use.create(torn, store);
    const refusal = await again.start().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(BrokenReplicaError);
    expect((refusal as Error).message).toContain("restore({ txid: 2, overwrite: true })");
    expect(await again.restore({ txid: 2, overwrite: true })).toMatchObject({ restored: true });
    await again.start();
    const db = again.openDatabase();
    expect(rows(db)).toEqual(["common"]);
    db.close();
  });

  test("puts nothing where nothing is left that what waits could lead on from", async () => {
    const { path, store } = await without(loseAll, "since");
    const again = await use.create(path, store);
    await expect(again.start()).rejects.toBeInstanceOf(BrokenReplicaError);
    expect(again.status().pendingSegments).toBe(1);
    expect(await keysBelow(store, "")).toEqual([]);
    await again.stop();
    rmSync(`${path}-sluice`, { recursive: true });
    const anew = await use.create(path, store);
    await anew.start();
    await anew.snapshot();
  });
});
