import { describe, expect, test } from "vitest";
import { choosePlan } from "../../src/choose-plan.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { compact } from "../../src/housekeeping.ts";
import { requireTail } from "../../src/own-end.ts";
import { listReplica } from "../../src/replica.ts";
import { collect } from "../../src/store/collect.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { codecs, lineage, writer } from "../format/objects.ts";
import { Chain, memoryReplica } from "./chain.ts";

/** Its writer uploads and merges between the requests that list level 0 and those that list the others. */
class Busy extends MemoryStore {
  constructor(
    readonly store: MemoryStore,
    readonly goOn: () => Promise<void>,
  ) {
    super();
  }

  override get: MemoryStore["get"] = (key, options) => this.store.get(key, options);
  override async *list(...[prefix, options]: Parameters<MemoryStore["list"]>) {
    const before = this.store.list(prefix, options);
    if (prefix !== "wal/") return yield* before;
    for await (const found of before) if (found.key.startsWith("wal/0/")) yield found;
    await this.goOn();
    yield* this.store.list("wal/1/");
  }
}

/** A snapshot in the middle of a group, and so many segments behind it. */
async function busyReplica(segments: number) {
  const { store, clock } = memoryReplica();
  const chain = new Chain(store, clock);
  await chain.claim();
  await chain.writeMany(5);
  await chain.snapshot();
  await chain.writeMany(segments);
  await compact(store, codecs, clock, {});
  const busy = new Busy(store, async () => {
    await chain.writeMany(1);
    const { made } = (await compact(store, codecs, clock, {}))!;
    expect(made).toHaveLength(1);
  });
  return { chain, busy };
}

describe("what is uploaded and merged while a replica is listed", () => {
  test("makes no gap behind its only snapshot", async () => {
    const { chain, busy } = await busyReplica(10);
    const { txid } = chain.position;
    const chosen = await choosePlan(busy, await listReplica(busy), "latest", codecs);
    expect(chosen!.txid ?? chain.position.txid).toBeGreaterThan(txid);
  });

  test.each([1, 2, 8])("hides no state, by transaction or by time: the last but %i", async (back) => {
    const points = [
      ([txid]: readonly [number, number]) => ({ txid }),
      ([, timestamp]: readonly [number, number]) => ({ timestamp }),
    ];
    for (const pointAt of points) {
      const { chain, busy } = await busyReplica(26);
      const state = [...chain.times].at(-back)!;
      const chosen = await choosePlan(busy, await listReplica(busy), pointAt(state), codecs);
      expect(chosen!.txid).toBe(state[0]);
    }
  });
});

test("our own upload that lands while the end of the replica is looked for fences nobody", async () => {
  const { store, clock } = memoryReplica();
  const chain = new Chain(store, clock);
  await chain.claim();
  await chain.snapshotOfNothing();
  await chain.writeMany(16);
  await compact(store, codecs, clock, {});
  const fine: string[] = [];
  for await (const { key } of store.list("wal/0/")) fine.push(key);
  // So it takes the whole replica to tell where it ends.
  await store.delete(fine);
  const uploaded = chain.position;
  await chain.write([2], 4);
  const key = segmentKey(0, uploaded.txid + 1, chain.position.txid);
  const bytes = await collect((await store.get(key)).body, 1 << 20);
  await store.delete([key]);
  const listed = store.list.bind(store);
  store.list = async function* (prefix, options) {
    if (prefix === "wal/") await store.put(key, bytes, { ifNoneMatch: "*" });
    yield* listed(prefix, options);
  };
  await requireTail({ store, lineage, writer, codecs, givenUp: () => undefined }, uploaded, chain.position);
});
