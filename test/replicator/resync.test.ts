import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  BrokenReplicaError,
  CorruptObjectError,
  DirectoryStore,
  type ResyncEvent,
  type SqliteReplicator,
  type SqliteReplicatorConfig,
  UnsupportedFormatError,
  verifyReplica,
} from "../../node/index.ts";
import { FsWriteCache } from "../../node/write-cache.ts";
import { openStored } from "../../src/replica.ts";
import { asNewer, codecs } from "../format/objects.ts";
import { native } from "../node/vfs-fixture.ts";
import { FaultyStore } from "./faulty-store.ts";
import { next } from "./fixture.ts";
import { objectKeys } from "./history-fixture.ts";
import { quietModule, quietReplicator, temporaryFolder } from "./replica-fixture.ts";

const PAGE = 4096;

/** A database of some hundred pages, its replica beside it, stopped: one plain file. */
async function stopped(config: Partial<SqliteReplicatorConfig> = {}) {
  const folder = temporaryFolder();
  const path = join(folder, "data.db");
  native(path, `PRAGMA page_size=${PAGE}; CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE big(body)`);
  const site = new Site(folder, path, config);
  const replicator = await site.create();
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("BEGIN");
  for (let i = 0; i < 1000; i++) db.exec("INSERT INTO t(v) VALUES(hex(randomblob(500)))");
  db.exec("COMMIT");
  await replicator.snapshot();
  db.exec("INSERT INTO t(v) VALUES('the last one replicated')");
  await replicator.waitUntilUploaded();
  db.close();
  await replicator.stop();
  site.remember(readFileSync(path));
  return site;
}

class Site {
  readonly folder: string;
  readonly path: string;
  readonly replica: string;
  readonly #config: Partial<SqliteReplicatorConfig>;
  #keys: string[] = [];
  #before: Buffer = Buffer.alloc(0);

  constructor(folder: string, path: string, config: Partial<SqliteReplicatorConfig>) {
    this.folder = folder;
    this.path = path;
    this.replica = join(folder, "replica");
    this.#config = config;
  }

  get store(): DirectoryStore {
    return new DirectoryStore(`file://${this.replica}`);
  }

