import { eq, sql } from "drizzle-orm";
import { blob, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { drizzleTransactions } from "./drizzle.ts";
import { turn, useReplicated } from "./fixture.ts";

const notes = sqliteTable("notes", {
  id: integer("id").primaryKey(),
  text: text("text").notNull().unique(),
  done: integer("done", { mode: "boolean" }).notNull().default(false),
  data: blob("data"),
});

const replicated = useReplicated();

async function open() {
  const { db, ...rest } = await replicated.open();
  const transaction = drizzleTransactions(db);
  await transaction((orm) =>
    orm.run(
      sql`CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, done INTEGER NOT NULL DEFAULT 0, data BLOB)`,
    ),
  );
  return { db, transaction, ...rest };
}

const ALL = "SELECT text FROM notes ORDER BY id";

test("run, all, get and values, and what they wrote is replicated", async () => {
  const { transaction, restored } = await open();
  await transaction(async (orm) => {
    await orm
      .insert(notes)
      .values([{ text: "one" }, { text: "two", done: true }])
      .run();
    expect(await orm.select().from(notes).where(eq(notes.done, true)).all()).toEqual([
      { id: 2, text: "two", done: true, data: null },
    ]);
    expect(await orm.select({ text: notes.text }).from(notes).get()).toEqual({ text: "one" });
    expect(await orm.select().from(notes).where(eq(notes.id, 9)).get()).toBeUndefined();
    expect(await orm.select({ id: notes.id }).from(notes).values()).toEqual([[1], [2]]);
    expect(await orm.insert(notes).values({ text: "three" }).returning({ id: notes.id })).toEqual([
      { id: 3 },
    ]);
  });
  expect(await restored(ALL)).toEqual([["one"], ["two"], ["three"]]);
});

test("transactions begun together run one after the other; one that fails leaves nothing", async () => {
  const { transaction, restored } = await open();
  const pair = (name: string, last = `${name} 2`) =>
    transaction(async (orm) => {
      await orm.insert(notes).values({ text: `${name} 1` });
      await turn();
      await orm.insert(notes).values({ text: last });
    });
  const outcomes = await Promise.allSettled([pair("first"), pair("second", "first 1"), pair("third")]);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(await restored(ALL)).toEqual([["first 1"], ["first 2"], ["third 1"], ["third 2"]]);
});

test("Drizzle's own transaction() within one is an error, and all is rolled back", async () => {
  const { db, transaction } = await open();
  const nested = transaction(async (orm) => {
    await orm.insert(notes).values({ text: "outer" });
    await orm.transaction(async (inner) => void (await inner.insert(notes).values({ text: "inner" })));
  });
  await expect(nested).rejects.toThrow();
  expect(db.selectArrays(ALL)).toEqual([]);
});
