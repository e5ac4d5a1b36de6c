import { describe, expect, onTestFinished, test } from "vitest";
import { BrokenReplicaError, CorruptObjectError, StoreError } from "../../src/errors.ts";
import { armFaults } from "../../src/faults.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { compact } from "../../src/housekeeping.ts";
import { collect } from "../../src/store/collect.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { GetOptions, ObjectStore } from "../../src/store/object-store.ts";
import { codecs, lineage } from "../format/objects.ts";
import { restored } from "../suites/restored.ts";
import { Chain, memoryReplica } from "./chain.ts";

async function chainOf(segments: number, replica = memoryReplica()) {
  const chain = new Chain(replica.store, replica.clock);
  await chain.claim();
  await chain.writeMany(2);
  await chain.snapshot();
  await chain.writeMany(segments - 2);
  return { ...replica, chain };
}

const run = (chain: Chain, store: ObjectStore = chain.store) => compact(store, codecs, chain.clock, {});

async function keys(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}

async function bytesOf(store: ObjectStore, key: string): Promise<Uint8Array> {
  return collect((await store.get(key)).body, 1 << 24);
}

describe("compaction", () => {
  test("every state stays what it was, and a restore opens tens of objects", async () => {
    const { chain, store } = await chainOf(700);
    const before = await chain.restorable();
    const report = await run(chain);
    expect(report).toMatchObject({ problems: [] });
    expect((await keys(store, "wal/1/")).length).toBe(43);
    expect((await keys(store, "wal/2/")).length).toBe(2);
    expect(await chain.restorable()).toEqual(before);
    const { file, objects } = await restored({ store, lineage, codecs }, "latest");
    expect(Buffer.compare(file, Buffer.concat(chain.states.get(chain.position.txid)!))).toBe(0);
    expect(objects).toBeLessThan(70);
    expect(await run(chain)).toMatchObject({ made: [] });
  });

  test("10,000 segments restore from 70 objects at the most", async () => {
    const { chain, store } = await chainOf(10_000);
    await run(chain);
    const { file, objects } = await restored({ store, lineage, codecs }, "latest");
    expect(Buffer.compare(file, Buffer.concat(chain.states.get(chain.position.txid)!))).toBe(0);
    expect(objects).toBeLessThanOrEqual(70);
  });

  test("two at once, and one after what the other left, make the same bytes", async () => {
    const one = await chainOf(600);
    const copy = new MemoryStore({ now: one.clock.now });
    for (const key of await keys(one.store, "")) await copy.put(key, await bytesOf(one.store, key));
    await Promise.all([run(one.chain), run(one.chain), run(one.chain)]);
    // The other had less to begin with.
    for (const key of (await keys(copy, "wal/0/")).slice(300)) await copy.delete([key]);
    await run(one.chain, copy);
    for (const key of await keys(one.store, "wal/0/")) await copy.put(key, await bytesOf(one.store, key));
    await run(one.chain, copy);
    expect(await keys(copy, "")).toEqual(await keys(one.store, ""));
    for (const key of await keys(copy, "wal/"))
      expect(Buffer.compare(await bytesOf(copy, key), await bytesOf(one.store, key))).toBe(0);
  });

  test.each(["compact:before-put", "compact:after-put"])(
    "dies at %s, at each object, and the next goes on",
    async (point) => {
      onTestFinished(() => armFaults(null));
      const { chain, store } = await chainOf(16 * 18);
      const before = await chain.restorable();
      let died = 0;
      for (let done = false; !done; ) {
        armFaults((reached) => {
          if (reached === point) throw new Error("died");
        });
        const [first] = await Promise.allSettled([run(chain)]);
        armFaults(null);
        if (first.status === "rejected" && point === "compact:before-put") {
          // Past what this one could not make.
          let count = 0;
          armFaults((reached) => {
            if (reached === "compact:after-put" && ++count === 3) throw new Error("died");
          });
          await run(chain).catch(() => undefined);
          armFaults(null);
        }
        died += first.status === "rejected" ? 1 : 0;
        done = first.status === "fulfilled";
        expect(await chain.restorable()).toEqual(before);
      }
      expect(died).toBeGreaterThan(5);
      expect((await keys(store, "wal/1/")).length).toBe(18);
    },
  );

  test("what does not belong together is reported, and never merged", async () => {
    const { chain, store } = await chainOf(20);
    const other = await chainOf(60);
    // A fork: the other history's segments from the 21st on.
    for (const key of (await keys(other.store, "wal/0/")).slice(20))
      await store.put(key, await bytesOf(other.store, key));
    const report = await run(chain);
    expect(report!.problems).toEqual([expect.any(BrokenReplicaError)]);
    const [first, second, ...rest] = await keys(store, "wal/1/");
    expect([first, second]).toEqual([segmentKey(1, 1, 24), segmentKey(1, 25, 30)]);
    expect(rest.length).toBe(2);
    await expect(chain.restorable()).rejects.toThrow();
  });

  test("a damaged segment is reported and passed over", async () => {
    const { chain, store } = await chainOf(60);
    const key = (await keys(store, "wal/0/"))[20]!;
    const bytes = await bytesOf(store, key);
    bytes[bytes.length - 60]! ^= 1;
    await store.put(key, bytes);
    const report = await run(chain);
    expect(report!.problems).toEqual([expect.any(CorruptObjectError)]);
    const merged = await keys(store, "wal/1/");
    expect(merged.length).toBe(4);
  });

  test("another object under the key is not taken for the one that would be made", async () => {
    const { chain, store } = await chainOf(40);
    const other = await chainOf(40);
    await run(other.chain);
    const [key] = await keys(other.store, "wal/1/");
    // It comes between the listing and the create.
    onTestFinished(() => armFaults(null));
    const foreign = await bytesOf(other.store, key!);
    let put = Promise.resolve();
    armFaults((point) => {
      if (point === "compact:before-put") put = store.put(key!, foreign);
    });
    await expect(run(chain)).rejects.toBeInstanceOf(BrokenReplicaError);
    await put;
    expect(Buffer.compare(await bytesOf(store, key!), foreign)).toBe(0);
  });

  test.each([
    ["deletes", "not-found"],
    ["replaces", "precondition-failed"],
  ] as const)("what another one %s meanwhile is listed anew", async (_, kind) => {
    const { chain, store } = await chainOf(40);
    let gone = 0;
    class Pruned extends MemoryStore {
      override async get(key: string, options?: GetOptions) {
        // The first read of a segment finds it gone, or another by now; the next listing tells what stands there.
        if (key.startsWith("wal/0/") && gone++ === 0) throw new StoreError(kind, key, { key });
        return store.get(key, options);
      }
      override list: MemoryStore["list"] = (...args) => store.list(...args);
      override put: MemoryStore["put"] = (...args) => store.put(...args);
    }
    expect((await run(chain, new Pruned()))!.made.length).toBe(2);
  });
});
