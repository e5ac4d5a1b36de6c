/**
 * Entries of the write cache damaged on their disk, under a replicator that runs, or before one starts: that is said, nothing waits for them, nothing
 * damaged gets into the store, and the replica restores to what the database is.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { CacheDirectory } from "../../node/cache-directory.ts";
import { MemoryStore, verifyReplica } from "../../node/index.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { collect } from "../../src/store/object-store.ts";
import { decodeObject, encodeObject, partsOf, someId } from "../format/objects.ts";
import { FaultyStore } from "./faulty-store.ts";
import {
  pageHashes,
  quietModule,
  quietReplicator,
  restoredPages,
  temporaryFolder,
} from "./replica-fixture.ts";

const sqlite3 = await quietModule();

/** A replicator whose cache holds nothing, and its replica a snapshot. */
async function running(config: { maxCacheSize?: number } = {}) {
  const dbPath = join(temporaryFolder(), "data.db");
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const cacheDir = join(temporaryFolder(), "cache");
  const start = async (more: { onUnknownLocal?: "adopt-remote" } = {}) => {
    const { replicator } = await quietReplicator({
      dbPath,
      replica: store,
      sqlite3,
      cacheDir,
      stopTimeoutMs: 0,
      ...config,
      ...more,
    });
    await replicator.start();
    const heard: { code?: string }[] = [];
    replicator.addEventListener("error", ({ detail }) => heard.push(detail as { code?: string }));
    const db = replicator.openDatabase();
    onTestFinished(async () => {
      db.close();
      await replicator.stop();
    });
    return { replicator, db, heard };
  };
  const first = await start();
  first.db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await first.replicator.snapshot();
  await first.replicator.waitUntilUploaded();
  /** As many entries wait, the second and those behind it stored as they are. */
  const cache = (db: Database, entries: number) => {
    for (let i = 0; i < entries; i++) {
      db.exec("INSERT INTO t(v) VALUES(hex(randomblob(3000))); PRAGMA wal_checkpoint(TRUNCATE)");
    }
    const names = readdirSync(cacheDir).filter((name) => name.endsWith(".entry"));
    return names.sort().map((name) => join(cacheDir, name));
  };
  const expectRestored = async (db: Database) => {
    const path = join(temporaryFolder(), "restored.db");
    const restored = await restoredPages(sqlite3, memory, path, Number(db.selectValue("PRAGMA page_size")));
    expect(restored).toEqual(pageHashes(sqlite3, db));
  };
  return { ...first, start, cache, cacheDir, dbPath, memory, store, expectRestored };
}

async function readObject(store: MemoryStore, key: string) {
  const { body, size } = await store.get(key);
  return collect(body, size);
}

function flip(path: string, at: number, bit: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 1 << bit;
  writeFileSync(path, bytes);
}

/** Bytes of the object in an entry's file. */
function objectLength(path: string): number {
  return Number(readFileSync(path).subarray(-64).readBigUInt64LE(32));
}

/** Which entry of three: one that nobody looks into before it goes up, one that is packed first, the last. */
const WHICH = [0, 1, 2];
/** Places in each part of a file. */
const PLACES = [0, 0.01, 0.3, 0.7, 0.99];

