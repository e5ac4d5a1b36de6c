import { expect, test } from "vitest";
import { expectReplicated, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("a reload while a snapshot is on its way opens at once", async () => {
  const { server, replica } = await serve();
  const held = server.hold("snapshots/");
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before the reload");
  await held.reached;
  await notes.page.reload();
  await notes.is("open");
  await notes.reaches("rows", 1);
  await notes.add("after it");
  held.release();
  await expectReplicated(notes, replica);
});

test("away and back, by the back/forward cache", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before");
  for (let visit = 1; visit <= 3; visit++) {
    await notes.page.goto(server.emptyPage);
    await notes.page.evaluate(() => history.back());
    // A page from the cache does not load.
    await notes.page.waitForURL(`${server.origin}/`, { waitUntil: "commit" });
    await notes.logs("Back from the back/forward cache");
    await notes.is("open");
    await notes.reaches("rows", visit);
    await notes.add(`visit ${visit}`);
  }
  await expectReplicated(notes, replica);
});

test("a worker that is killed and started again at once, and again", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before");
  // As a double mount does: the second one is made while the first still opens.
  await notes.page.evaluate(() => {
    for (let i = 0; i < 4; i++) {
      const kill = document.querySelector<HTMLElement>("#kill")!;
      kill.ariaDisabled = "false";
      kill.click();
    }
  });
  await notes.is("open");
  await notes.reaches("rows", 1);
  await notes.press("write");
  await notes.reaches("rows", 100);
  const committed = await notes.number("rows");
  await notes.press("kill");
  await notes.is("open");
  await notes.reaches("rows", committed);
  expect(await notes.page.isHidden("#notice")).toBe(true);
  await expectReplicated(notes, replica);
});
