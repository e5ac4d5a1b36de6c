import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import {
  CacheError,
  ConfigError,
  DatabaseInUseError,
  DirectoryStore,
  LocalDatabaseError,
  MemoryStore,
  openStore,
  ReplicaFollower,
  SqliteReplicator,
  type SqliteReplicatorConfig,
  StateError,
  StoreError,
  verifyReplica,
} from "../../node/index.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { walFrameHeaderSize, walHeaderSize } from "../../src/wal/wal-format.ts";
import { bundle } from "../faults/bundle.ts";
import { createQuietly, hashFolder } from "./history-fixture.ts";

const childFolder = fs.mkdtempSync(join(tmpdir(), "sluice-bad-"));
let childScript: string;
beforeAll(async () => {
  childScript = await bundle("test/replicator/bad-input-child.ts", childFolder);
});
afterAll(() => fs.rmSync(childFolder, { recursive: true }));

function temporaryFolder(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), "sluice-bad-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file system of its own that is soon full. Undefined where this process may not mount one. */
function smallDisk(megabytes: number): string | undefined {
  const folder = temporaryFolder();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder]);
  if (mounted.status !== 0) return undefined;
  onTestFinished(() => void spawnSync("umount", ["-l", folder]));
  return folder;
}
const canMount = (() => {
  const folder = fs.mkdtempSync(join(tmpdir(), "sluice-bad-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "tmpfs", folder]);
  if (status === 0) spawnSync("umount", [folder]);
  fs.rmdirSync(folder);
  return status === 0;
})();
if (!canMount) console.warn("bad-input.test.ts: no right to mount a tmpfs here, full disks are NOT tested");

/** Takes away all right to write, root's too. False where that cannot be done. */
function makeImmutable(path: string): boolean {
  if (process.geteuid?.() !== 0) {
    fs.chmodSync(path, fs.statSync(path).isDirectory() ? 0o500 : 0o400);
    onTestFinished(() => fs.chmodSync(path, 0o700));
    return true;
  }
  if (spawnSync("chattr", ["+i", path]).status !== 0) return false;
  onTestFinished(() => void spawnSync("chattr", ["-i", path]));
  return true;
}

async function started(
  folder: string,
  config: Partial<SqliteReplicatorConfig> = {},
): Promise<SqliteReplicator> {
  const replicator = await createQuietly({
    dbPath: join(folder, "app.db"),
    replica: `file://${folder}/replica`,
    ...config,
  });
  await replicator.start();
  onTestFinished(async () => void (await replicator.stop()));
  return replicator;
}

/** What the replica restores to, and what a plain SQLite reads in the database's file. */
async function expectReplicaEqual(dbPath: string, replica: string): Promise<void> {
  const copy = join(temporaryFolder(), "copy.db");
  const replicator = await createQuietly({ dbPath: copy, replica });
  expect(await replicator.restore({ integrityCheck: "full" })).toMatchObject({ restored: true });
  await replicator.stop();
  expect(fs.readFileSync(copy).equals(fs.readFileSync(dbPath))).toBe(true);
}

const SQLITE_FULL = 13;

describe("configuration", () => {
  const good = { dbPath: "/nowhere/app.db", replica: "file:///nowhere/replica" };
  test.each<[string, Record<string, unknown>]>([
    ["syncInterval", { syncInterval: 1000 }],
    ["s3bucket", { s3bucket: "x" }],
    ["dbPath", { dbPath: "" }],
    ["dbPath", { dbPath: 7 }],
    ["dbPath", { dbPath: undefined }],
    ["replica", { replica: undefined }],
    ["replica", { replica: "/var/backups" }],
    ["replica", { replica: "ftp://host/path" }],
    ["replica", { replica: "file://host/path" }],
    ["replica", { replica: {} }],
    ["replica", { replica: openStore({ replica: good.replica }) }],
    ["cacheDir", { cacheDir: 1 }],
    ["autoRestore", { autoRestore: "yes" }],
    ["unsafeNoLock", { unsafeNoLock: 1 }],
    ["onUnknownLocal", { onUnknownLocal: "ignore" }],
    ["maxCacheSize", { maxCacheSize: 0 }],
    ["syncIntervalMs", { syncIntervalMs: 0 }],
    ["syncIntervalMs", { syncIntervalMs: "1000" }],
    ["syncIntervalMs", { syncIntervalMs: Number.NaN }],
    ["syncIntervalMs", { syncIntervalMs: 2 ** 31 }],
    ["uploadIntervalMs", { uploadIntervalMs: -1 }],
    ["snapshotIntervalSecs", { snapshotIntervalSecs: Number.POSITIVE_INFINITY }],
    ["checkpointPages", { checkpointPages: 0 }],
    ["stopTimeoutMs", { stopTimeoutMs: null }],
    ["signal", { signal: {} }],
    ["logger", { logger: "console" }],
    ["sqlite3", { sqlite3: {} }],
    ["sqlite3", { sqlite3: { oo1: { DB: class {} }, wasm: {}, version: { libVersion: "3.50.4" } } }], // as that one is
  ])("%s: %j is refused by name", async (field, wrong) => {
    const config = { ...good, ...wrong } as unknown as SqliteReplicatorConfig;
    await expect(SqliteReplicator.create(config)).rejects.toMatchObject({ constructor: ConfigError, field });
  });

  test("so is what verifyReplica() and a gateway are given for a store", async () => {
    const store = openStore({ replica: good.replica });
    expect(() => createGateway({ store: store as never, authorize: () => null })).toThrow(ConfigError);
    for (const wrong of [undefined, { replica: good.replica, quick: true }, { replica: store }])
      await expect(verifyReplica(wrong as never)).rejects.toBeInstanceOf(ConfigError);
  });

  test("so are options of start() and waitUntilUploaded() that nothing would heed", async () => {
    const config = { dbPath: join(temporaryFolder(), "app.db"), replica: new MemoryStore() };
    const replicator = await createQuietly(config);
    onTestFinished(async () => void (await replicator.stop()));
    for (const wrong of [{ txid: 3 }, { overwrite: true }, { onProgress: 1 }, null])
      await expect(replicator.start(wrong as never)).rejects.toBeInstanceOf(ConfigError);
    await replicator.start();
    for (const wrong of [
      { tixd: 1 },
      { txid: "1" },
      { txid: Number.NaN },
      { txid: -1 },
      { signal: {} },
      0,
      null,
    ])
      await expect(replicator.waitUntilUploaded(wrong as never)).rejects.toBeInstanceOf(ConfigError);
  });

  test("so is no configuration at all, and an unknown option of restore()", async () => {
    await expect(SqliteReplicator.create(null as never)).rejects.toBeInstanceOf(ConfigError);
    const replicator = await createQuietly({
      dbPath: join(temporaryFolder(), "app.db"),
      replica: new MemoryStore(),
    });
    onTestFinished(async () => void (await replicator.stop()));
    for (const [field, wrong] of [
      ["force", { force: true }],
      ["overwrite", { overwrite: 1 }],
      ["integrityCheck", { integrityCheck: "thorough" }],
    ] as const)
      await expect(replicator.restore(wrong as never)).rejects.toMatchObject({
        constructor: ConfigError,
        field,
      });
  });
});

describe("paths", () => {
  /** Both `create` and `start` may find out; whichever does leaves the folder as it was. */
  async function expectRefused(dbPath: string, folder: string, config: Partial<SqliteReplicatorConfig> = {}) {
    const before = hashFolder(folder);
    const attempt = async () => {
      const replicator = await createQuietly({
        dbPath,
        replica: `file://${tmpdir()}/sluice-never`,
        cacheDir: join(temporaryFolder(), "cache"),
        ...config,
      });
      await replicator.start().finally(() => replicator.stop());
    };
    const refused = expect(attempt()).rejects;
    await refused.toBeInstanceOf(config.cacheDir ? CacheError : LocalDatabaseError);
    expect(hashFolder(folder)).toEqual(before);
  }

  test("a text file is no database", async () => {
    const folder = temporaryFolder();
    fs.writeFileSync(join(folder, "app.db"), "Dear diary, ".repeat(1000));
    await expectRefused(join(folder, "app.db"), folder);
  });

  test("neither is a folder, nor a path in a folder that is missing or in a file", async () => {
    const folder = temporaryFolder();
    fs.mkdirSync(join(folder, "app.db"));
    fs.writeFileSync(join(folder, "file"), "x");
    await expectRefused(join(folder, "app.db"), folder);
    await expectRefused(join(folder, "missing/app.db"), folder);
    await expectRefused(join(folder, "file/app.db"), folder);
  });

  test("nor is a pipe or a device, whose size is 0: nothing is put in its place", async () => {
    const folder = temporaryFolder();
    const replica = `file://${folder}/replica`;
    const writer = await createQuietly({ dbPath: join(folder, "app.db"), replica });
    await writer.start();
    await writer.snapshot();
    await writer.stop();
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);

    const restored = createQuietly({ dbPath: pipe, replica }).then((it) =>
      it.restore({ overwrite: true }).finally(() => it.stop()),
    );
    await expect(restored).rejects.toBeInstanceOf(LocalDatabaseError);
    const follower = await ReplicaFollower.create({ dbPath: pipe, replica });
    await expect(follower.start()).rejects.toBeInstanceOf(LocalDatabaseError);
    await follower.stop();
    expect(fs.lstatSync(pipe).isFIFO()).toBe(true);
  });

  test("a database cut in the middle is refused", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "app.db");
    execFileSync("sqlite3", [path, "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000))"]);
    fs.truncateSync(path, 60);
    await expectRefused(path, folder);
  });

  test("a file or a folder that cannot be written to", async ({ skip }) => {
    const folder = temporaryFolder();
    const path = join(folder, "app.db");
    execFileSync("sqlite3", [path, "CREATE TABLE t(a)"]);
    if (!makeImmutable(path)) skip("chattr +i does not work here, and root ignores modes");
    await expectRefused(path, folder);
    const closed = join(folder, "closed");
    fs.mkdirSync(closed);
    makeImmutable(closed);
    await expectRefused(join(closed, "app.db"), closed);
  });

  test("a cacheDir that cannot be one", async () => {
    const folder = temporaryFolder();
    fs.writeFileSync(join(folder, "file"), "x");
    await expectRefused(join(folder, "app.db"), folder, { cacheDir: join(folder, "file") });
    await expectRefused(join(folder, "app.db"), folder, { cacheDir: join(folder, "file/cache") });
  });
});

