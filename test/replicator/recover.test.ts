import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { DirectoryStore } from "../../node/index.ts";
import type { PositionRecord } from "../../src/cache/write-cache.ts";
import { type Found, recover } from "../../src/recover.ts";
import {
  decodeWalHeader,
  sealWalFrame,
  WalChecksum,
  WalFrameHeader,
  walFrameHeaderSize,
  walHeaderSize,
} from "../../src/wal/wal-format.ts";
import { native } from "../node/vfs-fixture.ts";
import { quietModule, quietReplicator, temporaryFolder } from "./replica-fixture.ts";

/** As sqlite-wasm makes them. */
const PAGE = 8192;
const FRAME = PAGE + walFrameHeaderSize;

describe("what a start decides", () => {
  const sums = { checksum1: 11, checksum2: 12 };
  const record: PositionRecord = {
    version: 1,
    lineage: "0".repeat(32),
    writer: "1".repeat(32),
    cached: { txid: 5, id: "2".repeat(32) },
    pageCount: 9,
    pageSize: PAGE,
    time: 0,
    wal: { salt1: 7, salt2: 8, frame: 20, ...sums },
    fingerprint: null,
  };
  const wal = { pageSize: PAGE, maxFrame: 20, pageCount: 9, salt1: 7, salt2: 8, ...sums };
  const found: Found = { record, wal, holdsRecordedFrame: true, fingerprint: "now" };
  const known = { ...record, fingerprint: "now" };
  const emptied = { ...wal, maxFrame: 0 };
  const gone = { ...emptied, salt1: 0, salt2: 0 };

  test.each<[string, Partial<Found>, ReturnType<typeof recover>["kind"]]>([
    ["the same WAL", {}, "behind-record"],
    ["a longer WAL", { wal: { ...wal, maxFrame: 25 } }, "behind-record"],
    ["a WAL that ends before the recorded frame", { wal: { ...wal, maxFrame: 19 } }, "replay"],
    ["the same, though the file still holds the frame", { wal: { ...wal, maxFrame: 19 } }, "replay"],
    ["a frame of another checksum in its place", { holdsRecordedFrame: false }, "resync"],
    ["the same, longer", { wal: { ...wal, maxFrame: 25 }, holdsRecordedFrame: false }, "resync"],
    ["another salt1, main file unknown", { wal: { ...wal, salt1: 9 } }, "resync"],
    ["another salt2, main file unknown", { wal: { ...wal, salt2: 9 } }, "resync"],
    [
      "the next WAL, main file as recorded",
      { record: known, wal: { ...wal, salt1: 8, salt2: 3 } },
      "whole-wal",
    ],
    [
      "the next WAL, main file changed",
      { record: known, wal: { ...wal, salt1: 8 }, fingerprint: "other" },
      "resync",
    ],
    ["no WAL, main file as recorded", { record: known, wal: gone }, "whole-wal"],
    ["no WAL, main file changed", { record: known, wal: gone, fingerprint: "other" }, "resync"],
    ["no WAL, main file gone", { record: known, wal: gone, fingerprint: null }, "resync"],
    ["no WAL, main file never known", { wal: gone }, "resync"],
    ["the recorded WAL, without a commit in it", { wal: emptied }, "replay"],
    ["no WAL and none recorded", { record: { ...known, wal: null }, wal: gone }, "whole-wal"],
    ["a WAL where none was recorded", { record: { ...known, wal: null } }, "whole-wal"],
    ["the same, main file changed", { record: { ...known, wal: null }, fingerprint: "other" }, "resync"],
    ["nothing known of either", { record: { ...record, wal: null }, fingerprint: null }, "resync"],
    ["a durable mark", { record: { ...record, resync: "why" } }, "resync"],
  ])("%s", (_, change, kind) => {
    expect(recover({ ...found, ...change }).kind).toBe(kind);
  });
});

/** A database as a killed process left it, its replica beside it, and what was committed there. */
async function killed(before: (sql: (text: string) => void, flush: () => Promise<void>) => Promise<void>) {
  const sqlite3 = await quietModule();
  const folder = temporaryFolder();
  execFileSync("mkdir", [join(folder, "live")]);
  const make = async (at: string) =>
    quietReplicator({
      dbPath: join(at, "data.db"),
      replica: new DirectoryStore(pathToFileURL(join(at, "replica"))),
      sqlite3,
      checkpointPages: 1e6,
    });
  const { replicator } = await make(join(folder, "live"));
  await replicator.start();
  await replicator.snapshot();
  const db = replicator.openDatabase();
  db.exec("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await before(
    (text) => void db.exec(text),
    () => replicator.flush(),
  );
  const path = join(folder, "killed", "data.db");
  execFileSync("cp", ["-a", join(folder, "live"), join(folder, "killed")]);
  const { captured } = replicator.status();
  db.close();
  await replicator.stop();
  return {
    path,
    wal: `${path}-wal`,
    captured,
    /** Starts from what lies there; answers what the application and then the replica hold, and the complaints. */
    async next() {
      const { replicator, complaints } = await make(join(folder, "killed"));
      await replicator.start();
      const reopened = replicator.openDatabase();
      const rows = reopened.selectValues("SELECT v FROM t ORDER BY id");
      reopened.close();
      if (complaints.length > 0 || replicator.status().state === "resync")
        await replicator.waitUntilUploaded();
      await replicator.flush();
      await replicator.snapshot();
      const { captured } = replicator.status();
      await replicator.stop();
      rmSync(path);
      rmSync(`${path}-sluice`, { recursive: true });
      const restorer = (await make(join(folder, "killed"))).replicator;
      await restorer.restore({ integrityCheck: "full" });
      await restorer.stop();
      return {
        rows,
        restored: native(path, "SELECT v FROM t ORDER BY id").split("\n"),
        complaints,
        captured,
      };
    },
  };
}

