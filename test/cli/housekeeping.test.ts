import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { DirectoryStore } from "../../node/directory-store.ts";
import { Chain, TestClock } from "../compaction/chain.ts";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();

async function replica(segments: number) {
  const store = new DirectoryStore(pathToFileURL(join(sluice.folder(), "replica")).href);
  const chain = new Chain(store, new TestClock());
  await chain.claim();
  await chain.snapshotOfNothing();
  await chain.writeMany(segments);
  return { chain, url: store.url };
}

describe("compact and prune", () => {
  test("merge, tell what would go, delete it, and leave every state restorable", async () => {
    const { chain, url } = await replica(16 * 17);
    const before = await chain.restorable();
    const merged = await sluice.json(["compact", url]);
    expect(merged).toMatchObject({ code: 0, document: { problems: [] } });
    expect((merged.document as { made: string[] }).made.length).toBe(17 + 1);
    const dry = await sluice.json(["prune", url, "--dry-run"]);
    expect(dry).toMatchObject({ code: 0, document: { deleted: [], problems: [], refused: false } });
    const { planned } = dry.document as { planned: { key: string; coveredBy: string }[] };
    // Level 0 is all there, so of level 1 only what no larger one covers is of use.
    expect(planned.map(({ coveredBy }) => coveredBy.slice(0, 6))).toEqual(Array(16).fill("wal/2/"));
    const listed = await sluice.run(["prune", url, "--dry-run"]);
    expect(listed.stdout).toContain(planned[0]!.key);
    expect(await sluice.run(["prune", url])).toMatchObject({ code: 0, stdout: "16 objects deleted.\n" });
    expect(await chain.restorable()).toEqual(before);
    const database = join(sluice.folder(), "data.db");
    // Of made-up pages: no database for SQLite to check.
    expect(await sluice.run(["restore", url, database, "--integrity", "none"])).toMatchObject({ code: 0 });
  });

  test("where no replica is they say so", async () => {
    const url = pathToFileURL(join(sluice.folder(), "nothing")).href;
    for (const command of ["compact", "prune"])
      expect(await sluice.run([command, url])).toMatchObject({ code: 3, stdout: "" });
  });

  test.each([
    [["--retention", "soon"], "--retention"],
    [["--retention", "1h"], "retentionSecs"],
    [["--retention", "1d", "--fine-retention", "2d"], "fineRetentionSecs"],
  ])("wrong: prune %j names what", async (options, named) => {
    const { code, stderr } = await sluice.run(["prune", "file:///a", ...options]);
    expect(code).toBe(2);
    expect(stderr).toContain(named);
  });
});