describe.runIf(canMount)("full disks", () => {
  test("of the database: the app gets SQLITE_FULL, and goes on when there is room again", async () => {
    const disk = smallDisk(4)!;
    const replica = `file://${temporaryFolder()}/replica`;
    const cacheDir = join(temporaryFolder(), "cache");
    const replicator = await started(disk, { replica, cacheDir, syncIntervalMs: 5, uploadIntervalMs: 5 });
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    const ballast = join(disk, "ballast");
    fs.writeFileSync(ballast, Buffer.alloc(2 << 20));
    let committed = 0;
    const fill = () => {
      for (let i = 0; i < 100; i++) {
        db.exec("INSERT INTO t(b) VALUES(randomblob(100000))");
        committed += 1;
      }
    };
    expect(fill).toThrow(expect.objectContaining({ resultCode: SQLITE_FULL }));
    expect(committed).toBeGreaterThan(2);
    expect(db.selectValue("SELECT count(*) FROM t")).toBe(committed);
    fs.rmSync(ballast);
    db.exec("INSERT INTO t(b) VALUES('room again')");
    await replicator.waitUntilUploaded();
    expect(db.selectValue("SELECT count(*) FROM t")).toBe(committed + 1);
    db.close();
    expect(await replicator.stop()).toEqual({ uploaded: true });
    await expectReplicaEqual(join(disk, "app.db"), replica);
  });

  test("of the cache: the app goes on; past the limit of the WAL a resync makes up for it", async () => {
    const disk = smallDisk(2)!;
    const folder = temporaryFolder();
    const replicator = await started(folder, {
      cacheDir: join(disk, "cache"),
      syncIntervalMs: 5,
      uploadIntervalMs: 5,
    });
    const events: string[] = [];
    replicator.addEventListener("resync", ({ detail }) => events.push(detail.phase));
    const failures: unknown[] = [];
    replicator.addEventListener("error", ({ detail }) => failures.push(detail));
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    // The first is due: its read transaction would hold back the WAL too.
    await replicator.snapshot();
    const ballast = join(disk, "ballast");
    fs.writeFileSync(ballast, "");
    expect(() => fs.appendFileSync(ballast, Buffer.alloc(4 << 20))).toThrow();

    const walSize = () => fs.statSync(join(folder, "app.db-wal")).size;
    const grow = (to: number) => {
      for (let i = 0; i < 2000 && walSize() < to; i++)
        db.exec("INSERT OR REPLACE INTO t VALUES(abs(random()) % 20, randomblob(200000))");
    };
    grow(16 << 20);
    await expect(replicator.flush()).rejects.toMatchObject({ constructor: CacheError, full: true });
    expect(walSize(), "held back while it may be").toBeGreaterThan(16 << 20);
    await expect.poll(() => failures).toContainEqual(expect.any(CacheError));
    expect(events).toEqual([]);
    for (let i = 0; i < 600; i++)
      db.exec("INSERT OR REPLACE INTO t VALUES(abs(random()) % 20, randomblob(200000))");
    await expect.poll(() => events[0]).toBe("needed");
    expect(walSize(), "not without end").toBeLessThan(80 << 20);
    const rows = db.selectValue("SELECT count(*) FROM t");

    fs.rmSync(ballast);
    spawnSync("mount", ["-o", "remount,size=64m", disk]);
    await expect.poll(() => events.at(-1), { timeout: 30_000 }).toBe("done");
    await replicator.waitUntilUploaded();
    expect(replicator.status()).toMatchObject({ state: "running", pendingSegments: 0 });
    expect(db.selectValue("SELECT count(*) FROM t")).toBe(rows);
    db.close();
    expect(await replicator.stop()).toEqual({ uploaded: true });
    await expectReplicaEqual(join(folder, "app.db"), `file://${folder}/replica`);
  });
});