describe.each(WHICH)("entry %i of 3", (which) => {
  test("a bit of it is altered, wherever that is", { timeout: 300_000 }, async () => {
    const { replicator, db, heard, cache, memory, expectRestored } = await running();
    for (const part of ["frame", "header", "blocks", "index", "trailer", "json", "footer"] as const)
      for (const [i, place] of PLACES.entries()) {
        heard.length = 0;
        const path = cache(db, 3)[which]!;
        const { blocks, index, trailer } = partsOf(readFileSync(path).subarray(0, objectLength(path)));
        const size = statSync(path).size;
        const [from, to] = {
          frame: [0, 8],
          header: [8, blocks],
          blocks: [blocks, index],
          index: [index, trailer],
          trailer: [trailer, objectLength(path)],
          json: [objectLength(path), size - 64],
          footer: [size - 64, size],
        }[part] as [number, number];
        flip(path, Math.floor(from + place * (to - from)), i % 8);
        await replicator.waitUntilUploaded();
        // What stands behind the object is of the start alone.
        const isRead = part !== "json" && part !== "footer";
        const codes = heard.map(({ code }) => code);
        expect({ part, place, codes: new Set(codes) }).toEqual({
          part,
          place,
          codes: new Set(isRead ? ["SLUICE_CACHE"] : []),
        });
        await expectRestored(db);
      }
    expect(await verifyReplica({ replica: memory })).toMatchObject({ ok: true, findings: [] });
  });

  test("it is cut, or gone", { timeout: 300_000 }, async () => {
    const { replicator, db, heard, cache, memory, expectRestored } = await running();
    for (const left of [0, 1, 8, 100, 0.3, 0.7, 0.99, -1, null]) {
      heard.length = 0;
      const path = cache(db, 3)[which]!;
      const length = objectLength(path);
      if (left === null) rmSync(path);
      else truncateSync(path, left < 0 ? length + left : left < 1 ? Math.floor(left * length) : left);
      await replicator.waitUntilUploaded();
      expect(heard).toMatchObject([{ code: "SLUICE_CACHE" }]);
      await expectRestored(db);
    }
    expect(await verifyReplica({ replica: memory })).toMatchObject({ ok: true, findings: [] });
  });
});

test("its format number is altered", async () => {
  const { replicator, db, heard, cache, memory, expectRestored } = await running();
  for (const which of WHICH) {
    const path = cache(db, 3)[which]!;
    flip(path, readFileSync(path).indexOf('"format":1') + 9, 1);
    await replicator.flush();
    expect(replicator.status()).toMatchObject({ state: "running", pendingSegments: 0 });
    await expectRestored(db);
  }
  expect(new Set(heard.map(({ code }) => code))).toEqual(new Set(["SLUICE_CACHE"]));
  await replicator.snapshot();
  expect(replicator.status().lastAudit).toMatchObject({ outcome: "equal" });
  expect(await verifyReplica({ replica: memory })).toMatchObject({ ok: true, findings: [] });
});

test.each(["altered", "cut"])(
  "one that is %s, whose upload's answer was lost, is in the store",
  async (how) => {
    const { replicator, db, heard, cache, store, expectRestored } = await running();
    let sent = 0;
    // The damaged one is the second.
    store.fault = (method, key) =>
      method === "put" && key.startsWith("wal/") && ++sent === 2 ? "after" : "pass";
    const path = cache(db, 3)[1]!;
    // It is packed, in memory, by the time that it is sent; and damaged before it could be tried again.
    store.meanwhile = async (method) => {
      if (method !== "put" || sent !== 2) return;
      if (how === "cut") truncateSync(path, 100);
      else flip(path, 100, 3);
    };
    const resyncs: unknown[] = [];
    replicator.addEventListener("resync", ({ detail }) => resyncs.push(detail));
    const uploaded = replicator.waitUntilUploaded();
    await expect.poll(() => heard.length).toBe(1);
    replicator.wake();
    await uploaded;
    expect({ heard, resyncs }).toMatchObject({ heard: [{ code: "SLUICE_STORE" }], resyncs: [] });
    await expectRestored(db);
  },
);

