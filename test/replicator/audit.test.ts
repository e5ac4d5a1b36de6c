import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { describe, expect, test } from "vitest";
import {
  type AuditEvent,
  BrokenReplicaError,
  CorruptObjectError,
  DirectoryStore,
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ResyncEvent,
  type SqliteReplicator,
  StoreError,
  UnsupportedFormatError,
  verifyReplica,
} from "../../node/index.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { asNewer, decodeObject, encodeObject } from "../format/objects.ts";
import { next } from "./fixture.ts";
import { objectKeys } from "./history-fixture.ts";
import { quietModule, quietReplicator, temporaryFolder } from "./replica-fixture.ts";

/** As sqlite-wasm makes them. */
const PAGE = 8192;

class CountingStore extends DirectoryStore {
  readonly asked: string[] = [];
  /** Throws where a request is to fail. */
  onGet: (key: string) => void = () => {};

  override get(key: string, options?: GetOptions): Promise<GetResult> {
    this.asked.push(`get ${key}`);
    this.onGet(key);
    return super.get(key, options);
  }
  override list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo, void, undefined> {
    this.asked.push(`list ${prefix}`);
    return super.list(prefix, options);
  }
}

/** A snapshot at transaction 1, segments of one transaction each up to 6, and all that is said from then on. */
async function history() {
  const folder = temporaryFolder();
  const path = join(folder, "data.db");
  const replica = join(folder, "replica");
  const store = new CountingStore(`file://${replica}`);
  const sqlite3 = await quietModule();
  const { replicator } = await quietReplicator({ dbPath: path, replica: store, sqlite3 });
  const audits: AuditEvent[] = [];
  replicator.addEventListener("audit", ({ detail }) => audits.push(detail));
  const began = next(replicator, "snapshot");
  await replicator.start();
  await began;
  expect(audits).toEqual([]); // The first has nothing before it.
  expect(replicator.status().lastAudit).toBeNull();
  const db = replicator.openDatabase();
  db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v);
    WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t(v) SELECT hex(randomblob(3000)) FROM n`);
  await replicator.flush();
  await replicator.snapshot();
  const first = replicator.status().captured;
  audits.length = 0;
  for (let id = 10; id < 60; id += 10) await update(replicator, db, id);
  return { folder, path, replica, store, replicator, db, audits, first };
}

async function update(replicator: SqliteReplicator, db: Database, id: number): Promise<void> {
  db.exec({ sql: "UPDATE t SET v = hex(randomblob(3000)) WHERE id = ?", bind: [id] });
  await replicator.flush();
}

type History = Awaited<ReturnType<typeof history>>;

/** Takes snapshots until one is published: what the failed ones said, and of the resync. */
async function expectHealed({ folder, path, replica, replicator, db }: History): Promise<void> {
  await update(replicator, db, 70);
  await replicator.snapshot();
  const copy = join(folder, "copy.db");
  const sqlite3 = await quietModule();
  const { replicator: restorer } = await quietReplicator({
    dbPath: copy,
    replica: `file://${replica}`,
    sqlite3,
  });
  await restorer.restore({ integrityCheck: "full" });
  await restorer.stop();
  db.close();
  await replicator.stop();
  expect(readFileSync(copy).equals(readFileSync(path))).toBe(true);
}

/** The object with one page changed: valid, with the same positions, and wrong. Not for level 0, whose id would change. */
async function falsify(replica: string, key: string, pgno: number): Promise<void> {
  const { object, pages } = await decodeObject(new Uint8Array(readFileSync(join(replica, key))), key);
  writeFileSync(join(replica, key), encodeObject(object.header, withPage(pages, pgno)).bytes);
}

function withPage(pages: ReadonlyMap<number, Uint8Array>, pgno: number): Map<number, Uint8Array> {
  const changed = new Map(pages);
  changed.set(
    pgno,
    pages.get(pgno)!.map((byte, i) => (i === 2000 ? byte ^ 1 : byte)),
  );
  return changed;
}

