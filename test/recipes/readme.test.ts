import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const RECIPES = [
  ...["app/db.worker.ts", "app/client.ts", "app/main.ts", "app/broker.ts", "app/tabs.ts"],
  ...["transaction.ts", "kysely.ts", "drizzle.ts", "leaving.ts"],
];

/** Where an app has them from. */
const ENTRIES: Readonly<Record<string, string>> = {
  "web/index.ts": "sqlite-sluice/web",
  "web/page.ts": "sqlite-sluice/page",
};

test.each(RECIPES)("README.md states %s as it is tested", (name) => {
  const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
  const source = readFileSync(join(import.meta.dirname, name), "utf8");
  const text = source.replaceAll(/"(?:\.\.\/)+(web\/\w+\.ts)"/g, (_, path: string) => `"${ENTRIES[path]}"`);
  expect(readme).toContain(`\`\`\`ts\n${text}\`\`\`\n`);
});
