import { existsSync } from "node:fs";
import { type Browser, launch, type Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { DemoServer } from "./demo-server.ts";
import { expectReplicated, serve } from "./fixture.ts";
import { NotesPage, type Tab } from "./notes-page.ts";

const FIREFOX = "/usr/bin/firefox-esr";
const POLL_MS = 50;

/** For the quota of an origin, KB: https://searchfox.org/mozilla-central/source/dom/quota/QuotaManager.h */
const QUOTA = "dom.quotaManager.temporaryStorage.fixedLimit";

function launchFirefox(extraPrefsFirefox: Record<string, unknown> = {}): Promise<Browser> {
  return launch({ browser: "firefox", executablePath: FIREFOX, timeout: 90_000, extraPrefsFirefox });
}

describe.skipIf(!existsSync(FIREFOX))("in Firefox", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchFirefox();
  });
  afterAll(() => browser?.close());

  /** Opens the demo in a tab. What nobody caught there fails the test. */
  async function openTab(server: DemoServer, within = browser): Promise<NotesPage<FirefoxTab>> {
    const page = await within.newPage();
    const uncaught: unknown[] = [];
    page.on("pageerror", (error) => uncaught.push(error));
    onTestFinished(async () => {
      expect(uncaught).toEqual([]);
      await page.close().catch(() => undefined);
    });
    await page.goto(server.origin);
    return new NotesPage(new FirefoxTab(page));
  }

  test("write, lose everything in the browser, restore: every note is as it was", async () => {
    const { server, replica } = await serve();
    const notes = await openTab(server);
    await notes.is("open");
    await notes.press("write");
    await notes.add("between the others");
    await notes.reaches("rows", 1001);
    await notes.settles();
    const fingerprint = await notes.fingerprint();

    await notes.press("wipe");
    await notes.is("wiped");
    await notes.remedy("restore");
    await notes.is("open");
    await notes.reaches("rows", 1001);
    expect(await notes.fingerprint()).toBe(fingerprint);
    await notes.add("and on it goes");
    await expectReplicated(notes, replica);
  });

  test("offline, a reload in the middle of it, online: all is there, and goes up", async () => {
    const { server, replica } = await serve();
    const notes = await openTab(server);
    await notes.is("open");
    await notes.settles();
    const uploaded = await notes.number("uploaded");
    server.expired = true;
    await notes.press("write");
    await notes.reaches("rows", 100);
    const committed = await notes.number("rows");
    await notes.page.reload();
    await notes.is("open");
    await notes.reaches("rows", committed);
    expect(await notes.number("uploaded")).toBe(uploaded);
    await notes.add("after the reload");
    server.expired = false;
    await expectReplicated(notes, replica);
  });

  test("a second tab that waits takes over with all notes", async () => {
    const { server, replica } = await serve();
    const first = await openTab(server);
    await first.is("open");
    await first.add("from the first");
    const second = await openTab(server);
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

  test("no room left, where Firefox writes less than asked and says nothing: what was committed stays", async () => {
    const { server } = await serve();
    const small = await launchFirefox({ [QUOTA]: 6144 });
    onTestFinished(() => small.close());
    const notes = await openTab(server, small);
    await notes.is("open");
    await notes.settles();
    // How much fits depends on how fast it goes up meanwhile.
    let asked = 0;
    do {
      await notes.press("write");
      asked += 1000;
      await notes.page.waitForFunction(
        (all) =>
          document.querySelector("#notice")!.textContent.includes("no more room") ||
          Number(document.querySelector<HTMLDataElement>("#rows")!.value) >= all,
        asked,
      );
    } while ((await notes.number("rows")) >= asked);
    const committed = await notes.number("rows");
    await notes.page.reload();
    await notes.is("open");
    await notes.reaches("rows", committed);
  });
});

/** A tab of Firefox, which Playwright drives only in a build of its own. */
class FirefoxTab implements Tab {
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
  }

  async reload(): Promise<void> {
    await this.#page.reload();
  }

  async close(): Promise<void> {
    await this.#page.close();
  }

  click(selector: string): Promise<void> {
    return this.#page.locator(selector).click();
  }

  async fill(selector: string, text: string): Promise<void> {
    await this.#page.bringToFront(); // As a person does who writes there.
    await this.#page.locator(selector).fill(text);
  }

  async press(selector: string, key: "Enter"): Promise<void> {
    await this.#page.focus(selector);
    await this.#page.keyboard.press(key);
  }

  evaluate<R, A>(act: (argument: A) => R, argument?: A): Promise<R> {
    return this.#page.evaluate(act as (argument: unknown) => R, argument) as Promise<R>;
  }

  async waitForFunction<A>(wanted: (argument: A) => unknown, argument?: A): Promise<void> {
    // Not by frames, which a tab in the background is not asked for.
    const options = { polling: POLL_MS, timeout: 60_000 };
    await this.#page.waitForFunction(wanted as (argument: unknown) => unknown, options, argument);
  }

  async waitForSelector(selector: string): Promise<void> {
    await this.#page.waitForSelector(selector);
  }

  textContent(selector: string): Promise<string | null> {
    return this.#page.$eval(selector, (element) => element.textContent);
  }

  getAttribute(selector: string, name: string): Promise<string | null> {
    return this.#page.$eval(selector, (element, attribute) => element.getAttribute(attribute), name);
  }
}