describe("one writer", () => {
  test("a second create() in this process is refused, and says so", async () => {
    const folder = temporaryFolder();
    await started(folder);
    await expect(
      createQuietly({ dbPath: join(folder, "app.db"), replica: new MemoryStore() }),
    ).rejects.toMatchObject({
      constructor: DatabaseInUseError,
      holder: expect.stringContaining("this process"),
    });
  });

  test("connections that outlive stop() keep it, are named, and let go of it when they are closed", async () => {
    const dbPath = join(temporaryFolder(), "app.db");
    const create = () => createQuietly({ dbPath, replica: new MemoryStore() });
    const first = await create();
    await first.start();
    const db = first.openDatabase();
    await first.stop();
    await expect(create()).rejects.toMatchObject({
      constructor: DatabaseInUseError,
      holder: expect.stringContaining("connections of this process"),
    });
    db.close();
    const next = await create(); // at once
    await expect(create()).rejects.toMatchObject({ holder: expect.stringContaining("a replicator") });
    await next.stop();
  });

  test("so is one with another cacheDir, and through a symbolic link", async () => {
    const folder = temporaryFolder();
    await started(folder);
    fs.symlinkSync(join(folder, "app.db"), join(folder, "link.db"));
    for (const name of ["app.db", "link.db"])
      await expect(
        createQuietly({
          dbPath: join(folder, name),
          cacheDir: join(folder, `cache of ${name}`),
          replica: new MemoryStore(),
        }),
      ).rejects.toBeInstanceOf(DatabaseInUseError);
  });

  test("so is one in another process; native sqlite3 finds it locked, and afterwards one plain file", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "app.db");
    const other = await otherProcess("hold", path);
    const refused = expect(createQuietly({ dbPath: path, replica: new MemoryStore() })).rejects;
    await refused.toMatchObject({
      constructor: DatabaseInUseError,
      holder: expect.stringContaining(`${other.child.pid}`),
    });
    const native = spawnSync("sqlite3", [path, "SELECT count(*) FROM t"], { encoding: "utf8" });
    expect(native.stderr).toContain("locked");
    other.child.stdin!.end("stop\n");
    expect(await other.ended).toBe(0);
    expect(fs.readdirSync(folder).sort()).toEqual(["app.db", "app.db-sluice", "replica"]);
    const answer = execFileSync("sqlite3", [path, "PRAGMA integrity_check; SELECT count(*) FROM t"], {
      encoding: "utf8",
    });
    expect(answer).toBe("ok\n1\n");
  });

  test("after detach() it is a plain database in rollback mode", async () => {
    const folder = temporaryFolder();
    const replicator = await started(folder);
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    await expect(replicator.detach()).rejects.toBeInstanceOf(StateError);
    db.close();
    await replicator.detach();
    expect(fs.readdirSync(folder).sort()).toEqual(["app.db", "app.db-sluice", "replica"]);
    const answer = execFileSync("sqlite3", [join(folder, "app.db"), "PRAGMA journal_mode; SELECT * FROM t"], {
      encoding: "utf8",
    });
    expect(answer).toBe("delete\n1\n");
  });
});

