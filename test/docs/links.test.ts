import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

describe.each(["RELIABILITY.md", "SECURITY.md", "README.md", "src/README.md"])("%s", (name) => {
  const text = readFileSync(join(root, name), "utf8");

  test("links to files that are there", () => {
    const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, link]) => link!);
    const files = links.filter((link) => !/^[a-z]+:/i.test(link));
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((file) => !existsSync(join(root, name, "..", file)))).toEqual([]);
  });
});

test("each row of the failure matrix names a test that shows it", () => {
  const text = readFileSync(join(root, "RELIABILITY.md"), "utf8");
  const [, matrix = ""] = /## When something fails\n(.*?)\n## /s.exec(text) ?? [];
  const rows = matrix.split("\n").filter((line) => line.startsWith("| "));
  expect(rows.length).toBeGreaterThan(25);
  for (const row of rows.slice(2)) expect(row).toMatch(/\]\(test\/[\w/.-]+\.test\.ts\)/);
});
