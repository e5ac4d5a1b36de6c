import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { DirectoryStore } from "../../node/directory-store.ts";
import type { StoreError } from "../../src/errors.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { createTable, insert, next, rows, useReplicators } from "../replicator/fixture.ts";
import { byName } from "./listen.ts";
import { as, useServers } from "./server.ts";

const replicators = useReplicators();
const servers = useServers();

test("replicate through a gateway that goes away and comes back, restore, and stay out of others' way", async () => {
  const folder = replicators.folder();
  const store = new DirectoryStore(pathToFileURL(join(folder, "store")));
  const make = () => createGateway({ store, authorize: byName, partBytes: 65_536 });
  const server = await servers.listen(make());

  const db = async (name: string, user: string) =>
    replicators.create(join(folder, name), server.url, { gateway: as(user) });
  const first = await db("first.db", "alice");
  await first.start();
  const connection = first.openDatabase();
  createTable(connection);
  // More than three parts, and not to be compressed.
  for (let i = 0; i < 20; i++) connection.exec("INSERT INTO t(b) VALUES (hex(randomblob(50000)))");
  await first.waitUntilUploaded();
  await first.snapshot();

  await server.close();
  const failed = next(first, "error");
  insert(connection, "while nobody answers");
  expect(await failed).toMatchObject({ code: "SLUICE_STORE", kind: "network" } satisfies Partial<StoreError>);
  await servers.listen(make(), server.port);
  await first.waitUntilUploaded();
  expect(first.status().storeCapabilities).toEqual({ conditionalCreate: "atomic" });

  const second = await db("second.db", "alice");
  await second.start();
  const copy = second.openDatabase();
  expect(rows(copy)).toEqual(rows(connection));
  copy.close();

  const stranger = await db("stranger.db", "bob");
  expect(await stranger.restore()).toEqual({ restored: false, reason: "no-replica" });
  connection.close();
  expect(await first.stop()).toEqual({ uploaded: true });
});

test("of two writers at one position over a gateway, one is told", async () => {
  const folder = replicators.folder();
  const store = new DirectoryStore(pathToFileURL(join(folder, "store")));
  const server = await servers.gateway({ store });
  const open = (name: string) => replicators.create(join(folder, name), server.url, { gateway: as("alice") });
  const first = await open("first.db");
  await first.start();
  const one = first.openDatabase();
  createTable(one);
  await first.snapshot();
  const second = await open("second.db");
  await second.start();
  const two = second.openDatabase();
  const fenced = Promise.race([next(first, "fenced"), next(second, "fenced")]);
  insert(one, "from the first");
  insert(two, "from the second");
  expect(await fenced).toMatchObject({ code: "SLUICE_FENCED" });
  one.close();
  two.close();
});