test("detach() does not take a snapshot under way for a connection of the application's", async () => {
  const store = new MemoryStore();
  const replicator = await createQuietly({ dbPath: join(temporaryFolder(), "app.db"), replica: store });
  let release = () => {};
  const begun = new Promise<void>((resolve) => {
    vi.spyOn(store, "putStream").mockImplementationOnce(async () => {
      resolve();
      await new Promise<void>((go) => {
        release = go;
      });
      throw new StoreError("network", "cut");
    });
  });
  await replicator.start();
  await begun;
  const detached = replicator.detach();
  release();
  await detached;
});

describe("order of calls", () => {
  test("methods that need a running replicator, before start and after stop", async () => {
    const replicator = await createQuietly({
      dbPath: join(temporaryFolder(), "app.db"),
      replica: new MemoryStore(),
    });
    const calls = [
      async () => void replicator.openDatabase(),
      () => replicator.flush(),
      () => replicator.snapshot(),
      () => replicator.waitUntilUploaded(),
      () => replicator.detach(),
    ];
    const expectRefused = async () => {
      for (const call of calls) await expect(call()).rejects.toBeInstanceOf(StateError);
    };
    await expectRefused();
    await replicator.start();
    await expect(replicator.start()).rejects.toBeInstanceOf(StateError);
    await expect(replicator.restore()).rejects.toBeInstanceOf(StateError);
    await expect(replicator.waitUntilUploaded({ txid: 1 })).rejects.toBeInstanceOf(StateError);
    await replicator.stop();
    await expectRefused();
    await expect(replicator.start()).rejects.toBeInstanceOf(StateError);
    expect(await replicator.stop(), "once more is no error").toEqual({ uploaded: true });
    expect(replicator.status().state).toBe("stopped");
  });

  test("stop() before start() lets go of the database", async () => {
    const config = { dbPath: join(temporaryFolder(), "app.db"), replica: new MemoryStore() };
    await (await createQuietly(config)).stop();
    await (await createQuietly(config)).stop();
  });

  test("a start that failed can be tried again", async () => {
    const folder = temporaryFolder();
    const store = new CutStore(`file://${folder}/replica`);
    const replicator = await createQuietly({ dbPath: join(folder, "app.db"), replica: store });
    store.connected = false;
    await expect(replicator.start()).rejects.toBeInstanceOf(StoreError);
    store.connected = true;
    await replicator.start();
    await replicator.stop();
  });

  test("and leaves what it could not follow to the next one", async () => {
    const folder = temporaryFolder();
    const live = await started(join(folder));
    const db = live.openDatabase();
    db.exec("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a)");
    for (let i = 0; i < 10; i++) db.exec("INSERT INTO t VALUES(randomblob(20000))");
    await live.flush();
    await live.snapshot();
    const image = join(folder, "image");
    fs.mkdirSync(image);
    // As a machine leaves it that lost power before the file system wrote the end of the WAL.
    for (const name of ["app.db", "app.db-wal", "app.db-sluice", "replica"])
      execFileSync("cp", ["-a", join(folder, name), image]);
    const wal = join(image, "app.db-wal");
    const frameSize = fs.readFileSync(wal).readUInt32BE(8) + walFrameHeaderSize;
    fs.truncateSync(wal, walHeaderSize + live.status().walFrames * frameSize - 30_000);
    const store = new CutStore(`file://${image}/replica`);
    store.connected = false;
    const replicator = await createQuietly({ dbPath: join(image, "app.db"), replica: store });
    await expect(replicator.start()).rejects.toBeInstanceOf(StoreError);
    await replicator.stop();
    store.connected = true;

    const again = await started(image, { replica: store });
    const resyncs: unknown[] = [];
    again.addEventListener("resync", ({ detail }) => resyncs.push(detail));
    const restored = again.openDatabase();
    expect(restored.selectValue("SELECT count(*) FROM t")).toBe(10);
    await again.flush();
    expect(resyncs).toEqual([]);
    restored.close();
    db.close();
  });
});

