import { expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { objectStoreSuite } from "../suites/object-store.ts";

objectStoreSuite("MemoryStore", async () => new MemoryStore());

test("time and age are by the clock it was given", async () => {
  let now = 1000;
  const store = new MemoryStore({ name: "clock", now: () => now });
  await store.put("key", new Uint8Array(1));
  now = 1500;
  for await (const info of store.list("")) expect(info).toMatchObject({ lastModified: 1000, age: 500 });
  now = 0;
  for await (const info of store.list("")) expect(info).toMatchObject({ lastModified: 1000, age: 0 });
});
