import { expect, test } from "vitest";
import { codecs } from "../format/objects.ts";
import { patterns } from "./patterns.ts";
import { simulateDay } from "./simulate.ts";
import { simulateUsers } from "./users.ts";

/** `npm run costs` does it for whole days and real sizes. */
test("what is merged takes at most 0.3 of what level 0 takes, and snapshots are two", async () => {
  const day = patterns.find(({ name }) => name.startsWith("10 commits a second"))!;
  // Somewhat over an hour, with a database in proportion, so that as much of it is written over and over.
  const pages = 3200;
  const perUpload = { ...day.perUpload, indexPages: pages / 4 };
  const report = await simulateDay(
    { ...day, pageSize: 512, pages, pagesAtFirst: pages, perUpload, uploads: 4500, snapshotEverySecs: 1800 },
    codecs,
  );
  expect((report.level0 + report.higher) / report.level0).toBeLessThanOrEqual(1.3);
  expect(report.snapshotCount).toBe(2);
});

test("idle is free", async () => {
  const idle = patterns.find(({ name }) => name === "idle")!;
  const { requests } = await simulateDay(idle, codecs);
  // What the first snapshot takes, and the look at what it replaces.
  expect(requests.puts + requests.lists + requests.gets + requests.deletes).toBeLessThanOrEqual(10);
});

test("users of a browser app are not alike, and each request of them is counted", async () => {
  const { PUT, uploads } = await simulateUsers(2, 512, codecs);
  expect(uploads.least).toBeLessThan(uploads.most);
  expect(PUT.total).toBeGreaterThan(uploads.total);
  // Merging adds one in 16, and a little for the levels above and the first snapshot.
  expect(PUT.total).toBeLessThan(uploads.total * 1.08 + 2 * 5);
});
