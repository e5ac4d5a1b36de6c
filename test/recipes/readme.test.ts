import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import { expect, onTestFinished, test } from "vitest";
import { sdkForWorkers } from "../../scripts/bundled.ts";

const RECIPES = [
  ...["app/db.worker.ts", "app/client.ts", "app/main.ts", "app/broker.ts", "app/tabs.ts"],
  ...["transaction.ts", "kysely.ts", "drizzle.ts", "leaving.ts"],
];

/** Where an app has them from. */
const ENTRIES: Readonly<Record<string, string>> = {
  "web/index.ts": "sqlite-sluice/web",
  "web/page.ts": "sqlite-sluice/page",
};

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");

test("the page and the worker of README.md are bundled by Vite without configuration", async () => {
  const app = mkdtempSync(join(tmpdir(), "sluice-readme-"));
  onTestFinished(() => rmSync(app, { recursive: true, force: true }));
  for (const name of ["db.worker.js", "main.js"]) {
    const [source] = readme.match(new RegExp(`(?<=\`\`\`js\n)// ${name}\n[^]*?(?=\`\`\`\n)`))!;
    writeFileSync(join(app, name), source);
  }
  writeFileSync(join(app, "index.html"), '<script type="module" src="/main.js"></script>');
  const alias = Object.fromEntries(Object.entries(ENTRIES).map(([path, name]) => [name, join(root, path)]));
  const worker = { plugins: () => [sdkForWorkers()] };
  await build({ root: app, configFile: false, logLevel: "silent", resolve: { alias }, worker });
});

test.each(RECIPES)("README.md states %s as it is tested", (name) => {
  const source = readFileSync(join(import.meta.dirname, name), "utf8");
  const text = source.replaceAll(/"(?:\.\.\/)+(web\/\w+\.ts)"/g, (_, path: string) => `"${ENTRIES[path]}"`);
  expect(readme).toContain(`\`\`\`ts\n${text}\`\`\`\n`);
});
