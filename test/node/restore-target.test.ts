import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { MemoryStore } from "../../node/index.ts";
import { FileTarget } from "../../node/restore-target.ts";
import { LocalDatabaseError } from "../../src/errors.ts";
import { quietModule, quietReplicator } from "../replicator/replica-fixture.ts";
import { freshVfs, isRoot, temporaryFolder } from "./vfs-fixture.ts";

/** Bytes of a block, which another thread writes, and of a page, which this one does. */
const [BLOCK, PAGE] = [256 << 10, 4096];

async function targetIn(folder: string): Promise<{ target: FileTarget; dbPath: string }> {
  const { sqlite3, vfs } = await freshVfs();
  const dbPath = join(folder, "a.db");
  return { target: new FileTarget(dbPath, sqlite3, vfs, (rename) => rename()), dbPath };
}

test("what is written beside and at once stands where it belongs", async () => {
  const folder = temporaryFolder();
  const { target, dbPath } = await targetIn(folder);
  const bytes = randomBytes(2 * PAGE + 8 * BLOCK);
  const writing: unknown[] = [];
  for (let i = 7; i >= 0; i--) {
    const at = 2 * PAGE + i * BLOCK;
    writing.push(target.write(bytes.subarray(at, at + BLOCK), at));
  }
  expect(target.write(bytes.subarray(PAGE, 2 * PAGE), PAGE)).toBeUndefined();
  await Promise.all(writing);
  target.write(bytes.subarray(0, PAGE), 0);
  await target.finish(bytes.length);
  expect(fs.readFileSync(dbPath).equals(bytes)).toBe(true);
  expect(fs.readdirSync(folder)).toEqual(["a.db"]);
});

test("abort lets the writes under way end before it gives their descriptor back", async () => {
  const folder = temporaryFolder();
  const { target } = await targetIn(folder);
  const ended: string[] = [];
  for (let i = 0; i < 8; i++)
    void Promise.resolve(target.write(new Uint8Array(BLOCK), i * BLOCK)).then(() => ended.push("write"));
  await target.abort();
  expect(ended).toEqual(Array(8).fill("write"));
  expect(fs.readdirSync(folder)).toEqual([]);
});

test.runIf(isRoot)(
  "a disk that is full fails the write, on whichever thread, and nothing stays",
  async () => {
    const folder = temporaryFolder();
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
    onTestFinished(() => void execFileSync("umount", [folder]));
    const { target } = await targetIn(folder);
    const writing = Array.from({ length: 8 }, (_, i) => target.write(new Uint8Array(BLOCK), i * BLOCK));
    const failures = (await Promise.allSettled(writing)).filter(({ status }) => status === "rejected");
    expect(failures.length).toBeGreaterThan(0);
    for (const failure of failures)
      expect((failure as PromiseRejectedResult).reason).toBeInstanceOf(LocalDatabaseError);
    expect(() => target.write(new Uint8Array(PAGE), 8 * BLOCK)).toThrow(LocalDatabaseError);
    await target.abort();
    expect(fs.readdirSync(folder)).toEqual([]);
  },
);

describe("what others do to the files while they are written", () => {
  const OTHERS: Record<string, (dbPath: string) => void> = {
    "the file that grows is removed": (dbPath) => fs.rmSync(`${dbPath}.sluice-restore`),
    "another takes its place": (dbPath) => {
      fs.rmSync(`${dbPath}.sluice-restore`);
      fs.writeFileSync(`${dbPath}.sluice-restore`, "another");
    },
    "the database's place is taken by a folder": (dbPath) => {
      fs.rmSync(dbPath);
      fs.mkdirSync(dbPath);
    },
    "their folder is moved away": (dbPath) => fs.renameSync(dirname(dbPath), `${dirname(dbPath)}.moved`),
    "and another takes its place": (dbPath) => {
      fs.renameSync(dirname(dbPath), `${dirname(dbPath)}.moved`);
      fs.mkdirSync(dirname(dbPath));
    },
  };

  test.each(Object.keys(OTHERS))("%s: nothing is restored, and that is said", async (others) => {
    const sqlite3 = await quietModule();
    const replica = new MemoryStore();
    const folder = temporaryFolder();
    const first = await quietReplicator({ dbPath: join(folder, "first.db"), replica, sqlite3 });
    await first.replicator.start();
    const db = first.replicator.openDatabase();
    db.exec("CREATE TABLE t(v); INSERT INTO t VALUES(randomblob(100000))");
    await first.replicator.snapshot();
    db.close();
    await first.replicator.stop();

    const dbPath = join(folder, "folder", "a.db");
    fs.mkdirSync(dirname(dbPath));
    const { replicator } = await quietReplicator({
      dbPath,
      replica,
      sqlite3,
      cacheDir: join(folder, "cache"),
    });
    let act: (() => void) | null = () => OTHERS[others]!(dbPath);
    // SQLite's own check would find it, too, before that.
    const onProgress = () => {
      act?.();
      act = null;
    };
    await expect(replicator.restore({ integrityCheck: "none", onProgress })).rejects.toMatchObject({
      code: "SLUICE_LOCAL_DATABASE",
    });
    await replicator.stop();
    expect(fs.statSync(dbPath, { throwIfNoEntry: false })?.isFile()).not.toBe(true);
    expect(descriptorsIn(folder)).toEqual([]);
  });
});

/** Of this process, where the system says. */
function descriptorsIn(folder: string): string[] {
  const all = fs.existsSync("/proc/self/fd") ? fs.readdirSync("/proc/self/fd") : [];
  return all.flatMap((fd) => {
    try {
      const path = fs.readlinkSync(join("/proc/self/fd", fd));
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return []; // that with which they were listed
    }
  });
}
