import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createQuietly,
  type ForkedHistory,
  forkedHistory,
  hashFolder,
} from "../replicator/history-fixture.ts";
import { useSluice } from "./sluice.ts";

const sluice = useSluice();
const hexId = expect.stringMatching(/^[0-9a-f]{32}$/);
const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const snapshotName = "snapshots/0000000000000000.sqlite.zst";
const segmentName = (txid: number) => `wal/0/000000000000000${txid}.wal.zst`;

let history: ForkedHistory;
beforeAll(async () => {
  history = await forkedHistory();
});
afterAll(() => rmSync(history.folder, { recursive: true, force: true }));

/** A copy of the replica: a snapshot at transaction 0 and segments of one transaction each, up to 7. */
function replica(): { folder: string; path: string; url: string } {
  const folder = sluice.folder();
  const path = join(folder, "replica");
  cpSync(history.replica, path, { recursive: true });
  return { folder, path, url: pathToFileURL(path).href };
}

function nowhere(): string {
  return pathToFileURL(join(sluice.folder(), "nowhere")).href;
}

function flipByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  const index = at < 0 ? bytes.length + at : at;
  bytes[index] = bytes[index]! ^ 1;
  writeFileSync(path, bytes);
}

describe("usage", () => {
  test("--help lists the commands, --version is that of the package", async () => {
    const help = await sluice.run(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    const version = await sluice.run(["--version"]);
    const { version: expected } = JSON.parse(readFileSync("package.json", "utf8"));
    expect(version).toEqual({ code: 0, stdout: `${expected}\n`, stderr: "" });
    for (const name of [
      "restore",
      "ls",
      "inspect",
      "verify",
      "status",
      "compact",
      "prune",
      "destroy",
      "follow",
      "gateway",
      "demo",
    ]) {
      expect(help.stdout).toContain(`sluice ${name}`);
      const own = await sluice.run([name, "--help"]);
      expect(own).toMatchObject({ code: 0, stderr: "" });
      expect(own.stdout.split("\n").filter((line) => line.startsWith("  sluice "))).not.toHaveLength(0);
      expect(own.stdout).toContain("JSON: ");
      expect(await sluice.run(["help", name])).toEqual(own);
    }
  });

  test.each([
    [[], "sluice restore"],
    [["fetch"], "fetch"],
    [["ls"], "sluice ls <replica>"],
    [["ls", "file:///a", "file:///b"], "sluice ls <replica>"],
    [["ls", "file:///a", "--recursive"], "--recursive"],
    [["ls", "file:///a", "-r"], "-r"],
    [["ls", "file:///a", "--json=yes"], "--json"],
    [["status", "file:///a", "--max-age"], "--max-age"],
    [["status", "file:///a", "--max-age", "soon"], "--max-age"],
    [["restore", "file:///a", "b.db", "--integrity", "most"], "--integrity"],
    [["restore", "file:///a", "b.db", "--timestamp", "2026-03-01T12:00:00"], "2026-03-01T12:00:00Z"],
    [["restore", "file:///a", "b.db", "--timestamp", "-soon"], "--timestamp"],
    [["restore", "file:///a", "b.db", "--txid", "000000000000000a"], "--txid"],
    [["restore", "file:///a", "b.db", "--txid", "1", "--timestamp", "-1d"], "timestamp"],
    [["restore", "data.db", "file:///a"], "file:///"],
    [["ls", "/mnt/backup"], "file:///mnt/backup"],
    [["ls", "file://mnt/backup"], "file:///"],
    [["ls", "s3://key:secret@bucket/app"], "secrets"],
    [["ls", "s3://bucket/app?endpont=http://x"], "endpont"],
    [["inspect", "file:///a"], "key"],
    [["inspect", "file:///a", "lineage.json"], "lineage.json"],
    [["inspect", "/"], "/"],
    [["demo", "now"], "sluice demo"],
  ])("wrong: %j names what", async (args, named) => {
    const { code, stdout, stderr } = await sluice.run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(named);
    expect(stderr).not.toMatch(/\n +at /);
  });
});

describe("restore", () => {
  test("writes the newest state, and nothing else", async () => {
    const { folder, url } = replica();
    const dbPath = join(folder, "data.db");
    const { code, document } = await sluice.json(["restore", url, dbPath], { TMPDIR: join(folder, "tmp") });
    expect({ code, document }).toEqual({
      code: 0,
      document: {
        restored: true,
        position: { txid: 7, id: hexId },
        time: iso,
        bytesFetched: expect.any(Number),
        bytesSaved: 0,
        database: dbPath,
      },
    });
    expect(readFileSync(dbPath).equals(history.content)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(["data.db", "replica", "tmp"]);
    expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  });

  test("writes an earlier state, and says in words which it is", async () => {
    const { folder, url } = replica();
    const restoreTo = async (...point: string[]) => {
      const dbPath = join(folder, `${point[1]}.db`);
      const { code, document } = await sluice.json(["restore", url, dbPath, ...point]);
      return { code, ...(document as { position: { txid: number }; time: string }) };
    };
    const { time } = await restoreTo("--txid", "4");
    expect(await restoreTo("--timestamp", time)).toMatchObject({ code: 0, position: { txid: 4 }, time });
    expect(await restoreTo("--timestamp", "-0s")).toMatchObject({ code: 0, position: { txid: 7 } });
    const { stdout } = await sluice.run(["restore", url, join(folder, "words.db"), "--timestamp", time]);
    expect(stdout).toContain("transaction 4,");
    expect(stdout).toContain("at or before");
    const tooOld = await sluice.run(["restore", url, join(folder, "old.db"), "--timestamp", "-3650d"]);
    expect(tooOld).toMatchObject({ code: 1, stdout: "" });
    expect(tooOld.stderr).toContain("transaction 7");
    expect(existsSync(join(folder, "old.db"))).toBe(false);
  });

  test("to an earlier state of a database that is replicated: its next start is told", async () => {
    const { folder, path, url } = replica();
    const dbPath = join(folder, "live.db");
    for (const name of ["live.db", "live.db-sluice"])
      cpSync(join(history.replica, "..", name), join(folder, name), {
        recursive: true,
        preserveTimestamps: true,
      });
    expect(await sluice.run(["restore", url, dbPath, "--overwrite", "--txid", "4"])).toMatchObject({
      code: 0,
    });
    const before = hashFolder(path);
    const replicator = await createQuietly({ dbPath, replica: url });
    await expect(replicator.start()).rejects.toMatchObject({ code: "SLUICE_UNKNOWN_LOCAL_HISTORY" });
    await replicator.stop();
    expect(hashFolder(path)).toEqual(before);
  });

  test("refuses to overwrite, and does with --overwrite", async () => {
    const { folder, url } = replica();
    const dbPath = join(folder, "data.db");
    expect(await sluice.run(["restore", url, dbPath])).toMatchObject({ code: 0 });
    const older = readFileSync(dbPath).fill(0, 1000, 2000);
    writeFileSync(dbPath, older);
    const refused = await sluice.json(["restore", url, dbPath]);
    expect(refused.document).toEqual({ restored: false, reason: "database-exists" });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("--overwrite");
    expect(readFileSync(dbPath).equals(older)).toBe(true);
    const options = ["--overwrite", "--integrity", "full"];
    expect(await sluice.run(["restore", url, dbPath, ...options])).toMatchObject({ code: 0 });
    expect(readFileSync(dbPath).equals(history.content)).toBe(true);
  });

  test("no replica is neither a failure nor a success", async () => {
    const dbPath = join(sluice.folder(), "data.db");
    const { code, document } = await sluice.json(["restore", nowhere(), dbPath]);
    expect({ code, document }).toEqual({ code: 3, document: { restored: false, reason: "no-replica" } });
    expect(existsSync(dbPath)).toBe(false);
  });

  test.each([
    ["a gap", (path: string) => rmSync(join(path, segmentName(4)))],
    ["a corrupt object", (path: string) => flipByte(join(path, segmentName(4)), 400)],
    ["a lost claim", (path: string) => rmSync(join(path, "lineage.json"))],
  ])("a replica with %s fails, and nothing local is touched", async (_, damage) => {
    const { folder, path, url } = replica();
    damage(path);
    const before = hashFolder(folder);
    const { code, stdout, stderr } = await sluice.run(["restore", url, join(folder, "data.db"), "--json"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).not.toMatch(/\n +at /);
    expect(hashFolder(folder)).toEqual(before);
  });

  test("a missing folder is a failure", async () => {
    const { folder, url } = replica();
    expect(await sluice.run(["restore", url, join(folder, "no/data.db")])).toMatchObject({ code: 1 });
  });
});

describe("ls", () => {
  const info = { size: expect.any(Number), lastModified: iso };

  test("what a replica holds", async () => {
    const { url } = replica();
    const { code, stderr, document } = await sluice.json(["ls", url]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const ends = { from: { txid: 0, time: iso }, to: { txid: 7, time: iso } };
    expect(document).toEqual({
      size: expect.any(Number),
      restorable: [{ ...ends, states: 8, level: 0 }],
      claim: { version: 1, lineage: hexId, writer: hexId, created: expect.any(Number) },
      snapshots: [{ key: snapshotName, txid: 0, ...info }],
      segments: [1, 2, 3, 4, 5, 6, 7].map((minTxid) => {
        return { key: segmentName(minTxid), level: 0, minTxid, maxTxid: null, ...info };
      }),
      newest: { txid: 7, id: hexId, time: iso },
      problem: null,
    });
    const { stdout } = await sluice.run(["ls", url]);
    expect(stdout).toContain(snapshotName);
    expect(stdout).toContain("transaction 7");
    expect(stdout).toContain("8 states");
  });

  test("a disk that takes no output is a failure; a reader that has seen enough is none", async () => {
    const { url } = replica();
    const shell = (rest: string) => sluice.shell(["ls", url, "--json"], rest);
    expect(await shell("> /dev/full")).toMatchObject({ code: 1, stderr: expect.stringContaining("ENOSPC") });
    expect(await shell("| true")).toMatchObject({ code: 0, stderr: "" });
  });

  test("no replica", async () => {
    const { code, document } = await sluice.json(["ls", nowhere()]);
    const nothing = { snapshots: [], segments: [], restorable: [], size: 0 };
    const document0 = { claim: null, ...nothing, newest: null, problem: null };
    expect({ code, document }).toEqual({ code: 3, document: document0 });
  });

  test("a gap that the keys show", async () => {
    const { path, url } = replica();
    rmSync(join(path, segmentName(1)));
    const { code, document } = await sluice.json(["ls", url]);
    expect(code).toBe(1);
    expect(document).toMatchObject({ newest: null, problem: expect.stringContaining("transaction 1") });
    expect((document as { segments: unknown[] }).segments).toHaveLength(6);
    const told = await sluice.run(["ls", url]);
    expect(told.code).toBe(1);
    expect(told.stdout).toContain("6 segments");
    expect(told.stderr).toContain("transaction 1");
  });

  test("objects without a claim", async () => {
    const { path, url } = replica();
    rmSync(join(path, "lineage.json"));
    expect(await sluice.run(["ls", url, "--json"])).toMatchObject({ code: 1, stdout: "" });
  });
});

describe("inspect", () => {
  test("an object of a replica, and the same as a file", async () => {
    const { path, url } = replica();
    for (const key of [snapshotName, segmentName(3)]) {
      const { code, document } = await sluice.json(["inspect", url, key]);
      expect(code).toBe(0);
      const { header, ...rest } = document as { header: { kind: string } };
      const size = readFileSync(join(path, key)).length;
      expect(rest).toEqual({ key, id: hexId, pages: expect.any(Number), size, ok: true });
      expect(header.kind).toBe(key === snapshotName ? "snapshot" : "segment");
      const file = await sluice.json(["inspect", join(path, key)]);
      expect(file).toMatchObject({ code: 0, document: { ...rest, header, key: key.split("/").at(-1) } });
      expect((await sluice.run(["inspect", url, key])).stdout).toContain("all hashes are right");
    }
  });

  test.each([
    ["header", 12],
    ["page", 3000],
    ["trailer", -3],
  ])("says that the %s is damaged", async (part, at) => {
    const { path, url } = replica();
    flipByte(join(path, segmentName(4)), at);
    const { code, stderr, document } = await sluice.json(["inspect", url, segmentName(4)]);
    expect(code).toBe(1);
    expect(document).toEqual({ key: segmentName(4), ok: false, part, problem: expect.any(String) });
    expect(stderr).toContain(`${segmentName(4)}: ${part}`);
  });

  test("one that is not there", async () => {
    const { folder, url } = replica();
    expect(await sluice.run(["inspect", url, segmentName(9)])).toMatchObject({ code: 1, stdout: "" });
    expect(await sluice.run(["inspect", join(folder, "no.zst")])).toMatchObject({ code: 1, stdout: "" });
  });
});

describe("status", () => {
  test("fresh, too old, and nothing there", async () => {
    const { url } = replica();
    const fresh = await sluice.json(["status", url, "--max-age", "1d"]);
    const document = { txid: 7, time: iso, ageMs: expect.any(Number), stale: false };
    expect(fresh).toEqual({ code: 0, stderr: "", document });
    const old = await sluice.json(["status", url, "--max-age", "1ms"]);
    expect(old).toEqual({ code: 3, stderr: "", document: { ...document, stale: true } });
    const none = await sluice.json(["status", nowhere()]);
    expect(none).toMatchObject({ code: 3, document: { txid: null, time: null, ageMs: null, stale: true } });
    expect((await sluice.run(["status", url])).stdout).toContain("ransaction 7");
  });

  test("a broken replica", async () => {
    const { path, url } = replica();
    rmSync(join(path, segmentName(1)));
    expect(await sluice.run(["status", url, "--json"])).toMatchObject({ code: 1, stdout: "" });
  });
});

describe("destroy", () => {
  test("without a terminal and without --yes it deletes nothing", async () => {
    const { path, url } = replica();
    const before = hashFolder(path);
    const { code, stdout, stderr } = await sluice.run(["destroy", url]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("--yes");
    expect(hashFolder(path)).toEqual(before);
  });

  test("with --yes it deletes what Sluice wrote, and nothing foreign", async () => {
    const { path, url } = replica();
    mkdirSync(join(path, "other"));
    const foreign = ["other/file", "notes.txt", "wal/0/readme", "snapshots/1.sqlite.zst", "lineage.json.bak"];
    for (const name of foreign) writeFileSync(join(path, name), "mine");
    const { code, stderr, document } = await sluice.json(["destroy", url, "--yes"]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(document).toEqual({ deleted: 10 });
    const left = Object.entries(hashFolder(path)).filter(([, hash]) => hash !== "folder");
    expect(left.map(([name]) => name)).toEqual([...foreign].sort());
    expect(await sluice.json(["destroy", url])).toMatchObject({ code: 0, document: { deleted: 0 } });
    expect((await sluice.run(["ls", url])).code).toBe(3);
  });
});
