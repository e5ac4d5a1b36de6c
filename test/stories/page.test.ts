import { expect, test } from "vitest";
import { expectReplicated, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("all of it by keyboard", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  const { keyboard } = notes.page;
  await keyboard.press("Tab");
  await keyboard.type("a heron at dawn");
  await keyboard.press("Tab");
  await keyboard.press("Enter");
  await notes.reaches("rows", 1);
  await keyboard.press("Tab");
  await keyboard.type("her");
  await notes.page.locator("mark").first().waitFor();
  const reached: string[] = [];
  for (let i = 0; i < 10; i++) {
    await keyboard.press("Tab");
    reached.push(await notes.page.evaluate(() => document.activeElement?.id ?? ""));
  }
  const buttons = ["write", "offline", "kill", "wipe", "restore", "upload", "compare", "persist"];
  expect(reached.filter((id) => buttons.includes(id))).toEqual(buttons);
  await expectReplicated(notes, replica);
});

test("at 360 pixels nothing is cut off, and nothing moves while the numbers do", async () => {
  const { server } = await serve();
  const notes = await browser.tab(server);
  await notes.page.setViewportSize({ width: 360, height: 740 });
  await notes.settles();
  const places = () =>
    notes.page.evaluate(() =>
      [...document.querySelectorAll("main h2, main h3, main button:not(li button), dt, figure, #log")].map(
        (each) => {
          const { x, y, height } = each.getBoundingClientRect();
          return [each.id, x, y + scrollY, height];
        },
      ),
    );
  const before = await places();
  await notes.press("write");
  await notes.reaches("rows", 1000);
  await notes.settles();
  expect(await places()).toEqual(before);
  expect(await notes.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
});
