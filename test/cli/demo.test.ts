import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();

test("the demo tells its story, all is as promised, and nothing stays", { timeout: 240_000 }, async () => {
  const folder = sluice.folder();
  const replica = pathToFileURL(join(folder, "replica")).href;
  const environment = { TMPDIR: join(folder, "tmp") };
  const { code, document, stderr } = await sluice.json(["demo", "--replica", replica], environment);
  const { ok, findings } = document as { ok: boolean; findings: Record<string, unknown>[] };
  expect(findings.filter(({ good }) => good !== true)).toEqual([]);
  expect({ code, ok }).toEqual({ code: 0, ok: true });
  for (const finding of findings) expect(Object.keys(finding).sort()).toEqual(["good", "seen", "what"]);
  for (const phase of ["Load", "Offline", "Backlog", "Restore"]) expect(stderr).toContain(phase);
  expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  expect((await sluice.run(["ls", replica])).code).toBe(3);
});

test("a replica that is there already is refused and stays", async () => {
  const folder = sluice.folder();
  const path = join(folder, "replica");
  mkdirSync(path);
  writeFileSync(join(path, "lineage.json"), "{}");
  const { code, stdout, stderr } = await sluice.run(["demo", "--replica", pathToFileURL(path).href]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain("--replica");
  expect(readdirSync(path)).toEqual(["lineage.json"]);
});
