/**
 * Objects as releases wrote them: a snapshot of 103 pages and a segment of 108, of a database with one table of 600 rows
 * to which one transaction changed every third row and another added one. Files of a release are never changed.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { genesisPosition } from "../../src/format/genesis.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { sqlite3, temporaryDirectory, zstdDecompress } from "./native-sqlite.ts";
import { codecs, decodeObject, encodeObject, lineage, segmentHeader, snapshotHeader } from "./objects.ts";

const genesis = genesisPosition(lineage, codecs);
const golden = (key: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, "../golden/0.1.0", key)));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe.each([
  {
    release: "0.1.0",
    key: snapshotKey(0),
    header: { ...snapshotHeader(512, 103), to: genesis },
    id: "7cd8a645f5e59efb1c39bc29151e4279",
    raw: "845188e5025c6dc009a98d6f4c72dcbe8ebc471e3fe1c45e5afa1b034735e333",
    pages: 103,
  },
  {
    release: "0.1.0",
    key: segmentKey(0, 1, 2),
    header: { ...segmentHeader(512, 110), from: genesis, to: { txid: 2, id: null } },
    id: "84d8d54bfb099403cdb5d7add2d8a0e7",
    raw: "5f61bb4b34ebc2d321c2e80273e36ce470ecf12b38c99644ee418427e33b339c",
    pages: 108,
  },
])("$release $key", ({ key, header, id, raw, pages: count }) => {
  const bytes = golden(key);

  test("is read", async () => {
    const { object, pages } = await decodeObject(bytes, key);
    expect(object.header).toEqual(header);
    expect([object.id, object.blockCount, pages.size]).toEqual([id, 2, count]);
    expect(sha256(zstdDecompress(bytes))).toBe(raw);
  });

  test("is written again: the same id, and the same bytes inside zstd", async () => {
    const again = encodeObject(header, (await decodeObject(bytes, key)).pages);
    expect(again.id).toBe(id);
    expect(sha256(zstdDecompress(again.bytes))).toBe(raw);
  });
});

test("0.1.0 is restored by zstd and sqlite3", () => {
  const path = join(temporaryDirectory(), "db");
  const select = "SELECT count(*), sum(a LIKE 'changed %'), max(a) FROM t";
  writeFileSync(path, zstdDecompress(golden(snapshotKey(0))));
  expect(sqlite3(path, "PRAGMA integrity_check", select)).toBe("ok\n600|0|row 999 of the golden database\n");
  writeFileSync(`${path}-wal`, zstdDecompress(golden(segmentKey(0, 1, 2))));
  expect(sqlite3(path, "PRAGMA integrity_check", select)).toBe(
    "ok\n601|200|row 996 of the golden database\n",
  );
});
