import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { writeState } from "../../src/write-state.ts";
import { codecs, lineage } from "../format/objects.ts";
import { createQuietly } from "./history-fixture.ts";
import { Random } from "./random.ts";
import { infoOf, MemoryTarget, PAGE_SIZE, SyntheticReplica } from "./synthetic-replica.ts";

/** Of random bytes, so that the snapshot is about as large as the database. */
const ROWS = 3000;

let folder: string;
/** The database at its snapshot, and at the end of the replica, where few rows differ. */
let older: Buffer;
let newest: Buffer;

beforeAll(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), "sluice-over-"));
  const dbPath = join(folder, "live.db");
  const open = () => createQuietly({ dbPath, replica: `file://${folder}/replica` });
  const run = async (sql: string, snapshot: boolean) => {
    const replicator = await open();
    await replicator.start();
    const db = replicator.openDatabase();
    db.exec(sql);
    db.close();
    await replicator.flush();
    if (snapshot) await replicator.snapshot();
    await replicator.stop();
    return fs.readFileSync(dbPath);
  };
  older = await run(
    `CREATE TABLE t(n INTEGER PRIMARY KEY, body);
     WITH RECURSIVE n(value) AS (VALUES(1) UNION ALL SELECT value + 1 FROM n LIMIT ${ROWS})
     INSERT INTO t SELECT value, randomblob(1000) FROM n`,
    true,
  );
  newest = await run("UPDATE t SET body = randomblob(1000) WHERE n % 1000 = 7", false);
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A place with this main file, to restore over. */
function placeWith(main: Buffer | null): string {
  const place = fs.mkdtempSync(join(tmpdir(), "sluice-over-"));
  onTestFinished(() => fs.rmSync(place, { recursive: true }));
  const dbPath = join(place, "app.db");
  if (main !== null) fs.writeFileSync(dbPath, main);
  return dbPath;
}

async function restoreOver(dbPath: string) {
  const replicator = await createQuietly({ dbPath, replica: `file://${folder}/replica` });
  try {
    const outcome = await replicator.restore({ overwrite: true, integrityCheck: "full" });
    if (!outcome.restored) throw new Error(outcome.reason);
    expect(fs.readFileSync(dbPath).equals(newest), "byte for byte").toBe(true);
    expect(fs.readdirSync(join(dbPath, "..")).sort()).toEqual(["app.db", "app.db-sluice"]);
    return outcome;
  } finally {
    await replicator.stop();
  }
}

describe("over an existing database", () => {
  test("only what differs is fetched", async () => {
    const whole = await restoreOver(placeWith(null));
    expect(whole.bytesSaved).toBe(0);
    expect(whole.bytesFetched).toBeGreaterThan(ROWS * 1000);

    const { bytesFetched, bytesSaved } = await restoreOver(placeWith(older));
    expect(bytesSaved).toBeGreaterThan(0.9 * ROWS * 1000);
    expect(bytesFetched).toBeLessThan(0.1 * whole.bytesFetched);

    const changed = Buffer.from(newest);
    changed.fill(0xff, changed.length / 2, changed.length / 2 + 100_000);
    const { bytesSaved: saved, bytesFetched: fetched } = await restoreOver(placeWith(changed));
    expect(saved).toBeGreaterThan(0.7 * ROWS * 1000);
    expect(fetched).toBeGreaterThan(100_000);
  });

  test("which has commits in its WAL", async () => {
    const dbPath = placeWith(older);
    execFileSync("sqlite3", [
      dbPath,
      ".dbconfig no_ckpt_on_close on",
      "PRAGMA journal_mode=wal; UPDATE t SET body = zeroblob(1000) WHERE n < 500",
    ]);
    fs.rmSync(`${dbPath}-shm`);
    expect(fs.statSync(`${dbPath}-wal`).size).toBeGreaterThan(400_000);
    expect((await restoreOver(dbPath)).bytesSaved).toBeGreaterThan(0.9 * ROWS * 1000);
  });

  test("which has a hot journal", async () => {
    const dbPath = placeWith(null);
    const source = `${dbPath}.source`;
    fs.writeFileSync(source, older);
    execFileSync("sqlite3", [
      source,
      "PRAGMA journal_mode=delete; PRAGMA cache_size=2; BEGIN; UPDATE t SET body = randomblob(1000) WHERE n < 500",
      `.shell cp ${source} ${dbPath}; cp ${source}-journal ${dbPath}-journal`,
    ]);
    fs.rmSync(source);
    expect(fs.statSync(`${dbPath}-journal`).size).toBeGreaterThan(10_000);
    expect((await restoreOver(dbPath)).bytesSaved).toBeGreaterThan(0.5 * ROWS * 1000);
  });

  test("which has other pages: all is fetched", async () => {
    const dbPath = placeWith(null);
    execFileSync("sqlite3", [
      dbPath,
      "PRAGMA page_size=1024; CREATE TABLE t(a); INSERT INTO t SELECT zeroblob(900) FROM generate_series(1, 5000)",
    ]);
    expect((await restoreOver(dbPath)).bytesSaved).toBe(0);
  });

  test("which is longer, or ends in the middle of a page", async () => {
    for (const main of [Buffer.concat([older, older]), Buffer.concat([older, Buffer.alloc(5000)])])
      await restoreOver(placeWith(main));
  });
});

test("an old file that changes while it is read gives no page that the replica does not have", async () => {
  const random = new Random(3);
  const replica = new SyntheticReplica(4000);
  const pages = new Map<number, Uint8Array>();
  for (let pgno = 2; pgno <= 4000; pgno++) pages.set(pgno, random.bytes(PAGE_SIZE).slice());
  await replica.append({ pages, pageCount: 4000, txids: 1, ms: 1 });
  await replica.snapshot(1);
  const { content } = replica.last;
  const old = content.slice();
  const target = new MemoryTarget(old);
  let reads = 0;
  const read = target.old!.read.bind(target.old);
  target.old!.read = async (into, offset) => {
    old.fill(++reads, offset + 1000, offset + 3000);
    await read(into, offset);
    old.set(content.subarray(offset, offset + 500), offset + 1000);
  };
  const written = await writeState(
    { store: replica.store, lineage, codecs },
    "latest",
    () => target,
    () => {},
  );
  expect(Buffer.compare(target.content(4000), content)).toBe(0);
  expect(reads).toBeGreaterThan(4);
  const { size } = await infoOf(replica.store, "snapshots/0000000000000001.sqlite.zst");
  expect(written!.saved).toBeGreaterThan(size / 4);
});
