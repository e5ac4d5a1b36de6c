import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { segmentKey } from "../../src/format/keys.ts";
import { expectSame, startWriter, transfer } from "../follow/fixture.ts";
import { native } from "../node/vfs-fixture.ts";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();
const position = (txid: number) => ({ txid, id: expect.stringMatching(/^[0-9a-f]{32}$/) });

/** The documents of a command that goes on, one by one, and the end of it. */
function documents(child: ChildProcess) {
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    next: async () => JSON.parse((await lines.next()).value as string) as unknown,
    ended: once(child, "exit").then(([code]) => code as number | null),
  };
}

test("--once makes the copy, brings it on, and ends", async () => {
  const writer = await startWriter();
  const copy = join(sluice.folder(), "copy.db");
  const first = await sluice.run(["follow", writer.store.url, copy, "--once"]);
  expect(first.code).toBe(0);
  expect(first.stdout).toMatch(/^transaction 1, .* the copy is made\n$/);
  await writer.commit(transfer(1));
  const { code, document } = await sluice.json(["follow", writer.store.url, copy, "--once"]);
  expect(code).toBe(0);
  expect(document).toMatchObject({ position: position(2), from: position(1), objects: 1 });
  expectSame(copy, writer.db);
  expect(await sluice.run(["follow", writer.store.url, copy, "--once"])).toEqual({
    code: 0,
    stdout: "",
    stderr: "",
  });
});

test.each(["SIGINT", "SIGTERM"] as const)("a line for each state, until %s", async (signal) => {
  const writer = await startWriter();
  const copy = join(sluice.folder(), "copy.db");
  const child = sluice.start(["follow", writer.store.url, copy, "--interval", "20ms", "--json"]);
  const { next, ended } = documents(child);
  expect(await next()).toMatchObject({ position: position(1), from: null });
  for (const txid of [2, 3]) {
    await writer.commit(transfer(txid));
    expect(await next()).toMatchObject({ position: position(txid), from: position(txid - 1) });
    expect(native(copy, "SELECT max(n) FROM a")).toBe(`${txid}`);
  }
  child.kill(signal);
  expect(await ended).toBe(0);
  expectSame(copy, writer.db);
});

test("a gap ends it with exit code 1, and no replica with 3", async () => {
  const writer = await startWriter();
  const folder = sluice.folder();
  const copy = join(folder, "copy.db");
  const child = sluice.start(["follow", writer.store.url, copy, "--interval", "200ms", "--json"]);
  const { next, ended } = documents(child);
  expect(await next()).toMatchObject({ position: position(1) });
  // Both at once for the follower: the second segment, and not the first.
  child.kill("SIGSTOP");
  await writer.commit(transfer(2));
  await writer.commit(transfer(3));
  rmSync(join(writer.folder, "replica", segmentKey(0, 2, 2)));
  child.kill("SIGCONT");
  expect(await ended).toBe(1);
  const nowhere = `file://${folder}/nowhere`;
  const other = join(folder, "other.db");
  expect(await sluice.run(["follow", nowhere, other, "--once"])).toMatchObject({ code: 3, stdout: "" });
  expect(existsSync(`${other}-follow`)).toBe(false);
  expect(await sluice.run(["follow", nowhere, other, "--interval", "soon"])).toMatchObject({ code: 2 });
});
