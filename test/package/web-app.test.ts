import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright";
import { build, createServer, type InlineConfig, preview } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allowBrowsers } from "../s3/cors.ts";
import { freshBucket, server } from "../s3/server.ts";
import { addPackages, installPackage, type Project } from "./project.ts";

/** All that an app has to allow: scripts of its own, and WebAssembly. Nothing may be evaluated. */
const strict = (endpoint: string) => ({
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    `connect-src 'self' ${endpoint}`,
  ].join("; "),
});

/** What the web entry imports. Not the AWS SDK, zstd and hashes: they come inside. */
const DEPENDENCIES = ["@sqlite.org/sqlite-wasm", "idb-keyval"];

const README_CONFIG: InlineConfig = {
  worker: { format: "es" },
  optimizeDeps: { exclude: ["@sqlite.org/sqlite-wasm"] },
};

let project: Project;
let browser: Browser;

beforeAll(async () => {
  project = installPackage(["--config", "test/package/vite.config.ts"]);
  addPackages(project, DEPENDENCIES, "copy");
  cpSync(join(import.meta.dirname, "app"), project.folder, { recursive: true });
  exportParts(join(project.installed, "package.json"));
  const executablePath = "/usr/bin/chromium";
  browser = await chromium.launch({
    ...(existsSync(executablePath) ? { executablePath } : {}),
    args: ["--no-sandbox", "--disable-gpu"],
  });
}, 240_000);

afterAll(async () => {
  await browser?.close();
  project?.remove();
});

function exportParts(path: string): void {
  const description = JSON.parse(readFileSync(path, "utf8"));
  description.exports["./parts"] = "./dist/parts.js";
  writeFileSync(path, JSON.stringify(description));
}

describe.skipIf(server === null)("an app that has installed the package, its worker on S3", () => {
  const expected = {
    conditionalCreate: "atomic",
    second: "precondition-failed",
    size: 20 * 1024 * 1024,
    listed: ["a", "large"],
    missing: "not-found",
    left: [],
    packed: true,
    same: true,
    found: "hello",
  };

  describe.each<[string, InlineConfig]>([
    ["that tells Vite nothing", {}],
    ["that tells Vite what README.md says", README_CONFIG],
  ])("%s", (_, settings) => {
    const config: InlineConfig = { ...settings, configFile: false, logLevel: "error" };
    const place = { port: 0, host: "127.0.0.1" };

    test("built, under a strict Content-Security-Policy", async () => {
      const root = project.folder;
      await build({ ...config, root });
      const headers = strict(server!.endpoint);
      const app = await preview({ ...config, root, preview: { ...place, headers } });
      try {
        expect(await answerOf(app.resolvedUrls?.local[0] ?? "")).toEqual(expected);
      } finally {
        await app.close();
      }
    });

    test("served by vite", async () => {
      const app = await createServer({ ...config, root: project.folder, server: place });
      try {
        await app.listen();
        expect(await answerOf(app.resolvedUrls?.local[0] ?? "")).toEqual(expected);
      } finally {
        await app.close();
      }
    });
  });
});

/** What the worker of the app at `url` answers. */
async function answerOf(url: string): Promise<unknown> {
  const bucket = await freshBucket();
  await allowBrowsers(bucket.bucket);
  const page = await browser.newPage();
  try {
    await page.goto(`${url}#${encodeURIComponent(JSON.stringify(bucket))}`);
    const answer = await page.waitForFunction(() => (globalThis as { answer?: unknown }).answer, undefined, {
      timeout: 0,
    });
    return await answer.jsonValue();
  } finally {
    await page.close();
  }
}