/** The last objects of level 0 as one of level 1. Returns what they were. */
async function compactLast(
  replica: string,
  count: number,
  change = (pages: Map<number, Uint8Array>) => pages,
): Promise<string[]> {
  const keys = objectKeys(replica, "wal/0").slice(-count);
  const taken = await Promise.all(
    keys.map((key) => decodeObject(new Uint8Array(readFileSync(join(replica, key))), key)),
  );
  const [first, last] = [taken[0]!.object, taken.at(-1)!.object];
  const merged = new Map(taken.flatMap(({ pages }) => [...pages]).sort(([a], [b]) => a - b));
  const header: ObjectHeader = { ...last.header, from: first.from, to: last.to };
  const key = segmentKey(1, first.from!.txid + 1, last.to.txid);
  await new DirectoryStore(`file://${replica}`).put(key, encodeObject(header, change(merged)).bytes);
  return keys;
}

/** What a compactor with an error would make of level 0: one object of level 1, a page of which is not the newest. */
async function compactWrongly(replica: string): Promise<number> {
  let wrong = 0;
  await compactLast(replica, 4, (pages) => {
    wrong = [...pages.keys()].at(-1)!;
    return withPage(pages, wrong);
  });
  return wrong;
}

describe("a snapshot", () => {
  test("says that the replica's objects add up to the database, and from where", async () => {
    const { replicator, db, audits, store, first } = await history();
    store.asked.length = 0;
    await replicator.snapshot();
    const { captured, lastAudit, lastSnapshot } = replicator.status();
    expect(audits).toMatchObject([
      { outcome: "equal", since: { txid: first }, position: { txid: captured } },
    ]);
    expect(lastAudit).toMatchObject({ outcome: "equal", txid: captured });
    expect(lastSnapshot).toMatchObject({ txid: captured });
    // The indexes alone, each of one request, and the lists.
    expect(store.asked.filter((what) => what.startsWith("get wal"))).toHaveLength(captured - first);
    expect(store.asked.filter((what) => what.startsWith("get snap")).length).toBeLessThanOrEqual(2);
    expect(store.asked.filter((what) => what.startsWith("list"))).toHaveLength(5);
    await replicator.snapshot(); // Again, where one stands already.
    expect(audits[1]).toMatchObject({ outcome: "equal", since: { txid: captured } });
    db.close();
  });

  test("does not count pages that the WAL has and the database does not", async () => {
    const { replicator, db, audits, replica } = await history();
    const pages = () => Number(db.selectValue("PRAGMA page_count"));
    const before = pages();
    // As SQLite may leave it when what a transaction allocated is given back.
    db.exec(`INSERT INTO sqlite_dbpage(pgno, data) SELECT ${before + 2}, randomblob(${PAGE})`);
    await replicator.flush();
    expect(pages()).toBe(before);
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "equal" }]);
    for (let id = 10; id < 60; id += 10) await update(replicator, db, id);
    db.exec("INSERT INTO t(v) SELECT hex(randomblob(3000)) FROM t");
    expect(pages()).toBeGreaterThan(before + 2);
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "equal" }, { outcome: "equal" }]);
    expect(await verifyReplica({ replica: `file://${replica}` })).toMatchObject({ ok: true });
    db.close();
  });

  test("looks again when an object was compacted away while it was read", async () => {
    const { replicator, db, audits, store } = await history();
    let times = 0;
    store.onGet = (key) => {
      if (key.startsWith("wal/") && times++ === 0) throw new StoreError("not-found", "compacted", { key });
    };
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "equal" }]);
    db.close();
  });

  test("begins before one that leads nowhere, since the group it lies in was merged and thinned meanwhile", async () => {
    const { replicator, db, audits, replica, first } = await history();
    await replicator.snapshot();
    await update(replicator, db, 70);
    for (const key of await compactLast(replica, 6)) rmSync(join(replica, key));
    audits.length = 0;
    await update(replicator, db, 80);
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "equal", since: { txid: first } }]);
    db.close();
  });

  test("goes past a damaged block, which no index shows: it is what heals it", async () => {
    const before = await history();
    const { replica, replicator, audits } = before;
    const key = objectKeys(replica, "wal/0").at(-2)!;
    const bytes = readFileSync(join(replica, key));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(join(replica, key), bytes);
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "equal" }]);
    await expectHealed(before);
  });
});

