import fs from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { childProcess, freshVfs, killed, native, nativeComplaint, temporaryFolder } from "./vfs-fixture.ts";

const CONTENT = "SELECT count(*) || ' ' || min(length(b)) || ' ' || max(length(b)) FROM t";

async function killedInTransaction(): Promise<string> {
  const path = join(temporaryFolder(), "a.db");
  native(
    path,
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<1000) INSERT INTO t SELECT i, zeroblob(1000) FROM n",
  );
  const before = fs.readFileSync(path);
  const child = await childProcess("writeHalf", path);
  expect(nativeComplaint(path, CONTENT)).toContain("locked");
  await killed(child);
  expect(fs.statSync(`${path}-journal`).size).toBeGreaterThan(10_000);
  expect(fs.readFileSync(path).subarray(0, before.length).equals(before), "the file is half-written").toBe(
    false,
  );
  return path;
}

test("SIGKILL in a transaction: the hot journal is rolled back at the next open", async () => {
  const path = await killedInTransaction();
  const { open } = await freshVfs();
  const [one, two] = [open(path), open(path)];
  expect(two.selectValue(CONTENT)).toBe("1000 1000 1000");
  expect(one.selectValue("PRAGMA integrity_check")).toBe("ok");
  expect(fs.existsSync(`${path}-journal`)).toBe(false);
  one.close();
  two.close();
  expect(native(path, `PRAGMA integrity_check; ${CONTENT}`)).toBe("ok\n1000 1000 1000");
});

test("native sqlite3 understands our hot journal", async () => {
  const path = await killedInTransaction();
  expect(native(path, `PRAGMA integrity_check; ${CONTENT}`)).toBe("ok\n1000 1000 1000");
});
