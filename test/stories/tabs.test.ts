import { expect, onTestFinished, test } from "vitest";
import { expectReplicated, openTab, serve, useBrowser } from "./fixture.ts";

const browser = useBrowser();

test("a second tab says who has the notes; one that waits takes over with all of them", async () => {
  const { server, replica } = await serve();
  const first = await browser.tab(server);
  await first.is("open");
  await first.add("from the first");
  const second = await browser.tab(server);
  await second.is("shut");
  expect(await second.says("SLUICE_IN_USE")).toContain(server.origin);
  await second.remedy("wait");
  await second.says("waiting");
  await first.add("while the second waits");
  await first.page.close();
  await second.is("open");
  await second.reaches("rows", 2);
  await second.add("from the second");
  await expectReplicated(second, replica);
});

test("who waits may stop waiting", async () => {
  const { server } = await serve();
  const first = await browser.tab(server);
  await first.is("open");
  const second = await browser.tab(server);
  await second.says("SLUICE_IN_USE");
  await second.remedy("wait");
  await second.remedy("stop-waiting");
  await second.is("shut");
  await first.add("still mine");
});

test("a frozen tab keeps the notes, and goes on when it comes back", async () => {
  const { server, replica } = await serve();
  const first = await browser.tab(server);
  await first.is("open");
  await first.add("before the frost");
  const session = await browser.context.newCDPSession(first.page);
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  const second = await browser.tab(server);
  await second.says("SLUICE_IN_USE");
  await session.send("Page.setWebLifecycleState", { state: "active" });
  await first.add("after it");
  await expectReplicated(first, replica);
});

test("another browser on the same replica: one goes on, the other is told, and can take what the first wrote", async () => {
  const { server, replica } = await serve();
  const first = await browser.tab(server);
  await first.is("open");
  await first.add("from the first");
  await first.settles();
  const elsewhere = await browser.context.browser()!.newContext();
  onTestFinished(() => elsewhere.close());
  const second = await openTab(elsewhere, server.origin);
  await second.is("open");
  await second.reaches("rows", 1);
  await second.add("from the second");
  await second.settles();
  await first.add("lost to the first");
  await first.says("SLUICE_FENCED");
  await first.reaches("rows", 2);
  await first.remedy("adopt-remote");
  await first.is("open");
  expect(await first.fingerprint()).toBe(await second.fingerprint());
  await first.add("and on");
  await expectReplicated(first, replica);
});
