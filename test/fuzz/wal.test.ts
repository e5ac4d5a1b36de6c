import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect } from "vitest";
import { decodeWalHeader, verifyWalFrame, WalChecksum } from "../../src/wal/wal-format.ts";
import { createDatabase, writeToWal } from "../format/native-sqlite.ts";
import { createQuietly } from "../replicator/history-fixture.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes } from "./mutate.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
const original = join(folder, "original");
const place = join(folder, "place");
let wal: Uint8Array;
/** Rows that are in the write cache, as the crash left it. */
let cachedRows: number;

/** A database whose process ended without a stop: some commits are cached, some uploaded, some neither. */
beforeAll(async () => {
  mkdirSync(original);
  const replicator = await createQuietly({
    dbPath: join(original, "app.db"),
    replica: `file://${original}/replica`,
    checkpointPages: 100_000,
  });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  const insert = (rows: number) => {
    for (let i = 0; i < rows; i++) db.exec("INSERT INTO t(b) VALUES(randomblob(300))");
  };
  insert(20);
  await replicator.flush();
  cachedRows = 20;
  insert(20);
  const crashed = join(folder, "crashed");
  // With all times of the files: Sluice knows the database by them.
  execFileSync("cp", ["-a", original, crashed]);
  db.close();
  await replicator.stop();
  rmSync(original, { recursive: true });
  execFileSync("mv", [crashed, original]);
  wal = readFileSync(join(original, "app.db-wal"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function sqlite(path: string, sql: string): string {
  return execFileSync("sqlite3", [path, sql], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
}

async function crashWith(spoiled: Uint8Array): Promise<void> {
  rmSync(place, { recursive: true, force: true });
  execFileSync("cp", ["-a", original, place]);
  const path = join(place, "app.db");
  const { atime, mtime } = statSync(`${path}-wal`);
  writeFileSync(`${path}-wal`, spoiled);
  utimesSync(`${path}-wal`, atime, mtime);
  const replicator = await createQuietly({ dbPath: path, replica: `file://${place}/replica` });
  let resynced = false;
  replicator.addEventListener("resync", () => {
    resynced = true;
  });
  try {
    if ((await typed(() => replicator.start().then(() => true))) === null) return;
    const db = replicator.openDatabase();
    expect(db.selectValue("PRAGMA integrity_check")).toBe("ok");
    const rows =
      Number(db.selectValue("SELECT count(*) FROM sqlite_schema")) === 0
        ? 0
        : Number(db.selectValue("SELECT count(*) FROM t"));
    if (!resynced) expect(rows, "rows that were cached").toBeGreaterThanOrEqual(cachedRows);
    db.exec("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES('after')");
    await replicator.flush();
    db.close();
  } finally {
    await replicator.stop();
  }
  const copy = join(place, "copy.db");
  const restorer = await createQuietly({ dbPath: copy, replica: `file://${place}/replica` });
  expect(await restorer.restore({ integrityCheck: "full" })).toMatchObject({ restored: true });
  await restorer.stop();
  expect(readFileSync(copy).equals(readFileSync(path)), "the replica is the database").toBe(true);
  expect(sqlite(copy, "PRAGMA integrity_check")).toBe("ok");
}

fuzz("a start upon a WAL that a crash or a disk has spoiled", 20, byteEdits, (edits) =>
  crashWith(editBytes(wal, edits)),
);

const pageSizes = [512, 4096];
const walFiles = pageSizes.map((pageSize) => {
  const path = join(folder, `native-${pageSize}.db`);
  createDatabase(path, pageSize);
  return {
    pageSize,
    path,
    bytes: writeToWal(
      path,
      "INSERT INTO t(a) VALUES('x')",
      "DELETE FROM t WHERE id % 7 = 0",
      "UPDATE t SET a = 'y' WHERE id < 50",
    ),
  };
});

/** Frames up to the last commit before the first that does not verify, which are all that SQLite takes. */
function committedFrames(bytes: Uint8Array): { frames: number; pageCount: number } {
  const checksum = new WalChecksum();
  const header = decodeWalHeader(bytes, checksum);
  let [frames, pageCount] = [0, 0];
  if (header === null) return { frames, pageCount };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = header.pageSize + 24;
  for (let frame = 1, at = 32; at + size <= bytes.length; frame++, at += size) {
    if (!verifyWalFrame(bytes, at, header, checksum)) break;
    if (view.getUint32(at + 4) !== 0) [frames, pageCount] = [frame, view.getUint32(at + 4)];
  }
  return { frames, pageCount };
}

fuzz(
  "of a WAL those frames verify that SQLite takes",
  25,
  fc.tuple(fc.constantFrom(...walFiles), byteEdits),
  ([file, edits]) => {
    const spoiled = editBytes(file.bytes, edits);
    const copy = join(folder, "native.db");
    execFileSync("cp", [file.path, copy]);
    writeFileSync(`${copy}-wal`, spoiled);
    const { frames, pageCount } = committedFrames(spoiled);
    const [, log] = sqlite(copy, "PRAGMA wal_checkpoint(PASSIVE)").split("|");
    const pages = Number(sqlite(copy, "PRAGMA page_count"));
    // Without a WAL to take, SQLite says 0 or -1.
    expect(Math.max(0, Number(log))).toBe(frames);
    if (frames > 0) expect(pages).toBe(pageCount);
  },
);
