import { expect, test } from "vitest";
import { expectReplicated, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("the queue's database is deleted under us: it is said, and no note is lost", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before");
  await notes.settles();
  const other = await browser.context.newPage();
  await other.goto(server.emptyPage);
  await other.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase("sluice-demo");
        request.onsuccess = resolve;
        request.onerror = reject;
      }),
  );
  await other.close();
  await notes.add("after");
  await notes.says("SLUICE_CACHE");
  await notes.press("write");
  await notes.reaches("rows", 1002);
  const fingerprint = await notes.fingerprint();

  await notes.page.reload();
  await notes.is("open");
  expect(await notes.fingerprint()).toBe(fingerprint);
  await notes.add("and on");
  await expectReplicated(notes, replica);
});

test("no room left: the commit that does not fit fails and is not there, the app lives on, and all is well with room again", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before");
  await notes.settles();
  const session = await browser.context.newCDPSession(notes.page);
  const { origin } = server;
  const { usage } = await session.send("Storage.getUsageAndQuota", { origin });
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 200_000 });
  await notes.press("write");
  expect(await notes.says("SQLite3Error")).toContain("no more room");
  const committed = await notes.number("rows");
  expect(committed).toBeLessThan(1001);
  await notes.fingerprint();

  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await notes.add("with room again");
  expect(await notes.number("rows")).toBeGreaterThan(committed);
  await expectReplicated(notes, replica);
});
