import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext } from "playwright";
import { afterAll, beforeAll, expect, inject, onTestFinished } from "vitest";
import { RunningBrowser } from "./browser.ts";
import { DemoServer } from "./demo-server.ts";
import { judge } from "./judge.ts";
import { NotesPage, type Tab } from "./notes-page.ts";

/** A folder that is gone after the test. */
export function folder(name: string): string {
  const made = mkdtempSync(join(tmpdir(), `sluice-story-${name}-`));
  onTestFinished(() => rmSync(made, { recursive: true, force: true, maxRetries: 5 }));
  return made;
}

/** A server, and so an origin with nothing stored, for each test. */
export async function serve(): Promise<{ server: DemoServer; replica: string }> {
  const replica = folder("replica");
  const server = new DemoServer(inject("demo"), replica);
  await server.listen();
  onTestFinished(() => server.close());
  return { server, replica };
}

/** Opens the demo in a tab. What nobody caught there fails the test. */
export async function openTab(context: BrowserContext, url: string): Promise<NotesPage> {
  const page = await context.newPage();
  const uncaught: string[] = [];
  page.on("pageerror", ({ message }) => uncaught.push(message));
  onTestFinished(async () => {
    expect(uncaught).toEqual([]);
    await page.close().catch(() => undefined);
  });
  await page.goto(url);
  return new NotesPage(page);
}

/** One browser for the stories of a file. */
export function useBrowser() {
  let profile: string;
  let browser: RunningBrowser;
  beforeAll(async () => {
    profile = mkdtempSync(join(tmpdir(), "sluice-story-profile-"));
    browser = await RunningBrowser.start(profile);
  });
  afterAll(async () => {
    await browser?.kill();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  return {
    get context(): BrowserContext {
      return browser.context;
    },
    tab: (server: DemoServer) => openTab(browser.context, server.origin),
  };
}

/** What the tab holds is what anybody can restore. */
export async function expectReplicated(notes: NotesPage<Tab>, replica: string): Promise<void> {
  await notes.settles();
  const [rows, fingerprint] = [await notes.number("rows"), await notes.fingerprint()];
  expect(judge(replica)).toEqual({ integrity: "ok", rows, fingerprint });
}
