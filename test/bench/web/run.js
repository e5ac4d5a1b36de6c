// Builds the page, opens it in Chromium and prints what it measures: `npm run bench:web -- --help`.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright";
import { build, preview } from "vite";

const CHROMIUM = "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];
const usage = `npm run bench:web -- [--only commit,read,snapshot] [--rounds n] [--scale share] [--json file]

  --only    cases, separated by commas. Default: all (about ten minutes)
  --rounds  interleaved rounds. Default 3
  --scale   share of the sizes: to see that it runs, not to compare. Default 1
  --json    where the results go. Default: bench-web.json in the system's folder for temporary files`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string" },
    scale: { type: "string" },
    json: { type: "string", default: join(tmpdir(), "bench-web.json") },
    help: { type: "boolean", default: false },
  },
});

async function main() {
  const root = fileURLToPath(new URL(".", import.meta.url));
  const outDir = mkdtempSync(join(tmpdir(), "sluice-bench-web-"));
  const configFile = join(root, "vite.config.ts");
  await build({ root, configFile, logLevel: "warn", build: { outDir, emptyOutDir: true } });
  const server = await preview({
    root,
    configFile,
    build: { outDir },
    preview: { port: 0, host: "127.0.0.1" },
  });
  const browser = await chromium.launch({
    ...(existsSync(CHROMIUM) ? { executablePath: CHROMIUM } : {}),
    args: FLAGS,
  });
  try {
    const page = await browser.newPage();
    page.on("console", (message) => console.log(message.text()));
    page.on("pageerror", (error) => console.error(error));
    const url = new URL(server.resolvedUrls.local[0]);
    for (const name of ["only", "rounds", "scale"])
      if (values[name] !== undefined) url.searchParams.set(name, values[name]);
    await page.goto(url.href);
    const found = await page.waitForFunction(() => globalThis.benchResults, null, { timeout: 3_600_000 });
    const results = await found.jsonValue();
    if (results.error) throw new Error(results.error);
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    console.log(values.json);
  } finally {
    await browser.close();
    await server.close();
    rmSync(outDir, { recursive: true, force: true });
  }
}

if (values.help) console.log(usage);
else await main();
