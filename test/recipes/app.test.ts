import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { sdkForWorkers } from "../../scripts/bundled.ts";
import { DemoServer } from "../stories/demo-server.ts";
import type { Client } from "./app/client.ts";
import type { Statement } from "./app/db.worker.ts";

const root = join(import.meta.dirname, "app");
let folder: string;
let browser: Browser;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-recipes-"));
  await build({
    root,
    configFile: false,
    logLevel: "error",
    worker: { format: "es", plugins: () => [sdkForWorkers()] },
    build: {
      outDir: join(folder, "app"),
      rolldownOptions: { input: [join(root, "index.html"), join(root, "tabs.html")] },
    },
  });
  const executablePath = "/usr/bin/chromium";
  browser = await chromium.launch({
    ...(existsSync(executablePath) ? { executablePath } : {}),
    args: ["--no-sandbox", "--disable-gpu"],
  });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The app on an origin of its own, where `/replica/` is a gateway. */
async function serve(): Promise<DemoServer> {
  const server = new DemoServer(join(folder, "app"), mkdtempSync(join(folder, "replica-")));
  await server.listen();
  onTestFinished(() => server.close());
  return server;
}

async function freshContext(): Promise<BrowserContext> {
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  return context;
}

async function open(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction(() => "client" in globalThis);
  return page;
}

/** What the page's client answers: the rows of each statement, or the error's code. */
function run(page: Page, ...statements: Statement[]): Promise<unknown> {
  return page.evaluate(async (all) => {
    const { client } = globalThis as unknown as { client: Client };
    return client.run(...(all as Statement[])).catch(({ code }) => code);
  }, statements as unknown[]);
}

const SCHEMA: Statement = ["CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT UNIQUE)"];
const insert = (text: string): Statement => ["INSERT INTO notes(text) VALUES (?)", [text]];
const ALL: Statement = ["SELECT text FROM notes ORDER BY id"];
const ENDLESS: Statement = [
  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
];

const SQLITE_CONSTRAINT_UNIQUE = 2067;

describe("a page and its worker", () => {
  test("a call is a transaction, and another browser restores what it did", async () => {
    const server = await serve();
    const page = await open(await freshContext(), server.origin);
    const uploaded = server.hold("wal/");
    await run(page, SCHEMA, insert("one"), insert("two"));
    expect(await run(page, insert("three"), insert("one"))).toBe(SQLITE_CONSTRAINT_UNIQUE);
    expect(await run(page, ALL)).toEqual([[["one"], ["two"]]]);
    await uploaded.reached;
    uploaded.release();
    const elsewhere = await open(await freshContext(), server.origin);
    expect(await run(elsewhere, ALL)).toEqual([[["one"], ["two"]]]);
  });

  test("where the database cannot be opened, each call is told", async () => {
    const server = await serve();
    server.expired = true;
    const page = await open(await freshContext(), server.origin);
    expect(await run(page, ALL)).toBe("SLUICE_STORE");
    expect(await run(page, ALL)).toBe("SLUICE_STORE");
  });
});

describe("two tabs", () => {
  async function twoTabs() {
    const server = await serve();
    const context = await freshContext();
    const first = await open(context, `${server.origin}/tabs.html`);
    await run(first, SCHEMA, insert("first"));
    const second = await open(context, `${server.origin}/tabs.html`);
    return { server, context, first, second };
  }

  test("the second reads and writes by the first, and takes over with all data when that closes", async () => {
    const { first, second, context, server } = await twoTabs();
    expect(await run(second, insert("second"), ALL)).toEqual([[], [["first"], ["second"]]]);
    expect(await run(first, ALL)).toEqual([[["first"], ["second"]]]);
    const workers = (page: Page) => page.workers().filter((each) => each.url().includes("db.worker")).length;
    expect([workers(first), workers(second)]).toEqual([1, 0]);

    const taken = second.waitForEvent("worker");
    await first.close();
    await taken;
    await run(second, insert("third"));
    const third = await open(context, `${server.origin}/tabs.html`);
    expect(await run(third, ALL)).toEqual([[["first"], ["second"], ["third"]]]);
  });

  test("a call under way in a tab that closes is rejected, and nothing of it is there", async () => {
    const { first, second } = await twoTabs();
    const lost = run(second, insert("half"), ENDLESS);
    const taken = second.waitForEvent("worker");
    await first.close();
    await taken;
    expect(await lost).toBe("GONE");
    expect(await run(second, ALL)).toEqual([[["first"]]]);
  });

  test("who comes when the first has closed and nobody follows yet waits, and is not told of a loss", async () => {
    const { server, context, first, second } = await twoTabs();
    await second.close();
    const between = await context.newPage();
    await between.goto(server.emptyPage);
    const lock = await between.evaluateHandle(queueForLock, "app.db");
    const third = await open(context, `${server.origin}/tabs.html`);
    await first.close();
    await lock.evaluate(({ held }) => held);
    const fourth = await open(context, `${server.origin}/tabs.html`);
    const answer = run(fourth, insert("fourth"), ALL);
    await lock.evaluate(({ release }) => release());
    expect(await answer).toEqual([[], [["first"], ["fourth"]]]);
    expect(await run(third, ALL)).toEqual([[["first"], ["fourth"]]]);
  });
});

/** For a page: waits in the queue for a lock, and has it until `release`. Resolves when it stands there. */
async function queueForLock(name: string): Promise<{ held: Promise<void>; release: () => void }> {
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held = new Promise<void>((resolve) => {
    void navigator.locks.request(name, () => {
      resolve();
      return released;
    });
  });
  await navigator.locks.query();
  return { held, release };
}
