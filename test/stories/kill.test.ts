import { expect, onTestFinished, test } from "vitest";
import { RunningBrowser } from "./browser.ts";
import { expectReplicated, folder, openTab, serve } from "./fixture.ts";

const LIVES = Number(process.env.SLUICE_BROWSER_KILLS ?? 8);

test("the browser is killed in the middle of writing, again and again: nothing committed is lost", {
  timeout: 60_000 + LIVES * 10_000,
}, async () => {
  const { server, replica } = await serve();
  const profile = folder("profile");
  let committed = 0;
  let browser: RunningBrowser | null = null;
  onTestFinished(() => browser?.kill());
  for (let life = 0; life <= LIVES; life++) {
    browser = await RunningBrowser.start(profile);
    const notes = await openTab(browser.context, server.origin);
    await notes.is("open");
    await notes.reaches("rows", committed);
    if (life === LIVES) {
      await expectReplicated(notes, replica);
      return;
    }
    await notes.press("write");
    await notes.reaches("rows", committed + 40 + 60 * (life % 9));
    // What the page says is committed, and more may be.
    committed = await notes.number("rows");
    await browser.kill();
  }
  expect.unreachable();
});
