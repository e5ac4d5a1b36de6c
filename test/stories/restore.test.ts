import { expect, test } from "vitest";
import { expectReplicated, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("write, lose everything in the browser, restore: every note is as it was", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.press("write");
  await notes.add("between the others");
  await notes.reaches("rows", 1001);
  await notes.settles();
  const fingerprint = await notes.fingerprint();

  await notes.press("wipe");
  await notes.is("wiped");
  expect(await notes.number("rows")).toBe(0);
  await notes.remedy("restore");
  await notes.is("open");
  await notes.logs("every note is as it was");
  await notes.reaches("rows", 1001);
  expect(await notes.fingerprint()).toBe(fingerprint);
  await notes.add("and on it goes");
  await expectReplicated(notes, replica);
});

test("200 notes while offline: all are there, and go up when the network is back", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.add("online");
  await notes.settles();
  await notes.press("offline");
  const uploaded = await notes.number("uploaded");
  for (let i = 1; i <= 200; i++) await notes.add(`offline ${i}`);
  await notes.says("Offline");
  expect(await notes.number("rows")).toBe(201);
  expect(await notes.number("uploaded")).toBe(uploaded);

  // Restoring now would lose them: it is refused, and they are still there.
  await notes.press("restore");
  await notes.says("NotUploaded");
  await notes.is("open");
  await notes.reaches("rows", 201);

  await notes.press("offline");
  await notes.reaches("uploaded", uploaded + 200);
  await expectReplicated(notes, replica);
});

test("the gateway refuses an expired token in the middle of it: all goes up when it is let in again", async () => {
  const { server, replica } = await serve();
  const notes = await browser.tab(server);
  await notes.is("open");
  await notes.settles();
  const before = await notes.number("uploaded");
  await notes.press("write");
  await notes.reaches("uploaded", before + 1);
  server.expired = true;
  await notes.add("while nobody lets us in");
  expect(await notes.says("SLUICE_STORE")).toContain("does not let us in");
  await notes.reaches("rows", 1001);
  server.expired = false;
  // It tries again by itself.
  await expectReplicated(notes, replica);
});
