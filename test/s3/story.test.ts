import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import {
  ReplicaFencedError,
  ReplicaFollower,
  type SqliteReplicatorConfig,
  StoreError,
} from "../../node/index.ts";
import { createTable, insert, next, rows, useReplicators } from "../replicator/fixture.ts";
import type { Gateway } from "./gateway.ts";
import { type SpoilingProxy, startProxy } from "./proxy.ts";
import { freshBucket, ownGateway, server } from "./server.ts";

type Location = Pick<SqliteReplicatorConfig, "s3Bucket" | "s3Prefix" | "s3">;

/** The whole story of a replica, over a real S3 server. */
describe.skipIf(server === null)("a replica in S3", () => {
  const use = useReplicators();
  const proxies: SpoilingProxy[] = [];
  const gateways: Gateway[] = [];
  afterEach(async () => {
    for (const proxy of proxies.splice(0)) await proxy.close();
    for (const gateway of gateways.splice(0)) await gateway.stop();
  });

  async function location(endpoint?: string): Promise<Location> {
    const { bucket, region, credentials, endpoint: standard } = await freshBucket();
    return {
      s3Bucket: bucket,
      s3Prefix: "backups/app",
      s3: { ...(region !== undefined && { region }), credentials, endpoint: endpoint ?? standard },
    };
  }

  async function begin(dbPath: string, where: Location, config: Partial<SqliteReplicatorConfig> = {}) {
    const replicator = await use.create(dbPath, undefined, { ...where, ...config });
    await replicator.start();
    const db = replicator.openDatabase();
    createTable(db);
    return { replicator, db };
  }

  async function restored(where: Location): Promise<unknown[]> {
    const { replicator, db } = await begin(join(use.folder(), "restored.db"), where);
    const found = rows(db);
    db.close();
    await replicator.stop();
    return found;
  }

  /** A direct way to the same objects, for reading while a proxy or gateway is broken. */
  function direct(where: Location): Location {
    return { ...where, s3: { ...where.s3, endpoint: server!.endpoint } };
  }

  test("replicate, lose the database, restore it and go on", async () => {
    const where = await location();
    const folder = use.folder();
    const first = await begin(join(folder, "a.db"), where);
    for (let i = 0; i < 200; i++) insert(first.db, `row ${i}`);
    await first.replicator.waitUntilUploaded();
    await first.replicator.snapshot();
    insert(first.db, "after the snapshot");
    await first.replicator.waitUntilUploaded();
    const expected = rows(first.db);
    first.db.close();
    await first.replicator.stop();
    for (const name of ["a.db", "a.db-sluice"]) rmSync(join(folder, name), { recursive: true });
    const again = await begin(join(folder, "a.db"), where);
    expect(rows(again.db)).toEqual(expected);
    insert(again.db, "went on");
    await again.replicator.waitUntilUploaded();
    expect(await restored(where)).toEqual([...expected, "went on"]);
    again.db.close();
  });

  test("a follower keeps up, over a network that is cut on the way", async () => {
    const where = await location();
    const { replicator, db } = await begin(join(use.folder(), "a.db"), where);
    await replicator.waitUntilUploaded();
    await replicator.snapshot();
    let requests = 0;
    const proxy = await startProxy(server!.endpoint, {
      answer: (incoming) => {
        requests += 1;
        if (requests % 4 !== 0) return false;
        incoming.socket.destroy();
        return true;
      },
    });
    proxies.push(proxy);
    const dbPath = join(use.folder(), "copy.db");
    const s3 = { ...where.s3, endpoint: proxy.endpoint };
    const follower = await ReplicaFollower.create({ ...where, s3, dbPath, pollIntervalMs: 20 });
    onTestFinished(() => follower.stop());
    await follower.start();
    const copy = follower.openDatabase();
    for (let i = 0; i < 5; i++) {
      insert(db, `row ${i}`);
      await replicator.waitUntilUploaded();
      await follower.waitFor({ txid: replicator.status().uploaded });
      expect(rows(copy)).toEqual(rows(db));
    }
    copy.close();
  });

  test("of two writers exactly one continues", async () => {
    const where = await location();
    const folder = use.folder();
    const a = await begin(join(folder, "a.db"), where);
    await a.replicator.snapshot();
    await a.replicator.flush();
    const b = await begin(join(folder, "b.db"), where);
    insert(a.db, "a");
    insert(b.db, "b");
    const outcomes = await Promise.allSettled([a, b].map(({ replicator }) => replicator.waitUntilUploaded()));
    const refused = outcomes.filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(1);
    expect((refused[0] as PromiseRejectedResult).reason).toBeInstanceOf(ReplicaFencedError);
    const winner = outcomes[0]!.status === "fulfilled" ? "a" : "b";
    expect(await restored(where)).toEqual([winner]);
    for (const { db } of [a, b]) {
      insert(db, "still works");
      db.close();
    }
  });

  test("of ten that begin at once one is the first", async () => {
    const where = await location();
    const folder = use.folder();
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const replicator = await use.create(join(folder, `${i}.db`), undefined, {
          ...where,
          autoRestore: false,
        });
        const begun = await replicator.start().then(
          () => true,
          () => false,
        );
        if (!begun) return false;
        const db = replicator.openDatabase();
        createTable(db);
        insert(db, `writer ${i}`);
        const won = await replicator.waitUntilUploaded().then(
          () => true,
          () => false,
        );
        if (won) await replicator.snapshot();
        db.close();
        return won;
      }),
    );
    expect(outcomes.filter(Boolean)).toHaveLength(1);
    expect(await restored(where)).toEqual([`writer ${outcomes.indexOf(true)}`]);
  });

  test("a server that dies in the middle of an upload and comes back costs nothing", async () => {
    const gateway = await ownGateway();
    gateways.push(gateway);
    const where = await location(gateway.endpoint);
    const { replicator, db } = await begin(join(use.folder(), "a.db"), where);
    await replicator.snapshot();
    const failed = next(replicator, "error");
    gateway.pause(); // the upload is under way, and hangs
    db.exec("INSERT INTO t(b) VALUES (hex(randomblob(2000000)))");
    await next(replicator, "wal");
    await gateway.stop();
    expect(await failed).toBeInstanceOf(StoreError);
    for (let i = 0; i < 50; i++) insert(db, `while it was away ${i}`);
    expect(replicator.status()).toMatchObject({ state: "running" });
    await gateway.start();
    await replicator.waitUntilUploaded();
    expect(await restored(direct(where))).toEqual(rows(db));
    db.close();
  });

  test("a network that cuts one request in five loses and repeats nothing", async () => {
    let state = 1; // of a fixed sequence: a seed, so that a run can be had again
    const proxy = await startProxy(server!.endpoint, {
      answer: (incoming) => {
        state = (state * 48271) % 2147483647;
        if (state % 5 !== 0) return false;
        incoming.socket.destroy();
        return true;
      },
    });
    proxies.push(proxy);
    const where = await location(proxy.endpoint);
    const flaky = await begin(join(use.folder(), "a.db"), where);
    for (let i = 0; i < 5; i++) {
      insert(flaky.db, `row ${i}`);
      await flaky.replicator.waitUntilUploaded();
    }
    expect(flaky.replicator.status().state).toBe("running");
    await throughCuts(() => flaky.replicator.snapshot());
    insert(flaky.db, "last");
    await flaky.replicator.waitUntilUploaded();
    expect(await restored(where)).toEqual(rows(flaky.db)); // restored over the same network
    flaky.db.close();
  });

  test("a wrong bucket and wrong keys are said so, and the database works meanwhile", async () => {
    const where = await location();
    for (const [wrong, kind] of [
      [{ ...where, s3Bucket: "sluice-no-such-bucket" }, "no-such-bucket"],
      [
        { ...where, s3: { ...where.s3, credentials: { accessKeyId: "WRONG", secretAccessKey: "wrong" } } },
        "access-denied",
      ],
    ] as const) {
      const replicator = await use.create(join(use.folder(), "a.db"), undefined, wrong);
      await expect(replicator.start()).rejects.toMatchObject({ code: "SLUICE_STORE", kind });
    }
    let wrong = false;
    const good = where.s3!.credentials as { accessKeyId: string; secretAccessKey: string };
    const credentials = async () =>
      wrong ? { accessKeyId: "WRONG", secretAccessKey: "wrong" } : { ...good };
    const { replicator, db } = await begin(join(use.folder(), "a.db"), {
      ...where,
      s3: {
        ...where.s3,
        credentials: async () => ({ ...(await credentials()), expiration: new Date(Date.now() + 1) }),
      },
    });
    await replicator.snapshot();
    wrong = true;
    insert(db, "kept");
    await expect(replicator.flush()).rejects.toMatchObject({ kind: "access-denied" });
    expect(rows(db)).toEqual(["kept"]);
    wrong = false;
    await replicator.flush();
    expect(await restored(where)).toEqual(["kept"]);
    db.close();
  });
});

/** Asks again where the network cut a request: `snapshot()` says so, and does not wait for its own next try. */
async function throughCuts(act: () => Promise<void>): Promise<void> {
  for (;;)
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "network") throw error;
    }
}