describe("one that was sent, damaged and given up, and arrives late, is the writer's own", () => {
  /** The head of three is damaged; `late` is what was sent of it, and `arrive` lets it land. */
  async function cutOff() {
    const site = await running();
    const { memory, cache, db, replicator } = site;
    const path = cache(db, 3)[0]!;
    const late = new Uint8Array(readFileSync(path).subarray(0, objectLength(path)));
    const { to } = (await decodeObject(late)).object;
    const key = segmentKey(0, to.txid, to.txid);
    flip(path, 100, 3);
    const arrive = (bytes: Uint8Array = late) => memory.put(key, bytes, { ifNoneMatch: "*" });
    const fenced: unknown[] = [];
    replicator.addEventListener("fenced", ({ detail }) => fenced.push(detail));
    const givenUp = new Promise((resolve) => replicator.addEventListener("resync", resolve, { once: true }));
    const expectOwn = async (last: Pick<typeof site, "db" | "replicator" | "heard"> = site) => {
      await last.replicator.waitUntilUploaded();
      last.db.exec("INSERT INTO t(v) VALUES('on')");
      await last.replicator.waitUntilUploaded();
      expect(last.heard).toMatchObject(last === site ? [{ code: "SLUICE_CACHE" }] : []);
      expect(last.db.selectValue("SELECT count(*) FROM t")).toBe(4);
      await site.expectRestored(last.db);
      expect(fenced).toEqual([]);
      expect(await verifyReplica({ replica: memory })).toMatchObject({ ok: true, findings: [] });
    };
    return { ...site, late, key, arrive, givenUp, expectOwn };
  }

  test("before the resync looks where the chain ends", async () => {
    const { replicator, arrive, givenUp, expectOwn } = await cutOff();
    const uploaded = replicator.waitUntilUploaded();
    await givenUp;
    await arrive();
    await uploaded;
    await expectOwn();
  });

  test("just before what makes up for it", async () => {
    const { replicator, store, key, arrive, givenUp, expectOwn } = await cutOff();
    const uploaded = replicator.waitUntilUploaded();
    await givenUp;
    store.meanwhile = async (method, put) => {
      if (method !== "put" || put !== key) return;
      store.meanwhile = async () => {};
      await arrive();
    };
    await uploaded;
    await expectOwn();
  });

  describe.each(["before what makes up for it is cached", "behind that"])(
    "while the process is gone, which ended %s",
    (ended) => {
      test.each([
        ["as it is", {}],
        ["and was merged since", {}],
        ["and it is decided what counts where another went on", { onUnknownLocal: "adopt-remote" }],
      ] as const)("%s", async (how, config) => {
        const { replicator, db, memory, store, key, late, start, arrive, expectOwn } = await cutOff();
        const asked = new Promise<void>((resolve) => {
          replicator.addEventListener("resync", () => {
            const [last, ofIt] = ended === "behind that" ? ["put", key] : ["list", "snapshots/"];
            store.fault = (...request) => {
              if (request[0] !== last || request[1] !== ofIt) return "pass";
              resolve();
              return "before";
            };
          });
        });
        replicator.flush().catch(() => undefined);
        await asked;
        db.close();
        await replicator.stop();
        store.fault = () => "pass";
        if (how !== "and was merged since") await arrive();
        else {
          const { object, pages } = await decodeObject(late);
          const { to, header } = object;
          await memory.put(segmentKey(1, to.txid, to.txid), encodeObject({ ...header, to }, pages).bytes);
        }
        await expectOwn(await start(config));
      });
    },
  );

  test("another writer's object there is another's", async () => {
    const { replicator, memory, key, late, arrive, givenUp } = await cutOff();
    const uploaded = replicator.waitUntilUploaded().catch((error: unknown) => error);
    await givenUp;
    const { object, pages } = await decodeObject(late);
    await arrive(encodeObject({ ...object.header, writer: someId }, pages).bytes);
    expect(await uploaded).toMatchObject({ code: "SLUICE_FENCED" });
    const standing = await decodeObject(await readObject(memory, key));
    expect(standing.object.header.writer).toBe(someId);
  });
});

test("where the replica is damaged too, a snapshot behind the resync makes up for that", async () => {
  const { replicator, db, cache, memory, expectRestored } = await running();
  for await (const { key, size } of memory.list("snapshots/")) {
    const bytes = await collect((await memory.get(key)).body, size);
    bytes[bytes.length - 60]! ^= 1; // in the index
    await memory.put(key, bytes);
  }
  const taken = new Promise((resolve) => replicator.addEventListener("snapshot", resolve, { once: true }));
  flip(cache(db, 3)[0]!, 100, 3);
  await replicator.waitUntilUploaded();
  await taken;
  await expectRestored(db);
});

