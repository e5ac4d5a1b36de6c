import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SqliteReplicator } from "../../node/index.ts";

test("replicates and restores", async () => {
  const dir = mkdtempSync(join(tmpdir(), "sluice-"));
  const make = (name: string) =>
    SqliteReplicator.create({
      dbPath: join(dir, name),
      replica: `file://${dir}/replica`,
      syncIntervalMs: 20,
      uploadIntervalMs: 20,
    });
  const a = await make("a.db");
  a.addEventListener("error", (e) => console.log("error", e.detail));
  await a.start();
  const db = a.openDatabase();
  db.exec("create table t(a integer primary key, b text)");
  for (let i = 0; i < 5000; i++) db.exec({ sql: "insert into t(b) values(?)", bind: [`row ${i}`] });
  await a.waitUntilUploaded();
  console.log(a.status());
  await a.snapshot();
  db.exec("insert into t(b) values('last')");
  await a.flush();
  console.log(a.status(), db.selectValue("pragma sluice_status"), db.selectValue("pragma sluice_txid"));
  db.close();
  console.log(await a.stop());
  console.log(readdirSync(dir), readdirSync(join(dir, "replica"), { recursive: true }));
  const b = await make("b.db");
  await b.start();
  const db2 = b.openDatabase();
  expect(db2.selectValue("select count(*) from t")).toBe(5001);
  db2.close();
  await b.stop();
  expect(readFileSync(join(dir, "a.db")).equals(readFileSync(join(dir, "b.db")))).toBe(true);
  rmSync(dir, { recursive: true });
});
