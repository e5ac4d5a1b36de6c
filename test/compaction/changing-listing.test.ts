import { describe, expect, test } from "vitest";
import { choosePlan } from "../../src/choose-plan.ts";
import { compact } from "../../src/housekeeping.ts";
import { listReplica } from "../../src/replica.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { codecs } from "../format/objects.ts";
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