describe("whatever else fails", () => {
  test("a listener or a logger that throws does not disturb replication", async () => {
    const uncaught: unknown[] = [];
    const note = (error: unknown) => void uncaught.push(error);
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", note);
    onTestFinished(() => {
      process.off("uncaughtException", note);
      for (const other of others) process.on("uncaughtException", other);
    });
    const folder = temporaryFolder();
    const replicator = await started(folder, { syncIntervalMs: 1, uploadIntervalMs: 0 });
    const bad = new Error("listener");
    for (const type of ["wal", "upload", "snapshot"] as const)
      replicator.addEventListener(type, () => {
        throw bad;
      });
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a)");
    for (let i = 0; i < 5; i++) {
      db.exec("INSERT INTO t VALUES(1)");
      await replicator.waitUntilUploaded();
    }
    db.close();
    expect(await replicator.stop()).toEqual({ uploaded: true });
    await expectReplicaEqual(join(folder, "app.db"), `file://${folder}/replica`);
    expect(new Set(uncaught), "the app hears of its own mistake").toEqual(new Set([bad]));
  });

  test("stop() is bounded while the store hangs, and what was cached goes up the next time", async () => {
    const folder = temporaryFolder();
    const store = new CutStore(`file://${folder}/replica`);
    const replicator = await started(folder, { replica: store, stopTimeoutMs: 300 });
    await replicator.snapshot();
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a)");
    db.close();
    store.hanging = true;
    const before = performance.now();
    expect(await replicator.stop()).toEqual({ uploaded: false });
    expect(performance.now() - before).toBeLessThan(3000);
    store.hanging = false;
    const again = await started(folder, { replica: store });
    expect(again.status()).toMatchObject({ captured: 1, cached: 1, uploaded: 0 });
    await again.flush();
    await again.stop();
    await expectReplicaEqual(join(folder, "app.db"), `file://${folder}/replica`);
  });

  test("waitUntilUploaded() and restore() give up when their signal says so", async () => {
    const folder = temporaryFolder();
    const store = new CutStore(`file://${folder}/replica`);
    const replicator = await started(folder, { replica: store, stopTimeoutMs: 100 });
    await replicator.snapshot();
    store.hanging = true;
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a)");
    db.close();
    const reason = new Error("enough");
    const abort = new AbortController();
    const waiting = replicator.waitUntilUploaded({ signal: abort.signal });
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(replicator.waitUntilUploaded({ signal: abort.signal })).rejects.toBe(reason);

    const other = await createQuietly({ dbPath: join(folder, "other.db"), replica: store });
    await expect(other.restore({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    await other.stop();
  });

  test("a process ends by itself once all is uploaded, and not before", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "app.db");
    const { ended } = await otherProcess("leave", path);
    expect(await ended).toBe(0);
    // Nobody stopped it: the WAL is there, and the replica has all of it.
    const copy = join(folder, "copy.db");
    const replicator = await createQuietly({ dbPath: copy, replica: `file://${folder}/replica` });
    expect(await replicator.restore()).toMatchObject({ restored: true });
    await replicator.stop();
    expect(execFileSync("sqlite3", [copy, "SELECT count(*) FROM t"], { encoding: "utf8" })).toBe("100\n");
  });
});

/** A store whose connection can be cut, or hang without an answer. */
class CutStore extends DirectoryStore {
  connected = true;
  hanging = false;

  async #reach(signal?: AbortSignal): Promise<void> {
    if (!this.connected) throw new StoreError("network", "the connection is cut");
    if (!this.hanging) return;
    await new Promise((_, reject) => {
      if (signal?.aborted) reject(signal.reason);
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }

  override async put(...args: Parameters<DirectoryStore["put"]>): Promise<void> {
    await this.#reach(args[2]?.signal);
    await super.put(...args);
  }

  override async get(...args: Parameters<DirectoryStore["get"]>) {
    await this.#reach(args[1]?.signal);
    return super.get(...args);
  }
}

/** Runs bad-input-child.ts in another Node process. */
async function otherProcess(
  exported: "hold" | "leave",
  path: string,
): Promise<{ child: ChildProcess; ended: Promise<number | null> }> {
  const child = spawn(process.execPath, [childScript, exported, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await Promise.race([new Promise((resolve) => child.stdout!.once("data", resolve)), ended]);
  return { child, ended };
}
