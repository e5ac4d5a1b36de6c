import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { native } from "../node/vfs-fixture.ts";
import { createQuietly, forkedHistory, objectKeys } from "../replicator/history-fixture.ts";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();

async function history() {
  const made = await forkedHistory();
  onTestFinished(() => rmSync(made.folder, { recursive: true, force: true }));
  return { ...made, url: `file://${made.replica}`, live: join(made.folder, "one", "live.db") };
}

test("a sound replica, and the database that it is of", async () => {
  const { url, live } = await history();
  const { code, document } = await sluice.json(["verify", url, "--against", live]);
  expect(document).toMatchObject({
    ok: true,
    quick: false,
    restored: true,
    findings: [],
    newest: { txid: 7 },
    against: { outcome: "equal", position: { txid: 7 } },
  });
  expect(code).toBe(0);
  const { code: quick, stdout } = await sluice.run(["verify", url, "--quick"]);
  expect(quick).toBe(0);
  expect(stdout).toContain("The replica is sound.");
});

test("a database that differs, one that is in use, and one that is none", async () => {
  const { folder, url, live } = await history();
  const before = readFileSync(live);
  native(live, "UPDATE t SET word = 'changed' WHERE n = 300");
  const changed = readFileSync(live);
  const { code, document } = await sluice.json(["verify", url, "--quick", "--against", live]);
  expect(code).toBe(1);
  expect(document).toMatchObject({ ok: true, against: { outcome: "different", count: expect.any(Number) } });
  expect(readFileSync(live).equals(changed)).toBe(true);
  writeFileSync(live, before);
  const replicator = await createQuietly({ dbPath: live, replica: `file://${folder}/other` });
  const used = await sluice.run(["verify", url, "--quick", "--against", live]);
  await replicator.stop();
  expect(used).toMatchObject({ code: 1, stdout: "" });
  expect(used.stderr).toContain("is in use");
  expect(await sluice.run(["verify", url, "--quick", "--against", join(folder, "none.db")])).toMatchObject({
    code: 1,
  });
  expect(await sluice.run(["verify", url, "--quick", "--against", ""])).toMatchObject({
    code: 2,
    stdout: "",
  });
});

test("a database with a WAL, as a process that was killed leaves it, which stays as it is", async () => {
  const { folder, url, live } = await history();
  const replicator = await createQuietly({ dbPath: live, replica: url });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("PRAGMA wal_autocheckpoint=0; UPDATE t SET word = 'in the WAL' WHERE n = 5");
  await replicator.flush();
  const killed = join(folder, "killed.db");
  for (const suffix of ["", "-wal"]) copyFileSync(live + suffix, killed + suffix);
  db.close();
  await replicator.stop();
  const before = [readFileSync(killed), readFileSync(`${killed}-wal`)];
  expect(before[1]!.length).toBeGreaterThan(0);
  const { code, document } = await sluice.json(["verify", url, "--quick", "--against", killed]);
  expect(document).toMatchObject({ against: { outcome: "equal", position: { txid: 8 } } });
  expect(code).toBe(0);
  expect(
    [readFileSync(killed), readFileSync(`${killed}-wal`)].map((file, i) => file.equals(before[i]!)),
  ).toEqual([true, true]);
});

test("a damaged replica: exit code 1, and each finding", async () => {
  const { url, replica } = await history();
  const key = objectKeys(replica, "wal/0").at(-2)!;
  const bytes = readFileSync(join(replica, key));
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(join(replica, key), bytes);
  const { code, document } = await sluice.json(["verify", url]);
  expect(code).toBe(1);
  expect(document).toMatchObject({
    ok: false,
    restored: false,
    findings: [{ problem: "damaged", key, part: "trailer", txid: 6 }],
  });
  const { stdout, stderr } = await sluice.run(["verify", url]);
  expect(stdout).toContain("The replica is damaged.");
  expect(stderr).toContain(key);
});

test("no replica: exit code 3", async () => {
  const { folder } = await history();
  const { code, document } = await sluice.json(["verify", `file://${folder}/nothing`]);
  expect({ code, document }).toMatchObject({ code: 3, document: { ok: false, lineage: null, findings: [] } });
});
