import { expect, test } from "vitest";
import { expectReplicated, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("a part of the code that does not load is said and tried again, and no note is lost", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("before");
  await notes.settles();
  const uploaded = await notes.number("uploaded");
  server.missing = /\/upkeep-/;
  await notes.page.reload();
  await notes.is("open");
  await notes.add("without it");
  await notes.says("SLUICE_CODE_UNAVAILABLE");
  await notes.reaches("cached", uploaded + 1);
  expect(await notes.number("uploaded")).toBe(uploaded);
  server.missing = null;
  await expectReplicated(notes, replica);
});

test("once the notes are open, all goes on when the server has another release", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.settles();
  server.missing = /\.(js|wasm)$/;
  await notes.press("offline");
  await notes.press("write");
  await notes.reaches("rows", 1000);
  await notes.press("offline");
  // Nobody waits for it, so what piled up is merged first.
  await expectReplicated(notes, replica);
  expect(await notes.page.textContent("#log")).not.toMatch(/failed|could not be loaded/);
});
