import { expect, test } from "vitest";
import { DirectoryStore } from "../../node/directory-store.ts";
import { compact } from "../../src/housekeeping.ts";
import type { GetOptions } from "../../src/store/object-store.ts";
import { codecs } from "../format/objects.ts";
import { gc } from "../gc.ts";
import { temporaryFolder } from "../replicator/replica-fixture.ts";
import { Chain, TestClock } from "./chain.ts";

/** On disk, and looks now and then at how much memory is held. */
class WatchedStore extends DirectoryStore {
  held = 0;
  #reads = 0;

  override async get(key: string, options?: GetOptions) {
    if (this.#reads++ % 16 === 0) {
      gc();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      this.held = Math.max(this.held, heapUsed + arrayBuffers);
    }
    return super.get(key, options);
  }
}

test("a merge of segments with 100,000 pages each stays within 64 MiB", async () => {
  const folder = temporaryFolder();
  const clock = new TestClock();
  const writing = new Chain(new DirectoryStore(`file://${folder}`), clock);
  await writing.claim();
  // Each changes all of the database; the last ones little.
  const all = Array.from({ length: 100_000 }, (_, i) => i + 1);
  for (let i = 0; i < 2; i++) await writing.write(all, all.length);
  for (let i = 0; i < 15; i++) await writing.write([7], all.length);
  const store = new WatchedStore(`file://${folder}`);
  gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const report = await compact(store, codecs, clock, {});
  expect(report).toMatchObject({ problems: [] });
  // Two of the large ones are more than a group may have: the first stays, and the second begins the only group.
  expect(report!.made).toEqual(["wal/1/0000000000000002-0000000000000011.wal.zst"]);
  expect(store.held - heapUsed - arrayBuffers).toBeLessThan(64 << 20);
});
