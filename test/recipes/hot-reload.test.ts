import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright";
import { createServer, type ViteDevServer } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoGateway } from "../../scripts/demo-gateway.ts";
import demo from "../../web/demo/vite.config.ts";
import type { Client } from "./app/client.ts";

const repository = join(import.meta.dirname, "../..");
let folder: string;
let server: ViteDevServer;
let browser: Browser;

/** The recipe's page as a component that development mounts twice, the first time for nothing, and a hot update anew. */
const COMPONENT = `
import { forwardLifecycle } from "sluice/page.ts";
import { Client } from "./client.ts";

function mount() {
  const client = new Client();
  const worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
  forwardLifecycle(worker);
  worker.postMessage(null, [client.connect()]);
  globalThis.client = client;
  return () => worker.terminate();
}

mount()();
const unmount = mount();
import.meta.hot.accept();
import.meta.hot.dispose(unmount);
`;

beforeAll(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "sluice-hot-")));
  const root = join(folder, "app");
  cpSync(join(import.meta.dirname, "app"), root, { recursive: true });
  const worker = readFileSync(join(root, "db.worker.ts"), "utf8");
  writeFileSync(join(root, "db.worker.ts"), worker.replace("../../../web/index.ts", "sluice/index.ts"));
  writeFileSync(join(root, "main.ts"), COMPONENT);
  writeFileSync(join(root, "index.html"), '<script type="module" src="./main.ts"></script>');
  process.env.SLUICE_DEMO_REPLICA = join(folder, "replica");
  server = await createServer({
    root,
    configFile: false,
    logLevel: "error",
    cacheDir: join(folder, "vite"),
    plugins: [demoGateway()],
    resolve: { alias: { sluice: join(repository, "web") } },
    optimizeDeps: { ...demo.optimizeDeps, entries: ["index.html"] },
    server: { host: "127.0.0.1", port: 0, fs: { allow: [folder, repository] } },
  });
  await server.listen();
  const executablePath = "/usr/bin/chromium";
  browser = await chromium.launch({
    ...(existsSync(executablePath) ? { executablePath } : {}),
    args: ["--no-sandbox", "--disable-gpu"],
  });
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** Adds a note, and answers all that are there. */
function note(page: Page, text: string): Promise<unknown> {
  return page.evaluate(async (added) => {
    const { client } = globalThis as unknown as { client: Client };
    const [, , rows] = await client.run(
      ["CREATE TABLE IF NOT EXISTS notes(text)"],
      ["INSERT INTO notes VALUES (?)", [added]],
      ["SELECT text FROM notes"],
    );
    return rows!.flat();
  }, text);
}

test("under Vite's own server: mounted twice, a hot update of the page, an edited worker; all goes on with all data", async () => {
  const page = await browser.newPage();
  await page.goto(server.resolvedUrls!.local[0]!);
  await page.waitForFunction(() => "client" in globalThis);
  expect(await note(page, "mounted twice")).toEqual(["mounted twice"]);

  await page.evaluate(() => Object.assign(globalThis, { loadedOnce: true }));
  appendFileSync(join(folder, "app/main.ts"), "globalThis.updated = true;\n");
  await page.waitForFunction(() => "updated" in globalThis);
  expect(await page.evaluate(() => "loadedOnce" in globalThis)).toBe(true);
  expect(await note(page, "updated")).toEqual(["mounted twice", "updated"]);

  const loaded = page.waitForEvent("load");
  appendFileSync(join(folder, "app/db.worker.ts"), "\n// edited\n");
  await loaded;
  await page.waitForFunction(() => "client" in globalThis);
  expect(await note(page, "edited")).toEqual(["mounted twice", "updated", "edited"]);
});
