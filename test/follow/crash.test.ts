import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundle, SHORT_LIVED } from "../faults/bundle.ts";
import type { SelfKill } from "../faults/kill-self.ts";
import { faultPoints } from "../faults/points.ts";
import { native } from "../node/vfs-fixture.ts";
import {
  createFollower,
  expectSame,
  fill,
  INVARIANT,
  startWriter,
  transfer,
  type Writer,
} from "./fixture.ts";

/** Which life passes a point: one that makes the copy, or one that brings it on. */
const making = [
  "follow:before-finish",
  "restore:before-page-one",
  "restore:before-rename",
  "restore:after-rename",
];
const advancing = [
  "follow:after-commit",
  "follow:after-record",
  "follow:before-commit",
  "follow:before-record",
  "follow:object",
];

test("every fault point of a follower has its test", () => {
  const points = faultPoints().filter((point) => point.startsWith("follow:"));
  expect(points).toEqual([...making, ...advancing].filter((point) => point.startsWith("follow:")).sort());
});

describe("SIGKILL", () => {
  const site = mkdtempSync(join(tmpdir(), "sluice-follow-crash-"));
  let script: string;
  let writer: Writer;
  /** A copy at the first snapshot. Behind it the replica has more than fits into SQLite's memory, then a little more. */
  const old = join(site, "old");
  let copies = 0;

  beforeAll(async () => {
    script = await bundle("test/follow/follow-child.ts", site);
    mkdirSync(old);
    writer = await startWriter(4096, "", site);
    await writer.commit(transfer(1));
    expect(live({ dbPath: join(old, "copy.db"), kill: null })).toBe("caught up");
    await writer.commit(`${transfer(2)}; ${fill(2500, 4000)}`);
    await writer.commit(transfer(3));
  });
  afterAll(async () => {
    await writer.replicator.stop();
    rmSync(site, { recursive: true, force: true });
  });

  function live(life: { dbPath: string; kill: SelfKill | null }, { store } = writer): "caught up" | "killed" {
    const argument = JSON.stringify({ ...life, replica: store.url });
    const args = [...SHORT_LIVED, script, argument];
    const { signal, stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (signal === "SIGKILL") return "killed";
    if (status !== 0 || stdout !== "caught up\n") throw new Error(`${argument}: ${stderr}`);
    return "caught up";
  }

  /** A place for a copy, with that of another place, or empty. */
  function place(copyOf: string | null): string {
    const folder = join(site, `${++copies}`);
    if (copyOf === null) mkdirSync(folder);
    else execFileSync("cp", ["-a", copyOf, folder]);
    return join(folder, "copy.db");
  }

  /** What is there is whole; then whoever comes first, a reader or the next follower, finds it so. */
  async function checkAfterKill(dbPath: string, readFirst: boolean, { store, db } = writer): Promise<void> {
    if (readFirst && existsSync(dbPath)) {
      const [sound, same, count] = native(
        dbPath,
        `PRAGMA integrity_check; ${INVARIANT}; SELECT count(*) FROM a`,
      ).split("\n");
      expect([sound, same]).toEqual(["ok", "1"]);
      expect(["0", "1", "3"]).toContain(count);
    }
    const follower = await createFollower(store, { dbPath });
    await follower.start();
    expectSame(dbPath, db);
    await follower.stop();
    expect(existsSync(`${dbPath}-journal`)).toBe(false);
    expect(existsSync(`${dbPath}.sluice-restore`)).toBe(false);
  }

  test.each([...making, ...advancing])("at %s", async (point) => {
    const dbPath = place(making.includes(point) ? null : old);
    expect(live({ dbPath, kill: { at: "fault", point, count: 1 } })).toBe("killed");
    await checkAfterKill(dbPath, true);
  });

  test("with pages in the file that were not committed, whoever comes first", async () => {
    for (const readFirst of [true, false]) {
      const dbPath = place(old);
      expect(live({ dbPath, kill: { at: "fault", point: "follow:before-commit", count: 1 } })).toBe("killed");
      expect(existsSync(`${dbPath}-journal`)).toBe(true);
      expect(statSync(dbPath).size).toBeGreaterThan(statSync(join(old, "copy.db")).size);
      await checkAfterKill(dbPath, readFirst);
    }
  });

  test("in the middle of calls that change files", async () => {
    const small = await startWriter();
    const before = place(null);
    expect(live({ dbPath: before, kill: null }, small)).toBe("caught up");
    await small.commit(transfer(1));
    let kills = 0;
    for (let count = 1, ended = false; !ended; count += 3) {
      const dbPath = place(join(before, ".."));
      ended =
        live({ dbPath, kill: { at: "file-call", count, half: count % 2 === 0 } }, small) === "caught up";
      if (!ended) kills += 1;
      await checkAfterKill(dbPath, count % 4 < 2, small);
    }
    expect(kills).toBeGreaterThan(8);
  });
});