test("what cannot be read for a moment is not given up: it is tried again", async () => {
  const { replicator, db, heard, cache, expectRestored } = await running();
  const resyncs: unknown[] = [];
  replicator.addEventListener("resync", ({ detail }) => resyncs.push(detail));
  const path = cache(db, 3)[1]!;
  renameSync(path, `${path}.aside`);
  mkdirSync(path); // reading it fails with EISDIR
  await expect(replicator.flush()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
  rmdirSync(path);
  renameSync(`${path}.aside`, path);
  await replicator.flush();
  expect(new Set(heard.map(({ code }) => code))).toEqual(new Set(["SLUICE_CACHE"]));
  expect(resyncs).toEqual([]);
  await expectRestored(db);
});

test("where what makes up for it is damaged, too, that is a failure, and the next try waits as for any", async () => {
  const { replicator, db, heard, cache, cacheDir, memory, expectRestored } = await running();
  const { publish } = CacheDirectory.prototype;
  const keepsNothing = vi.spyOn(CacheDirectory.prototype, "publish").mockImplementation(function (
    this: CacheDirectory,
    ...args
  ) {
    const file = publish.apply(this, args);
    if (file.path.endsWith(".entry")) rmSync(file.path);
    return file;
  });
  onTestFinished(() => keepsNothing.mockRestore());
  db.exec("INSERT INTO t(v) VALUES('a')");
  await expect(replicator.flush()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
  expect(replicator.status()).toMatchObject({ failedUploads: 1 });
  await expect.poll(() => heard.length).toBe(2);
  keepsNothing.mockRestore();
  // The resync of the last failure may have met the cache as it was.
  await replicator.flush().catch(() => undefined);
  await replicator.flush();
  expect(readdirSync(cacheDir).filter((name) => name.endsWith(".entry"))).toEqual([]);
  await expectRestored(db);
  // Once more is the first time again.
  flip(cache(db, 1)[0]!, 100, 3);
  await replicator.flush();
  await expectRestored(db);
  expect(await verifyReplica({ replica: memory })).toMatchObject({ ok: true, findings: [] });
});

test("one that cannot be merged does not keep a backlog that grew too large", async () => {
  const { replicator, db, cache, store, expectRestored } = await running({ maxCacheSize: 65_536 });
  store.offline = true;
  const dropped = new Promise((resolve) => replicator.addEventListener("cache-overflow", resolve));
  flip(cache(db, 40)[2]!, 100, 3);
  await dropped;
  store.offline = false;
  replicator.wake();
  await replicator.waitUntilUploaded();
  await expectRestored(db);
});

test("commits go on meanwhile, and where it does not come to its end the next start makes up for it", async () => {
  const { replicator, db, cache, store, start, expectRestored } = await running();
  flip(cache(db, 3)[0]!, 100, 3);
  const needed = new Promise((resolve) => replicator.addEventListener("resync", resolve, { once: true }));
  // Whether it is in the store is found out, but not where the chain ends.
  store.fault = (method, key) => (method === "list" && !key.endsWith(".zst") ? "before" : "pass");
  replicator.flush().catch(() => undefined);
  await needed;
  db.exec("INSERT INTO t(v) VALUES('meanwhile')");
  db.close();
  await replicator.stop();
  store.fault = () => "pass";
  const next = await start();
  await next.replicator.waitUntilUploaded();
  await expectRestored(next.db);
});

describe("before a start", () => {
  /** Three entries wait, the newest record is in a file of its own, and nobody runs. */
  async function stopped(
    site: Awaited<ReturnType<typeof running>>,
    { replicator, db }: Pick<typeof site, "replicator" | "db">,
  ) {
    const paths = site.cache(db, 3);
    site.store.offline = true;
    db.close();
    await replicator.stop();
    site.store.offline = false;
    return paths;
  }

  /** The beginning of an entry's record, and the end of its object's header. */
  function partsOfEntry(path: string) {
    const [bytes, record] = [readFileSync(path), objectLength(path)];
    return { size: bytes.length, record, blocks: partsOf(bytes.subarray(0, record)).blocks };
  }

  test.each(WHICH)(
    "entry %i of 3 is cut, or its record altered: it starts, and the database makes up for it",
    { timeout: 300_000 },
    async (which) => {
      const site = await running();
      let last: Pick<typeof site, "replicator" | "db" | "heard"> = site;
      const attempt = async (how: string, damage: (path: string) => void) => {
        damage((await stopped(site, last))[which]!);
        last = await site.start();
        await last.replicator.waitUntilUploaded();
        expect({ how, codes: new Set(last.heard.map(({ code }) => code)) }).toEqual({
          how,
          codes: new Set(["SLUICE_CACHE"]),
        });
        await site.expectRestored(last.db);
      };
      for (const part of ["blocks", "record"] as const)
        for (const more of [0, 1, 50])
          await attempt(`cut at ${part} + ${more}`, (path) =>
            truncateSync(path, partsOfEntry(path)[part] + more),
          );
      for (const less of [1, 20, 63, 64])
        await attempt(`cut by ${less}`, (path) => truncateSync(path, partsOfEntry(path).size - less));
      for (const less of [1, 20, 30, 64, 100, 300])
        await attempt(`altered at -${less}`, (path) => flip(path, partsOfEntry(path).size - less, less % 8));
      expect(await verifyReplica({ replica: site.memory })).toMatchObject({ ok: true, findings: [] });
    },
  );

  test.each(WHICH)(
    "entry %i of 3 does not say any more where it belongs: it is refused, and nothing deleted",
    async (which) => {
      const site = await running();
      const path = (await stopped(site, site))[which]!;
      const bytes = readFileSync(path);
      const { blocks } = partsOfEntry(path);
      const refused = async () => {
        const before = readdirSync(site.cacheDir).sort();
        await expect(site.start()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
        expect(readdirSync(site.cacheDir).sort()).toEqual(before);
      };
      for (const length of [0, 1, 8, 9, blocks - 1]) {
        writeFileSync(path, bytes.subarray(0, length));
        await refused();
      }
      writeFileSync(path, bytes);
      const { db, replicator } = await site.start();
      await replicator.waitUntilUploaded();
      await site.expectRestored(db);
    },
  );

  test("a damaged file is that of another entry, or of another write cache: it is refused", async () => {
    const [site, other] = [await running(), await running()];
    const [paths, strange] = [await stopped(site, site), await stopped(other, other)];
    const whole = readFileSync(paths[0]!);
    for (const from of [paths[1]!, strange[0]!]) {
      writeFileSync(paths[0]!, readFileSync(from).subarray(0, -1));
      await expect(site.start()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
    }
    writeFileSync(paths[0]!, whole);
    const { replicator } = await site.start();
    await replicator.flush();
  });

  test("the one behind a damaged one is gone: where that ends is not known, and it is refused", async () => {
    const site = await running();
    const [damaged, gone] = await stopped(site, site);
    truncateSync(damaged!, 3000);
    rmSync(gone!);
    await expect(site.start()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
  });

  test("two of them are damaged", async () => {
    const site = await running();
    for (const path of (await stopped(site, site)).slice(1)) truncateSync(path, 3000);
    const { replicator, db } = await site.start();
    await replicator.waitUntilUploaded();
    await site.expectRestored(db);
  });

  test("where the database is gone, too, it is not given up: the start fails, and nothing is deleted", async () => {
    const site = await running();
    const paths = await stopped(site, site);
    truncateSync(paths[1]!, 3000);
    rmSync(site.dbPath);
    await expect(site.start()).rejects.toMatchObject({ code: "SLUICE_CACHE" });
    expect(readdirSync(site.cacheDir)).toEqual(
      expect.arrayContaining(paths.slice(1).map((path) => basename(path))),
    );
  });

  test("one whose upload's answer was lost is in the store", async () => {
    const site = await running();
    const paths = site.cache(site.db, 3);
    site.store.fault = (method, key) => (method === "put" && key.startsWith("wal/") ? "after" : "pass");
    await expect(site.replicator.flush()).rejects.toMatchObject({ code: "SLUICE_STORE" });
    site.store.offline = true;
    site.db.close();
    await site.replicator.stop();
    site.store.offline = false;
    truncateSync(paths[0]!, 3000);
    const { replicator, db, heard } = await site.start();
    await replicator.waitUntilUploaded();
    expect(heard).toEqual([]);
    await site.expectRestored(db);
  });
});
