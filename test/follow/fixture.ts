import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { expect, onTestFinished } from "vitest";
import { loadCodecs } from "../../node/compression.ts";
import {
  DirectoryStore,
  type ObjectStore,
  ReplicaFollower,
  type ReplicaFollowerConfig,
  SqliteReplicator,
} from "../../node/index.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { mergeSegments } from "../../src/merge.ts";
import { listReplica, openStored } from "../../src/replica.ts";
import { native } from "../node/vfs-fixture.ts";

const NEVER_MS = 2 ** 30;

export interface Writer {
  readonly folder: string;
  readonly store: DirectoryStore;
  readonly replicator: SqliteReplicator;
  readonly db: Database;
  /** Commits, and uploads that as one segment. */
  commit(sql: string): Promise<void>;
}

/** What every transaction of the tests leaves: the sum of `a` is that of `b`. */
export const INVARIANT = "SELECT (SELECT total(n) FROM a) = (SELECT total(n) FROM b)";

/** The same change to both tables. Text with the number goes to `t`. */
export function transfer(n: number, bytes = 100): string {
  return `INSERT INTO a VALUES(${n}); INSERT INTO t VALUES('row ${n}', randomblob(${bytes})); INSERT INTO b VALUES(${n});`;
}

/** Rows that make the database larger. */
export function fill(rows: number, bytes = 700): string {
  return `INSERT INTO t WITH RECURSIVE s(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM s WHERE n < ${rows}) SELECT n, randomblob(${bytes}) FROM s`;
}

/** A database with its replica, that uploads when it is told to. In a folder of the caller's it is the caller's to stop. */
export async function startWriter(pageSize = 4096, pragmas = "", folderOfCaller?: string): Promise<Writer> {
  const folder = folderOfCaller ?? temporaryFolder();
  const store = new DirectoryStore(`file://${folder}/replica`);
  // A database that was there before, since sqlite-wasm's connection has a WAL, and with it a page size, at once.
  native(
    join(folder, "live.db"),
    `PRAGMA page_size=${pageSize}; ${pragmas}; CREATE TABLE a(n); CREATE TABLE b(n)`,
  );
  const replicator = await SqliteReplicator.create({
    dbPath: join(folder, "live.db"),
    replica: store,
    syncIntervalMs: NEVER_MS,
    uploadIntervalMs: NEVER_MS,
    snapshotIntervalSecs: 0,
    retentionSecs: 0, // every object stays
  });
  if (folderOfCaller === undefined) onTestFinished(() => replicator.stop().then(() => undefined));
  await replicator.start();
  const db = replicator.openDatabase();
  const commit = async (sql: string) => {
    db.exec(/VACUUM|PRAGMA/.test(sql) ? sql : `BEGIN; ${sql}; COMMIT`);
    await replicator.flush();
  };
  await commit("CREATE TABLE t(word TEXT, body BLOB); CREATE INDEX i ON t(word)");
  await replicator.snapshot();
  return { folder, store, replicator, db, commit };
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-follow-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A follower that polls when it is told to, and is stopped after the test. */
export async function createFollower(
  replica: ObjectStore | string,
  config: Partial<ReplicaFollowerConfig> = {},
): Promise<ReplicaFollower & { readonly path: string }> {
  const dbPath = config.dbPath ?? join(temporaryFolder(), "copy.db");
  mkdirSync(join(dbPath, ".."), { recursive: true });
  const follower = await ReplicaFollower.create({ replica, pollIntervalMs: NEVER_MS, ...config, dbPath });
  onTestFinished(() => follower.stop());
  return Object.assign(follower, { path: dbPath });
}

/** The copy is the writer's database, page for page, apart from what differs by its nature in the header. */
export function expectSame(path: string, db: Database): void {
  const live = Buffer.concat(db.selectValues("SELECT data FROM sqlite_dbpage ORDER BY pgno") as Uint8Array[]);
  const copy = readFileSync(path);
  expect(copy.length).toBe(live.length);
  expect([...copy.subarray(18, 20)]).toEqual([1, 1]); // rollback mode, for writing and for reading
  expect(withoutOwn(copy).equals(withoutOwn(live))).toBe(true);
}

/** Journal mode, change counter, and who wrote last. */
function withoutOwn(bytes: Buffer): Buffer {
  const rest = Buffer.from(bytes);
  rest.fill(0, 18, 20);
  rest.fill(0, 24, 28);
  rest.fill(0, 92, 100);
  return rest;
}

/** What compaction does: one object of a higher level for all segments of `level` that begin with `min` to `max`. */
export async function compactByHand(
  store: ObjectStore,
  level: number,
  min: number,
  max: number,
): Promise<void> {
  const codecs = await loadCodecs();
  const { segments } = await listReplica(store);
  const inputs = segments.filter(
    (info) => info.level === level && info.minTxid >= min && info.minTxid <= max,
  );
  const opened = await Promise.all(inputs.map((info) => openStored(store, info, codecs)));
  const [first, last] = [opened[0]!, opened.at(-1)!];
  const header = {
    ...last.header,
    from: first.from,
    to: last.to,
    commits: { first: first.header.commits.first, last: last.header.commits.last },
  };
  const chunks: Uint8Array[] = [];
  for await (const chunk of mergeSegments(opened, header, codecs)) chunks.push(chunk);
  await store.put(segmentKey(level + 1, first.from!.txid + 1, last.to.txid), Buffer.concat(chunks));
}

/** What retention does to a level. */
export async function pruneByHand(
  store: ObjectStore,
  level: number,
  min: number,
  max: number,
): Promise<void> {
  const { segments } = await listReplica(store);
  const gone = segments.filter((info) => info.level === level && info.minTxid >= min && info.minTxid <= max);
  await store.delete(gone.map((info) => info.key));
}
