import { type ChildProcess, spawn } from "node:child_process";

import { describe, expect, onTestFinished, test } from "vitest";
import { DatabaseInUseError } from "../../node/index.ts";
import { NativeShell, native } from "../node/vfs-fixture.ts";
import { createFollower, expectSame, fill, INVARIANT, startWriter, transfer } from "./fixture.ts";

/** Three looks in one transaction: they belong together, and the sums of the two tables are equal. */
const LOOK = `BEGIN; ${INVARIANT}; SELECT count(*) FROM a; SELECT count(*) FROM b; COMMIT;`;

interface Looks {
  /** Every answer, a line each, in the order of LOOK. */
  readonly lines: string[];
  readonly complaints: string[];
  /** Ends the reading, when what was begun has ended. */
  end(): Promise<void>;
}

/** Debian's sqlite3 reading in a loop: a process for each look, or one with its page cache for all. */
function readInLoop(path: string, how: "one process" | "many processes", timeoutMs: number): Looks {
  const one = `yes '${LOOK}' | sqlite3 -batch -cmd '.timeout ${timeoutMs}' '${path}'`;
  const many = `while :; do sqlite3 -batch -cmd '.timeout ${timeoutMs}' '${path}' '${LOOK}'; done`;
  const child: ChildProcess = spawn("sh", ["-c", how === "one process" ? one : many], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const looks = { lines: [] as string[], complaints: [] as string[] };
  for (const [stream, lines] of [
    [child.stdout!, looks.lines],
    [child.stderr!, looks.complaints],
  ] as const) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      lines.push(...parts);
    });
  }
  let ended: Promise<void> | null = null;
  const end = () => {
    ended ??= new Promise((resolve) => {
      child.once("close", () => resolve());
      process.kill(-child.pid!, "SIGKILL");
    });
    return ended;
  };
  onTestFinished(end);
  return { ...looks, end };
}

/** Of whole transactions only: the second and third line of each look are the same count, which never goes back. */
function expectWhole({ lines }: Looks): void {
  let last = 0;
  for (let at = 0; at + 2 < lines.length; at += 3) {
    const [same, a, b] = lines.slice(at, at + 3);
    expect([same, a]).toEqual(["1", b]);
    expect(Number(a)).toBeGreaterThanOrEqual(last);
    last = Number(a);
  }
}

describe("native readers while the copy changes", () => {
  test.each(["one process", "many processes"] as const)(
    "%s, with a busy timeout: no error at all",
    async (how) => {
      const writer = await startWriter();
      const follower = await createFollower(writer.store);
      await follower.start();
      const looks = readInLoop(follower.path, how, 10_000);
      for (let n = 1; n <= 30; n++) {
        await writer.commit(n % 10 === 0 ? `${transfer(n)}; ${fill(200, 4000)}` : transfer(n));
        if (n % 12 === 0) await writer.commit("DELETE FROM t WHERE rowid % 2");
        if (n % 15 === 0) await writer.commit("VACUUM");
        await follower.poll();
      }
      await looks.end();
      expectSame(follower.path, writer.db);
      expect(looks.complaints).toEqual([]);
      expect(looks.lines.length).toBeGreaterThan(3 * 10);
      expectWhole(looks);
    },
  );

  test("one that does not wait sees nothing worse than SQLITE_BUSY", async () => {
    const writer = await startWriter();
    const follower = await createFollower(writer.store);
    await follower.start();
    const looks = readInLoop(follower.path, "many processes", 0);
    // More than SQLite keeps in memory, so that it is in the file before it is committed.
    await writer.commit(`${transfer(1)}; ${fill(2500, 4000)}`);
    await follower.poll();
    for (let n = 2; n <= 15; n++) {
      await writer.commit(transfer(n));
      await follower.poll();
    }
    await looks.end();
    for (const complaint of looks.complaints)
      expect(complaint).toMatch(/database is locked|no transaction is active/);
    expect(looks.lines.filter((line) => line === "1").length).toBeGreaterThan(0);
    expectSame(follower.path, writer.db);
  });

  test("one that stays in its transaction is waited for; the copy is as it was, then comes on", async () => {
    const writer = await startWriter();
    const follower = await createFollower(writer.store);
    await follower.start();
    const { txid } = follower.position!;
    const shell = new NativeShell(follower.path);
    await shell.run("BEGIN; SELECT count(*) FROM a;");
    await writer.commit(transfer(1));
    const polled = follower.poll();
    expect(await shell.run("SELECT count(*) FROM a; COMMIT;")).toMatch(/^0\n/);
    await polled;
    expect(follower.position!.txid).toBe(txid + 1);
    expect(native(follower.path, "SELECT count(*) FROM a")).toBe("1");
  });
});

test("a connection here sees each state too, and one that stays in its transaction is an error that heals", async () => {
  const writer = await startWriter();
  const follower = await createFollower(writer.store);
  await follower.start();
  const db = follower.openDatabase();
  db.exec("BEGIN");
  expect(db.selectValue("SELECT count(*) FROM a")).toBe(0);
  await writer.commit(transfer(1));
  await expect(follower.poll()).rejects.toBeInstanceOf(DatabaseInUseError);
  expect(follower.status()).toMatchObject({ state: "following" });
  expect(db.selectValue("SELECT count(*) FROM a")).toBe(0);
  db.exec("COMMIT");
  await follower.poll();
  expect(db.selectValue("SELECT count(*) FROM a")).toBe(1);
  expect(() => db.exec("INSERT INTO a VALUES(9)")).toThrow(/readonly|read-only/i);
  db.close();
  expectSame(follower.path, writer.db);
});
