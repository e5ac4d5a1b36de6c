/** The promise of FORMAT.md: `zstd` and `sqlite3` alone restore a replica. */
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openObject } from "../../src/format/decode.ts";
import type { Position } from "../../src/format/position.ts";
import {
  committedPages,
  contentOf,
  createDatabase,
  sqlite3,
  temporaryDirectory,
  writeToWal,
  zstdDecompress,
} from "./native-sqlite.ts";
import { codecs, encodeObject, memorySource, segmentHeader, snapshotHeader } from "./objects.ts";

const transactions = [
  ["UPDATE t SET a='first' WHERE id%5=0", "INSERT INTO t(b) VALUES(zeroblob(200000))"],
  ["CREATE TABLE u(x)", "INSERT INTO u SELECT b FROM t", "DELETE FROM t WHERE id%2"],
  ["DROP TABLE u", "VACUUM"],
];

test.each([512, 4096, 65536])(
  "pages of %i bytes: snapshot and segments by zstd and sqlite3",
  async (pageSize) => {
    const directory = temporaryDirectory();
    const live = join(directory, "live");
    const restored = join(directory, "restored");
    createDatabase(live, pageSize);

    const database = readFileSync(live);
    const pageCount = database.length / pageSize;
    const all = new Map(
      Array.from({ length: pageCount }, (_, i) => [
        i + 1,
        database.subarray(i * pageSize, (i + 1) * pageSize),
      ]),
    );
    const snapshot = encodeObject(snapshotHeader(pageSize, pageCount), all).bytes;
    const unpacked = zstdDecompress(snapshot);
    expect(Buffer.compare(unpacked, database)).toBe(0);
    writeFileSync(restored, unpacked);

    let from: Position = snapshotHeader(pageSize, pageCount).to as Position;
    for (const sql of transactions) {
      const commits = committedPages(writeToWal(live, ...sql));
      const header = {
        ...segmentHeader(pageSize, commits.pageCount),
        from,
        to: { txid: from.txid + sql.length, id: null },
      };
      const segment = encodeObject(header, commits.pages).bytes;
      from = (await openObject(memorySource(segment), codecs)).to;

      writeFileSync(`${restored}-wal`, zstdDecompress(segment));
      copyFileSync(live, `${live}-copy`);
      copyFileSync(`${live}-wal`, `${live}-copy-wal`);
      const content = contentOf(`${live}-copy`);
      expect(content).toMatch(/^ok\n/);
      expect(sqlite3(restored, "PRAGMA wal_checkpoint(TRUNCATE)")).toMatch(/^0\|/);
      expect(existsSync(`${restored}-wal`)).toBe(false);
      expect(contentOf(restored)).toBe(content);
      sqlite3(live, "PRAGMA wal_checkpoint(TRUNCATE)");
      expect(Buffer.compare(readFileSync(restored), readFileSync(live))).toBe(0);
    }
  },
);

test("sqlite3 takes no frame of a segment whose last byte is missing", () => {
  const path = join(temporaryDirectory(), "db");
  createDatabase(path, 4096);
  const base = `${path}-base`;
  copyFileSync(path, base);
  const { pages, pageCount } = committedPages(writeToWal(path, "DELETE FROM t"));
  const wal = zstdDecompress(encodeObject(segmentHeader(4096, pageCount), pages).bytes);
  writeFileSync(`${base}-wal`, wal.subarray(0, wal.length - 1));
  expect(sqlite3(base, "SELECT count(*) FROM t").trim()).toBe("400");
  writeFileSync(`${base}-wal`, wal);
  expect(sqlite3(base, "SELECT count(*) FROM t").trim()).toBe("0");
});