const inserts = (...values: string[]) => values.map((v) => `INSERT INTO t(v) VALUES('${v}');`).join("");

describe("the next start after a kill", () => {
  test("goes on behind the recorded frame", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a", "b"));
      await flush();
      sql(inserts("c", "d"));
    });
    const { rows, restored, complaints, captured } = await left.next();
    expect({ rows, restored, complaints }).toEqual({
      rows: ["a", "b", "c", "d"],
      restored: ["a", "b", "c", "d"],
      complaints: [],
    });
    expect(captured).toBe(left.captured);
  });

  test("goes on with the successor of a WAL that was cached", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a"));
      await flush();
      sql("PRAGMA wal_checkpoint(RESTART)");
      sql(inserts("b", "c"));
    });
    expect(await left.next()).toMatchObject({
      rows: ["a", "b", "c"],
      restored: ["a", "b", "c"],
      complaints: [],
    });
  });

  test("goes on where the WAL was emptied", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a", "b"));
      await flush();
      sql("PRAGMA wal_checkpoint(TRUNCATE)");
    });
    expect(await left.next()).toMatchObject({ rows: ["a", "b"], restored: ["a", "b"], complaints: [] });
  });

  test.each([1, 2])("brings back what the WAL lost, but %i frames, and the replica has", async (frames) => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a", "b"));
      await flush();
      sql(inserts("c"));
    });
    truncateSync(left.wal, walHeaderSize + frames * FRAME);
    expect(await left.next()).toMatchObject({ rows: ["a", "b"], restored: ["a", "b"], complaints: [] });
  });

  test("resyncs where the WAL is gone", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a"));
      sql("PRAGMA wal_checkpoint(PASSIVE)");
      sql(inserts("b"));
      await flush();
    });
    rmSync(left.wal);
    const { rows, restored, complaints } = await left.next();
    expect({ rows, restored }).toEqual({ rows: ["a"], restored: ["a"] });
    expect(complaints).not.toEqual([]);
  });

  test("resyncs where a frame of another content stands in the recorded one's place", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a", "bbbb"));
      await flush();
    });
    replaceLastFrame(left.wal, "bbbb", "cccc");
    const { rows, restored, complaints } = await left.next();
    expect({ rows, restored }).toEqual({ rows: ["a", "cccc"], restored: ["a", "cccc"] });
    expect(complaints).not.toEqual([]);
  });

  test("resyncs where native sqlite3 wrote meanwhile", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a"));
      await flush();
    });
    native(left.path, inserts("native"));
    const { rows, restored, complaints } = await left.next();
    expect({ rows, restored }).toEqual({ rows: ["a", "native"], restored: ["a", "native"] });
    expect(complaints).not.toEqual([]);
  });

  test("resyncs where native sqlite3 wrote after everything was checkpointed", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a"));
      await flush();
      sql("PRAGMA wal_checkpoint(TRUNCATE)");
    });
    native(left.path, inserts("native"));
    const { rows, restored, complaints } = await left.next();
    expect({ rows, restored }).toEqual({ rows: ["a", "native"], restored: ["a", "native"] });
    expect(complaints).not.toEqual([]);
  });

  test("resyncs where the database is another one", async () => {
    const left = await killed(async (sql, flush) => {
      sql(inserts("a"));
      await flush();
    });
    rmSync(left.wal);
    rmSync(left.path);
    const other = `${left.path}.other`;
    native(
      other,
      `PRAGMA page_size=${PAGE}; PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v); ${inserts("other")}`,
    );
    copyFileSync(other, left.path);
    const { rows, restored, complaints } = await left.next();
    expect({ rows, restored }).toEqual({ rows: ["other"], restored: ["other"] });
    expect(complaints).not.toEqual([]);
  });
});

/** As if the machine had lost the last commit and another one had been written in its place. */
function replaceLastFrame(path: string, text: string, by: string): void {
  const wal = readFileSync(path);
  const checksum = new WalChecksum();
  const header = decodeWalHeader(wal, checksum)!;
  const last = walHeaderSize + (Math.floor((wal.length - walHeaderSize) / FRAME) - 1) * FRAME;
  const { pgno, pageCount } = new WalFrameHeader().read(wal, last);
  wal.write(by, wal.indexOf(text, last));
  checksum.load(wal, last - FRAME);
  sealWalFrame(wal, last, header, pgno, pageCount, checksum);
  writeFileSync(path, wal);
}