test("a replica that a newer release has written to gets no snapshot from this one", async () => {
  const { replica, replicator, db, audits } = await history();
  const key = objectKeys(replica, "wal/0").at(-1)!;
  writeFileSync(join(replica, key), asNewer(readFileSync(join(replica, key))));
  const snapshots = objectKeys(replica, "snapshots");
  await expect(replicator.snapshot()).rejects.toBeInstanceOf(UnsupportedFormatError);
  expect(objectKeys(replica, "snapshots")).toEqual(snapshots);
  expect(audits).toEqual([]);
  db.close();
});

describe("where the replica is not what the database is, nothing is published, and a resync makes up for it", () => {
  async function expectRefused(before: History, wrong: number) {
    const { replica, replicator, audits, first } = before;
    const resyncs: ResyncEvent[] = [];
    replicator.addEventListener("resync", ({ detail }) => resyncs.push(detail));
    const snapshots = objectKeys(replica, "snapshots");
    await expect(replicator.snapshot()).rejects.toBeInstanceOf(BrokenReplicaError);
    const position = { txid: replicator.status().captured };
    expect(audits).toMatchObject([
      { outcome: "different", since: { txid: first }, position, pages: [wrong], count: 1 },
    ]);
    expect(objectKeys(replica, "snapshots")).toEqual(snapshots);
    expect(replicator.status().lastAudit).toMatchObject({ outcome: "different" });
    await replicator.waitUntilUploaded();
    expect(resyncs).toMatchObject([{ phase: "needed" }, { phase: "done", pages: 1, whole: null }]);
    await replicator.snapshot();
    // Of the next one, whoever took it: the loop tries again by itself.
    expect(audits[1]).toMatchObject({ outcome: "equal", since: { txid: first } });
    expect(objectKeys(replica, "snapshots").length).toBeGreaterThan(snapshots.length);
    await expectHealed(before);
  }

  test("a wrong page in the snapshot before", async () => {
    const before = await history();
    await falsify(before.replica, objectKeys(before.replica, "snapshots").at(-1)!, 2);
    await expectRefused(before, 2);
  });

  test("a wrong page in a merged segment", async () => {
    const before = await history();
    await expectRefused(before, await compactWrongly(before.replica));
  });

  test("a write that went round the WAL, into the file itself", async () => {
    const before = await history();
    const { path, replicator, db } = before;
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    await replicator.flush();
    // In the middle of a long value: a page that nobody had read.
    const at = readFileSync(path).lastIndexOf("A0");
    const fd = openSync(path, "r+");
    writeSync(fd, "B", at);
    closeSync(fd);
    await expectRefused(before, Math.floor(at / PAGE) + 1);
  });
});

describe("where the replica cannot be read, that is said, and the snapshot heals it", () => {
  async function expectUnreadable(before: History, error: new (...args: never[]) => Error) {
    const { replicator, audits } = before;
    const errors: unknown[] = [];
    replicator.addEventListener("error", ({ detail }) => errors.push(detail));
    await replicator.snapshot();
    expect(audits).toMatchObject([{ outcome: "unreadable", error: expect.any(error) }]);
    expect(replicator.status().lastAudit).toMatchObject({ outcome: "unreadable" });
    expect(replicator.status().lastSnapshot).toMatchObject({ txid: replicator.status().captured });
    await expectHealed(before);
    expect(errors).toEqual([expect.any(error)]);
    expect(audits.at(-1)).toMatchObject({ outcome: "equal" });
  }

  test.each(["snapshots", "wal/0"])("a damaged index in %s", async (at) => {
    const before = await history();
    const key = objectKeys(before.replica, at).at(-1)!;
    const bytes = readFileSync(join(before.replica, key));
    bytes[bytes.length - 24]! ^= 1; // in the id
    writeFileSync(join(before.replica, key), bytes);
    await expectUnreadable(before, CorruptObjectError);
  });

  test("a format number that was damaged", async () => {
    const before = await history();
    const path = join(before.replica, objectKeys(before.replica, "wal/0").at(-1)!);
    const bytes = readFileSync(path);
    bytes.write('"format":3', bytes.indexOf('"format":1'));
    writeFileSync(path, bytes);
    await expectUnreadable(before, CorruptObjectError);
  });

  test.each([-1, -3])("a missing segment, %i from the end", async (which) => {
    const before = await history();
    rmSync(join(before.replica, objectKeys(before.replica, "wal/0").at(which)!));
    await expectUnreadable(before, BrokenReplicaError);
  });
});
