import { type Generated, Kysely, sql } from "kysely";
import { expect, test } from "vitest";
import { turn, useReplicated } from "./fixture.ts";
import { kyselyDialect } from "./kysely.ts";

interface Tables {
  notes: { id: Generated<number>; text: string; data: Uint8Array | null };
}

const replicated = useReplicated();

async function open() {
  const { db, ...rest } = await replicated.open();
  const kysely = new Kysely<Tables>({ dialect: kyselyDialect(db) });
  await kysely.schema
    .createTable("notes")
    .addColumn("id", "integer", (column) => column.primaryKey())
    .addColumn("text", "text", (column) => column.notNull().unique())
    .addColumn("data", "blob")
    .execute();
  return { db, kysely, ...rest };
}

const ALL = "SELECT text FROM notes ORDER BY id";

test("what it writes is replicated, and it says what was done", async () => {
  const { kysely, restored } = await open();
  const values = { text: "one", data: new Uint8Array([1, 2]) };
  const inserted = await kysely.insertInto("notes").values(values).executeTakeFirstOrThrow();
  expect(inserted).toMatchObject({ insertId: 1n, numInsertedOrUpdatedRows: 1n });
  const two = kysely.insertInto("notes").values({ text: "two", data: null }).returning("id");
  expect(await two.execute()).toEqual([{ id: 2 }]);
  const updated = await kysely.updateTable("notes").set({ text: sql`text || '!'` }).executeTakeFirstOrThrow();
  expect(updated.numUpdatedRows).toBe(2n);
  const deleted = await kysely.deleteFrom("notes").where("id", "=", 9).executeTakeFirstOrThrow();
  expect(deleted.numDeletedRows).toBe(0n);
  expect(await kysely.selectFrom("notes").selectAll().where("id", "=", 1).execute()).toEqual([
    { id: 1, text: "one!", data: new Uint8Array([1, 2]) },
  ]);
  expect(await restored(ALL)).toEqual([["one!"], ["two!"]]);
});

test("a statement that changes no rows says so, whatever the one before it did", async () => {
  const { kysely } = await open();
  await kysely.insertInto("notes").values({ text: "one" }).execute();
  const { numAffectedRows } = await sql`CREATE TABLE other(a)`.execute(kysely);
  expect(numAffectedRows).toBe(0n);
});

test("of several statements in one none is left out", async () => {
  const { kysely, restored } = await open();
  await sql`INSERT INTO notes(text) VALUES('one'); INSERT INTO notes(text) VALUES('two')`.execute(kysely);
  expect(await restored(ALL)).toEqual([["one"], ["two"]]);
});

test("transactions begun together run one after the other; one that fails leaves nothing", async () => {
  const { kysely, restored } = await open();
  const pair = (name: string, last = `${name} 2`) =>
    kysely.transaction().execute(async (transaction) => {
      await transaction
        .insertInto("notes")
        .values({ text: `${name} 1` })
        .execute();
      await turn();
      await transaction.insertInto("notes").values({ text: last }).execute();
    });
  const outcomes = await Promise.allSettled([
    pair("first"),
    pair("second", "first 1"),
    kysely.insertInto("notes").values({ text: "beside" }).execute(),
    pair("third"),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  const texts = (await restored(ALL)).flat();
  expect(texts).toHaveLength(5);
  expect(texts.sort()).toEqual(["beside", "first 1", "first 2", "third 1", "third 2"]);
});

test("streaming is refused, and the connection is free again", async () => {
  const { kysely } = await open();
  const stream = kysely.selectFrom("notes").selectAll().stream();
  await expect(stream[Symbol.asyncIterator]().next()).rejects.toThrow("stream()");
  expect(await kysely.selectFrom("notes").selectAll().execute()).toEqual([]);
});

test("destroy closes the connection, so that the replicator stops with all uploaded", async () => {
  const { kysely, replicator, db } = await open();
  await kysely.destroy();
  expect(db.isOpen()).toBe(false);
  expect(await replicator.stop()).toEqual({ uploaded: true });
});
