import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { DirectoryStore, type GetOptions, type GetResult, serveGateway } from "../../node/index.ts";
import { forkedHistory } from "../replicator/history-fixture.ts";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();

/** Does not answer a read once `holds`, and says when. */
class HeldStore extends DirectoryStore {
  holds = () => false;
  onHeld = () => {};

  override get(key: string, options?: GetOptions): Promise<GetResult> {
    if (!this.holds()) return super.get(key, options);
    this.onHeld();
    return new Promise(() => {});
  }
}

async function served() {
  const history = await forkedHistory();
  const store = new HeldStore(`file://${history.replica}`);
  const server = await serveGateway({ store });
  const folder = join(sluice.folder(), "work");
  for (const name of ["tmp", "db"]) mkdirSync(join(folder, name), { recursive: true });
  onTestFinished(async () => {
    await server.close();
    rmSync(history.folder, { recursive: true, force: true });
  });
  return { url: server.url, store, temporary: join(folder, "tmp"), databases: join(folder, "db") };
}

type Served = Awaited<ReturnType<typeof served>>;

/** The exit code where the signal comes while a read is under way and `when` holds. */
async function interrupt(
  { store, temporary }: Served,
  signal: NodeJS.Signals,
  when: () => boolean,
  args: readonly string[],
) {
  const held = new Promise<void>((resolve) => {
    store.onHeld = resolve;
  });
  store.holds = when;
  const child = sluice.start(args, { TMPDIR: temporary });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  await Promise.race([held, ended]);
  child.kill(signal);
  return ended;
}

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("a restore that %s ends leaves nothing behind", async (signal, code) => {
  const all = await served();
  const database = join(all.databases, "data.db");
  const restoring = () => existsSync(`${database}.sluice-restore`);
  expect(await interrupt(all, signal, restoring, ["restore", all.url, database])).toBe(code);
  expect(readdirSync(all.databases)).toEqual([]);
  expect(readdirSync(all.temporary)).toEqual([]);
});

test("a verification that is interrupted while it restores leaves nothing behind", async () => {
  const all = await served();
  const restoring = () => readdirSync(all.temporary).length > 0;
  expect(await interrupt(all, "SIGINT", restoring, ["verify", all.url])).toBe(130);
  expect(readdirSync(all.temporary)).toEqual([]);
});

test("follow --once that is interrupted before it caught up does not pass for done; without --once it does", async () => {
  const all = await served();
  const begun = () => readdirSync(all.databases).length > 0;
  const words = ["follow", all.url, join(all.databases, "copy.db")];
  expect(await interrupt(all, "SIGINT", begun, [...words, "--once"])).toBe(130);
  expect(await interrupt(all, "SIGINT", begun, words)).toBe(0);
});

test.each(["compact", "prune"])(
  "%s that is interrupted says so, and the next run goes on",
  async (command) => {
    const all = await served();
    expect(await interrupt(all, "SIGTERM", () => true, [command, all.url])).toBe(143);
    all.store.holds = () => false;
    expect(await sluice.run([command, all.url])).toMatchObject({ code: 0, stderr: "" });
  },
);