  async create(config: Partial<SqliteReplicatorConfig> = {}): Promise<SqliteReplicator> {
    const sqlite3 = await quietModule();
    const all = { dbPath: this.path, replica: this.store, sqlite3, ...this.#config, ...config };
    return (await quietReplicator(all)).replicator;
  }

  segments(): string[] {
    return objectKeys(this.replica, "wal/0");
  }

  /** Damages the last of the replica's objects there, and returns its key. */
  damage(at: string): string {
    const key = objectKeys(this.replica, at).at(-1)!;
    const bytes = readFileSync(join(this.replica, key));
    bytes[bytes.length - 60]! ^= 1; // in the index
    writeFileSync(join(this.replica, key), bytes);
    return key;
  }

  /** A copy, as a process that was killed now would leave it. */
  asKilled(): Site {
    const folder = join(this.folder, "killed");
    mkdirSync(folder);
    execFileSync("sh", ["-c", `cp -a ${this.path}* ${this.replica} ${folder}/`]);
    return new Site(folder, join(folder, "data.db"), {});
  }

  /** One more transaction, uploaded. */
  async commit(sql: string): Promise<void> {
    const replicator = await this.create();
    await replicator.start();
    const db = replicator.openDatabase();
    db.exec(sql);
    await replicator.waitUntilUploaded();
    db.close();
    await replicator.stop();
  }

  /** The replica as it is now holds this database. */
  remember(database: Buffer): void {
    this.#keys = this.segments();
    this.#before = database;
  }

  /** Pages in which the database differs from what the replica held, by bytes and not by Sluice. */
  differing(): number {
    const after = readFileSync(this.path);
    let count = 0;
    for (let at = 0; at < after.length; at += PAGE)
      if (!after.subarray(at, at + PAGE).equals(this.#before.subarray(at, at + PAGE))) count += 1;
    return count;
  }

  /** The next start: what it says of a resync, with the segment that it made. The database is stopped again afterwards. */
  async resynced(replicator?: SqliteReplicator) {
    const running = replicator ?? (await this.create());
    const events: ResyncEvent[] = [];
    const errors: unknown[] = [];
    running.addEventListener("resync", ({ detail }) => events.push(detail));
    running.addEventListener("error", ({ detail }) => errors.push(detail));
    await running.start();
    await running.waitUntilUploaded();
    const { state, captured, cached, uploaded } = running.status();
    expect({ state, cached, uploaded }).toEqual({ state: "running", cached: captured, uploaded: captured });
    await running.stop();
    const made = this.segments().filter((key) => !this.#keys.includes(key));
    expect(made).toHaveLength(1);
    const size = readFileSync(join(this.replica, made[0]!)).length;
    const segment = await openStored(this.store, { key: made[0]!, size }, codecs);
    const done = events.at(-1);
    expect(events.map(({ phase }) => phase)).toEqual(["needed", "done"]);
    if (done?.phase !== "done") throw new Error("a resync ends");
    expect(segment.pgnos.length).toBe(done.pages);
    return { ...done, segment, errors };
  }

  /** Both the state now and the one before the resync are what restores from the replica. */
  async expectHistory(): Promise<void> {
    expect(await this.restores(this.replica, readFileSync(this.path))).toBe(true);
    const earlier = join(this.folder, "earlier");
    cpSync(this.replica, earlier, { recursive: true });
    for (const key of this.segments()) if (!this.#keys.includes(key)) rmSync(join(earlier, key));
    expect(await this.restores(earlier, this.#before)).toBe(true);
  }

  async restores(replica: string, database: Buffer): Promise<boolean> {
    const path = join(this.folder, "copy.db");
    for (const suffix of ["", "-sluice"]) rmSync(path + suffix, { recursive: true, force: true });
    const replicator = await this.create({ dbPath: path, replica: `file://${replica}` });
    await replicator.restore({ integrityCheck: "full" });
    await replicator.stop();
    return readFileSync(path).equals(database);
  }
}

describe("only what differs is uploaded, and history stays, after", () => {
  test.each<[string, string]>([
    ["a row was changed by native sqlite3", "UPDATE t SET v = 'native' WHERE id = 500"],
    ["rows were added", "INSERT INTO t(v) SELECT hex(randomblob(500)) FROM t LIMIT 100"],
    ["it grew, then was cut", "INSERT INTO big SELECT v FROM t; DELETE FROM big; VACUUM"],
    ["it became smaller", "DELETE FROM t WHERE id > 100; VACUUM"],
    ["its journal mode was changed", "PRAGMA journal_mode=delete"],
    [
      "a write that bypassed the WAL",
      "PRAGMA journal_mode=delete; UPDATE t SET v = 'by a rollback journal' WHERE id = 900",
    ],
  ])("%s", async (_, sql) => {
    const site = await stopped();
    native(site.path, sql);
    const { pages, pageCount, whole } = await site.resynced();
    expect(whole).toBeNull();
    expect(pages).toBe(site.differing());
    expect(pages).toBeLessThan(pageCount);
    await site.expectHistory();
  });

  test("the WAL with the last commits was deleted", async () => {
    const site = await stopped({ checkpointPages: 1e6 });
    const live = await site.create();
    await live.start();
    const db = live.openDatabase();
    db.exec("PRAGMA wal_autocheckpoint=0; UPDATE t SET v = 'in the WAL only' WHERE id IN (1, 400, 800)");
    await live.waitUntilUploaded();
    const killed = site.asKilled();
    db.close();
    await live.stop();
    killed.remember(readFileSync(site.path));
    rmSync(`${killed.path}-wal`);
    const { pages, whole } = await killed.resynced();
    expect(whole).toBeNull();
    expect(pages).toBe(killed.differing());
    expect(pages).toBeLessThan(10);
    await killed.expectHistory();
  });

  test("the backlog was dropped", async () => {
    const site = await stopped();
    const store = new FaultyStore(site.store);
    const replicator = await site.create({
      replica: store,
      maxCacheSize: 1 << 16,
      syncIntervalMs: 1,
      uploadIntervalMs: 1,
    });
    await replicator.start();
    const db = replicator.openDatabase();
    await replicator.waitUntilUploaded();
    store.fault = (method) => (method === "put" ? "before" : "pass");
    const overflow = next(replicator, "cache-overflow");
    let over = false;
    void overflow.then(() => {
      over = true;
    });
    // The head stays: of its pages, and of those behind it. A drain is always under way, which must not put it off.
    for (let i = 0; !over; i++) {
      expect(i).toBeLessThan(30);
      const cached = Promise.race([next(replicator, "wal"), overflow]);
      db.exec("UPDATE t SET v = hex(randomblob(500)) WHERE id BETWEEN 10 AND 200");
      await cached;
    }
    const done = new Promise<ResyncEvent>((resolve) =>
      replicator.addEventListener("resync", ({ detail }) => detail.phase === "done" && resolve(detail)),
    );
    db.exec("UPDATE t SET v = 'after the overflow' WHERE id = 900");
    store.fault = () => "pass";
    replicator.wake();
    const detail = await done;
    await replicator.waitUntilUploaded();
    if (detail.phase !== "done") throw new Error("a resync ends");
    expect(detail.whole).toBeNull();
    expect(detail.pages).toBeGreaterThan(10);
    expect(detail.pages).toBeLessThan(detail.pageCount / 2);
    db.close();
    await replicator.stop();
    await site.expectHistory();
  });

  test("a mark, though nothing differs: page 1 goes, as the transaction that is waited for", async () => {
    const site = await stopped();
    await mark(site);
    const replicator = await site.create();
    const before = replicator.status();
    const { pages, whole, segment } = await site.resynced(replicator);
    expect({ pages, whole, pgnos: [...segment.pgnos] }).toEqual({ pages: 1, whole: null, pgnos: [1] });
    expect(segment.to.txid).toBe(before.captured + 1);
    await site.expectHistory();
  });

  test("nothing but the file's time was changed: nothing is uploaded, and nothing is said", async () => {
    const site = await stopped();
    utimesSync(site.path, new Date(), new Date(0));
    const { replicator, complaints } = await quietReplicator({
      dbPath: site.path,
      replica: site.store,
      sqlite3: await quietModule(),
    });
    const keys = site.segments();
    await replicator.start();
    await replicator.flush();
    await replicator.stop();
    expect(complaints).toEqual([]);
    expect(site.segments()).toEqual(keys);
  });
});

describe("a replica that cannot be compared with", () => {
  test("is away: the resync waits, and the database works on", async () => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const store = new FaultyStore(site.store);
    const replicator = await site.create({ replica: store });
    replicator.addEventListener(
      "resync",
      () => {
        store.fault = (method) => (method === "list" || method === "get" ? "before" : "pass");
      },
      { once: true },
    );
    await replicator.start();
    const db = replicator.openDatabase();
    db.exec("UPDATE t SET v = 'while it is away' WHERE id = 100");
    expect(replicator.status().state).toBe("resync");
    const done = next(replicator, "resync");
    store.fault = () => "pass";
    replicator.wake();
    expect(await done).toMatchObject({ whole: null, pages: expect.any(Number) });
    await replicator.waitUntilUploaded();
    db.close();
    await replicator.stop();
    await site.expectHistory();
  });

  test.each(["snapshots", "wal/0"])("has a damaged object in %s: all pages go, which is said", async (at) => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const key = site.damage(at);
    const { pages, pageCount, whole, errors } = await site.resynced();
    expect(pages).toBe(pageCount);
    expect(whole).toContain(key);
    expect(errors).toContainEqual(expect.any(CorruptObjectError));
    // Behind what is damaged a snapshot makes it whole again.
    expect(await site.restores(site.replica, readFileSync(site.path))).toBe(true);
  });

  test.each<[string, string]>([
    ['"format":1', '"format":9'],
    ['"features":[]', '"features":["x"]'],
  ])("was written to by a newer release (%s): nothing is appended", async (known, unknown) => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const key = join(site.replica, site.segments().at(-1)!);
    writeFileSync(key, asNewer(readFileSync(key), known, unknown));
    const segments = site.segments();
    const replicator = await site.create({ stopTimeoutMs: 0 });
    const failed = next(replicator, "error");
    await replicator.start();
    expect(await failed).toBeInstanceOf(UnsupportedFormatError);
    expect(replicator.status().state).toBe("resync");
    await replicator.stop();
    expect(site.segments()).toEqual(segments);
  });

  test("ends earlier than what was uploaded: that is said, and the chain goes on from there", async () => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const lost = site.segments().at(-1)!;
    rmSync(join(site.replica, lost));
    site.remember(readFileSync(site.path));
    const { whole, segment, errors } = await site.resynced();
    expect({ whole, key: segment.key }).toEqual({ whole: null, key: lost });
    expect(errors).toContainEqual(expect.any(BrokenReplicaError));
    expect(await site.restores(site.replica, readFileSync(site.path))).toBe(true);
  });

  test("ends earlier than that, and is damaged before: all pages go on from where it ends", async () => {
    const site = await stopped();
    await site.commit("INSERT INTO t(v) VALUES('lost')");
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const lost = site.segments().at(-1)!;
    rmSync(join(site.replica, lost));
    const damaged = site.damage("snapshots");
    site.remember(readFileSync(site.path));
    const { whole, segment } = await site.resynced();
    expect(segment.key).toBe(lost);
    expect(whole).toContain(damaged);
    expect(await site.restores(site.replica, readFileSync(site.path))).toBe(true);
  });

  test("has no snapshot, and its last segment is damaged: all pages go", async () => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    rmSync(join(site.replica, "snapshots"), { recursive: true });
    const damaged = site.damage("wal/0");
    const { whole, pages, pageCount } = await site.resynced();
    expect(whole).toContain(damaged);
    expect(pages).toBe(pageCount);
    expect(await site.restores(site.replica, readFileSync(site.path))).toBe(true);
  });
});

describe("behind a damaged replica the snapshot that makes it whole is owed", () => {
  test.each<[string, "snapshots/" | "", string | null, "killed" | "stopped"]>([
    ["a process that is killed before it", "snapshots/", null, "killed"],
    ["one that is killed before the segment is up", "", null, "killed"],
    [
      "one that is killed behind more commits",
      "snapshots/",
      "UPDATE t SET v = 'later' WHERE id = 9",
      "killed",
    ],
    ["one that is stopped before it", "snapshots/", null, "stopped"],
  ])("by the start after %s, without a commit, and once", async (_, refused, sql, end) => {
    const site = await stopped();
    native(site.path, "UPDATE t SET v = 'native' WHERE id = 500");
    const damaged = site.damage("snapshots");
    const store = new FaultyStore(site.store);
    const replicator = await site.create({ replica: store, stopTimeoutMs: 0 });
    const done = new Promise<ResyncEvent>((resolve) =>
      replicator.addEventListener("resync", ({ detail }) => {
        if (detail.phase === "done") resolve(detail);
      }),
    );
    store.fault = (method, key) => (/^put/.test(method) && key.startsWith(refused) ? "before" : "pass");
    await replicator.start();
    const db = replicator.openDatabase();
    expect(await done).toMatchObject({ whole: expect.stringContaining(damaged) });
    if (refused !== "") await replicator.waitUntilUploaded();
    if (sql !== null) {
      db.exec(sql);
      await replicator.waitUntilUploaded();
    }
    const killed = end === "killed" ? site.asKilled() : site;
    db.close();
    await replicator.stop();
    const before = objectKeys(killed.replica, "snapshots");

    const restarted = await killed.create();
    const taken = next(restarted, "snapshot");
    await restarted.start();
    await taken;
    await restarted.stop();
    expect(objectKeys(killed.replica, "snapshots").length).toBe(before.length + 1);
    expect(await killed.restores(killed.replica, readFileSync(killed.path))).toBe(true);
    const { findings } = await verifyReplica({ replica: killed.store });
    expect(new Set(findings.map(({ key }) => key))).toEqual(new Set([damaged]));

    const last = await killed.create();
    const again: unknown[] = [];
    last.addEventListener("snapshot", ({ detail }) => again.push(detail));
    await last.start();
    await expect.poll(() => last.status().lastSnapshot).not.toBeNull();
    await last.stop();
    expect(again).toEqual([]);
  });
});

/** What a write cache does that cannot go on. */
async function mark(site: Site): Promise<void> {
  const cache = new FsWriteCache(`${site.path}-sluice`);
  await cache.load();
  cache.markResync("a test marked it");
  await cache.close();
}
