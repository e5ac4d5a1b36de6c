import { expect, test } from "vitest";
import { turn, useReplicated } from "./fixture.ts";
import { oneAtATime } from "./transaction.ts";

const replicated = useReplicated();

async function open() {
  const { db, ...rest } = await replicated.open();
  db.exec("CREATE TABLE t(a PRIMARY KEY)");
  return {
    db,
    transaction: oneAtATime(db),
    insert: (a: string) => db.exec(`INSERT INTO t VALUES('${a}')`),
    ...rest,
  };
}

test("one that fails is rolled back, and takes nothing of those that were begun with it", async () => {
  const { transaction, insert, restored } = await open();
  const pair = (name: string, end: () => unknown) =>
    transaction(async () => {
      insert(`${name} 1`);
      await turn();
      insert(`${name} 2`);
      return end();
    });
  const failure = new Error("no");
  const outcomes = await Promise.allSettled([
    pair("first", () => 1),
    pair("second", () => Promise.reject(failure)),
    pair("third", () => 3),
  ]);
  expect(outcomes).toEqual([
    { status: "fulfilled", value: 1 },
    { status: "rejected", reason: failure },
    { status: "fulfilled", value: 3 },
  ]);
  expect(await restored("SELECT a FROM t ORDER BY rowid")).toEqual([
    ["first 1"],
    ["first 2"],
    ["third 1"],
    ["third 2"],
  ]);
});

test("each is one commit", async () => {
  const { db, transaction, insert } = await open();
  const before = Number(db.selectValue("PRAGMA sluice_txid"));
  await transaction(async () => {
    insert("a");
    await turn();
    insert("b");
  });
  expect(Number(db.selectValue("PRAGMA sluice_txid"))).toBe(before + 1);
});

test("where SQLite rolled back by itself, the error is the one that made it do so, and the next goes on", async () => {
  const { db, transaction, insert } = await open();
  insert("a");
  const failing = transaction(() => db.exec("INSERT OR ROLLBACK INTO t VALUES('a')"));
  await expect(failing).rejects.toMatchObject({ resultCode: 1555 });
  await transaction(() => insert("b"));
  expect(db.selectValues("SELECT a FROM t")).toEqual(["a", "b"]);
});
