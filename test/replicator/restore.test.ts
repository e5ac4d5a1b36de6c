import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  BrokenReplicaError,
  CorruptObjectError,
  DatabaseInUseError,
  LocalDatabaseError,
  type RestoreOptions,
  type RestoreProgress,
  UnsupportedFormatError,
} from "../../node/index.ts";
import { asNewer, partsOf } from "../format/objects.ts";
import {
  createQuietly,
  type ForkedHistory,
  forkedHistory,
  hashFolder,
  objectKeys,
} from "./history-fixture.ts";

let history: ForkedHistory;
beforeAll(async () => {
  history = await forkedHistory();
});
afterAll(() => fs.rmSync(history.folder, { recursive: true }));

/** A replica of the test's own, and a place to restore it to. */
interface Place {
  readonly replica: string;
  readonly local: string;
  readonly dbPath: string;
}

function place(): Place {
  const folder = fs.mkdtempSync(join(history.folder, "place-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  const [replica, local] = [join(folder, "replica"), join(folder, "local")];
  fs.cpSync(history.replica, replica, { recursive: true });
  fs.mkdirSync(local);
  return { replica, local, dbPath: join(local, "app.db") };
}

/** What `restore` answers or throws, and what it left in the folder. */
async function restore({ replica, local, dbPath }: Place, options: RestoreOptions = {}) {
  const replicator = await createQuietly({ dbPath, replica: `file://${replica}` });
  const before = hashFolder(local);
  try {
    const outcome = await replicator.restore(options).catch((error: unknown) => ({ error }));
    return { outcome, before, after: hashFolder(local) };
  } finally {
    await replicator.stop();
  }
}

const restored = { restored: true };

function segment(at: Place, txid: number): string {
  return join(at.replica, `wal/0/${txid.toString(16).padStart(16, "0")}.wal.zst`);
}

function snapshot(at: Place): string {
  const keys = objectKeys(at.replica, "snapshots");
  return join(at.replica, keys.at(-1)!);
}

function keyOf(at: Place, path: string): string {
  return path.slice(at.replica.length + 1);
}

/** Another database, in WAL mode. */
function otherDatabase(path: string): void {
  execFileSync("sqlite3", [
    path,
    ".dbconfig no_ckpt_on_close on",
    "PRAGMA journal_mode=wal; CREATE TABLE other(a); INSERT INTO other VALUES(zeroblob(50000))",
  ]);
  fs.rmSync(`${path}-shm`);
}

test("the history is what the tests take it for", () => {
  const at = place();
  expect(objectKeys(at.replica, "wal/0")).toHaveLength(7);
  expect(objectKeys(at.replica, "snapshots")).toEqual([expect.stringContaining("0000000000000000")]);
  expect(fs.existsSync(segment(at, 7))).toBe(true);
});

describe("restored", () => {
  test("into an empty place: the database, byte for byte", async () => {
    const at = place();
    expect((await restore(at)).outcome).toMatchObject({ restored: true, position: { txid: 7 } });
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
    expect(fs.readdirSync(at.local).sort()).toEqual(["app.db", "app.db-sluice"]);
  });

  test("progress never goes back, and ends at its totals", async () => {
    const seen: RestoreProgress[] = [];
    await restore(place(), { onProgress: (progress) => void seen.push(progress) });
    expect(seen.length).toBeGreaterThan(8);
    for (const field of ["objects", "bytes", "pages"] as const) {
      const values = seen.map((progress) => progress[field]);
      expect(values).toEqual([...values].sort((a, b) => a - b));
    }
    const last = seen.at(-1)!;
    expect(last).toMatchObject({ objects: last.totalObjects, bytes: last.totalBytes });
    expect(last.pages).toBe(history.content.length / history.content.readUInt16BE(16));
    expect(new Set(seen.map(({ totalBytes, totalObjects }) => `${totalBytes} ${totalObjects}`)).size).toBe(1);
  });

  test("keys that are not Sluice's are passed over", async () => {
    const at = place();
    for (const key of [
      "README.txt",
      "snapshots/latest",
      "snapshots/00000000000000FF.sqlite.zst",
      "wal/0/000000000000000g.wal.zst",
      "wal/0/0000000000000001.wal.zst.bak",
      "wal/7/0000000000000001-0000000000000009.wal.zst",
      "elsewhere/wal/0/0000000000000001.wal.zst",
    ]) {
      fs.mkdirSync(dirname(join(at.replica, key)), { recursive: true });
      fs.writeFileSync(join(at.replica, key), "junk");
    }
    expect((await restore(at)).outcome).toMatchObject(restored);
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
  });

  test("again, after it was aborted on the way or at the very end, and over what a killed one left", async () => {
    const at = place();
    const reason = new Error("enough");
    for (const late of [false, true]) {
      const abort = new AbortController();
      const aborted = await restore(at, {
        signal: abort.signal,
        onProgress: ({ objects, totalObjects }) =>
          objects === (late ? totalObjects : 3) && abort.abort(reason),
      });
      expect(aborted.outcome).toEqual({ error: reason });
      expect(aborted.after).toEqual(aborted.before);
    }

    fs.writeFileSync(`${at.dbPath}.sluice-restore`, history.content.subarray(0, 8192));
    fs.writeFileSync(`${at.dbPath}.sluice-restore-wal`, "junk");
    expect((await restore(at)).outcome).toMatchObject(restored);
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
    expect(fs.readdirSync(at.local).sort()).toEqual(["app.db", "app.db-sluice"]);
  });

  test("in place of a file that begins with a page of zeros, without being told to", async () => {
    const at = place();
    const unfinished = Buffer.from(history.content);
    unfinished.fill(0, 0, unfinished.readUInt16BE(16));
    fs.writeFileSync(at.dbPath, unfinished);
    expect((await restore(at)).outcome).toMatchObject(restored);
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
  });

  test("start() then goes on from there", async () => {
    const at = place();
    const replicator = await createQuietly({ dbPath: at.dbPath, replica: `file://${at.replica}` });
    await replicator.restore();
    await replicator.start();
    const db = replicator.openDatabase();
    expect(db.selectValue("SELECT max(n) FROM t")).toBe(530);
    db.exec("INSERT INTO t VALUES(1000, 'more', NULL)");
    db.close();
    expect(replicator.status()).toMatchObject({ captured: 8, uploaded: 7 });
    expect(await replicator.stop()).toEqual({ uploaded: true });
    expect(fs.existsSync(segment(at, 8))).toBe(true);
  });
});

describe("from the first stop() on", () => {
  test.each(["without a commit", "with one"])("a database can be restored, %s", async (commits) => {
    const at = place();
    fs.rmSync(at.replica, { recursive: true });
    otherDatabase(at.dbPath);
    const replicator = await createQuietly({ dbPath: at.dbPath, replica: `file://${at.replica}` });
    await replicator.start();
    if (commits === "with one") {
      const db = replicator.openDatabase();
      db.exec("INSERT INTO other VALUES(1)");
      db.close();
    }
    expect(await replicator.stop()).toEqual({ uploaded: true });
    const copy = { ...at, dbPath: join(at.local, "copy.db") };
    expect((await restore(copy)).outcome).toMatchObject(restored);
    expect(fs.readFileSync(copy.dbPath).equals(fs.readFileSync(at.dbPath))).toBe(true);
  });
});

describe("where there is a database", () => {
  test("it stays as it is, unless overwrite says otherwise", async () => {
    const at = place();
    otherDatabase(at.dbPath);
    const { outcome, before, after } = await restore(at);
    expect(outcome).toEqual({ restored: false, reason: "database-exists" });
    expect(after).toEqual(before);
    expect(before).toHaveProperty("app.db-wal");

    expect((await restore(at, { overwrite: true })).outcome).toMatchObject(restored);
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
  });

  test("its WAL does not survive it", async () => {
    const at = place();
    otherDatabase(at.dbPath);
    expect(fs.statSync(`${at.dbPath}-wal`).size).toBeGreaterThan(50_000);
    expect((await restore(at, { overwrite: true })).outcome).toMatchObject(restored);
    expect(fs.readdirSync(at.local).sort()).toEqual(["app.db", "app.db-sluice"]);
  });

  test("its hot journal does not survive it", async () => {
    const at = place();
    const source = join(at.local, "..", "source.db");
    execFileSync("sqlite3", [
      source,
      "CREATE TABLE other(a); INSERT INTO other SELECT zeroblob(900) FROM generate_series(1, 500)",
      "PRAGMA cache_size=2; BEGIN; UPDATE other SET a = randomblob(900)",
      `.shell cp ${source} ${at.dbPath}; cp ${source}-journal ${at.dbPath}-journal`,
    ]);
    expect(fs.statSync(`${at.dbPath}-journal`).size).toBeGreaterThan(10_000);
    expect((await restore(at, { overwrite: true })).outcome).toMatchObject(restored);
    expect(fs.readdirSync(at.local).sort()).toEqual(["app.db", "app.db-sluice"]);
    expect(fs.readFileSync(at.dbPath).equals(history.content)).toBe(true);
  });

  test("of which only the WAL or the journal is left, that is laid aside and does not spoil the new one", async () => {
    for (const suffix of ["-wal", "-journal"]) {
      const at = place();
      otherDatabase(join(at.local, "..", "gone.db"));
      const orphan = fs.readFileSync(join(at.local, "..", "gone.db-wal"));
      fs.writeFileSync(at.dbPath + suffix, orphan);
      expect((await restore(at)).outcome).toMatchObject(restored);
      expect(execFileSync("sqlite3", [at.dbPath, "SELECT max(n) FROM t"], { encoding: "utf8" })).toBe(
        "530\n",
      );
      expect(fs.readFileSync(`${at.dbPath}${suffix}.orphaned`).equals(orphan)).toBe(true);
    }
  });

  test("that is none, it is not replaced", async () => {
    const at = place();
    fs.writeFileSync(at.dbPath, "Dear diary, ".repeat(1000));
    const { outcome, before, after } = await restore(at, { overwrite: true });
    expect(outcome).toEqual({ error: expect.any(LocalDatabaseError) });
    expect(after).toEqual(before);
  });

  test("that another process holds, nothing is touched", async () => {
    const at = place();
    otherDatabase(at.dbPath);
    const shell = spawn("sqlite3", [at.dbPath], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void shell.kill("SIGKILL"));
    shell.stdin.write("BEGIN; SELECT count(*) FROM other;\n");
    await new Promise((resolve) => shell.stdout.once("data", resolve));
    const before = fs.readFileSync(at.dbPath);
    const refused = restore(at, { overwrite: true });
    await expect(refused).rejects.toMatchObject({
      constructor: DatabaseInUseError,
      holder: expect.stringContaining(`${shell.pid}`),
    });
    expect(fs.readFileSync(at.dbPath).equals(before)).toBe(true);
  });
});

describe("no replica", () => {
  test("where there is nothing, or nothing of Sluice's", async () => {
    const at = place();
    fs.rmSync(at.replica, { recursive: true });
    expect((await restore(at)).outcome).toEqual({ restored: false, reason: "no-replica" });
    fs.mkdirSync(join(at.replica, "wal"), { recursive: true });
    fs.writeFileSync(join(at.replica, "wal/notes.txt"), "junk");
    const { outcome, before, after } = await restore(at);
    expect(outcome).toEqual({ restored: false, reason: "no-replica" });
    expect(after).toEqual(before);
  });
});

/** What a damage is, and which error names what. `key`: a path in the replica. */
type Damage = (at: Place) => { readonly error: unknown };

const broken = (detail: object) => ({ error: { constructor: BrokenReplicaError, detail } });
const corrupt = (at: Place, path: string, part: unknown = expect.any(String)) => ({
  error: { constructor: CorruptObjectError, key: keyOf(at, path), part },
});

function flip(path: string, at: number, ...bytes: number[]): void {
  const file = fs.readFileSync(path);
  if (bytes.length === 0) file[at]! ^= 0x10;
  else file.set(bytes, at);
  fs.writeFileSync(path, file);
}

const damages: Record<string, Damage> = {
  "a segment in the middle is missing": (at) => {
    fs.rmSync(segment(at, 4));
    return broken({ key: keyOf(at, segment(at, 3)), txid: 4 });
  },
  "the first segment after the snapshot is missing": (at) => {
    fs.rmSync(segment(at, 1));
    return broken({ txid: 1 });
  },
  "a segment is that of a fork": (at) => {
    fs.copyFileSync(join(history.fork, keyOf(at, segment(at, 5))), segment(at, 5));
    return broken({ key: keyOf(at, segment(at, 5)), txid: 5 });
  },
  "all segments behind a point are those of a fork": (at) => {
    for (const txid of [5, 6, 7])
      fs.copyFileSync(join(history.fork, keyOf(at, segment(at, txid))), segment(at, txid));
    return broken({ key: keyOf(at, segment(at, 4)), txid: 4 });
  },
  "a segment is there twice": (at) => {
    fs.copyFileSync(segment(at, 3), segment(at, 4));
    return corrupt(at, segment(at, 4), "header");
  },
  "two segments are swapped": (at) => {
    fs.renameSync(segment(at, 3), segment(at, 9));
    fs.renameSync(segment(at, 4), segment(at, 3));
    fs.renameSync(segment(at, 9), segment(at, 4));
    return corrupt(at, segment(at, 4), "header");
  },
  "a segment has the snapshot's key": (at) => {
    fs.copyFileSync(segment(at, 3), snapshot(at));
    return corrupt(at, snapshot(at), "header");
  },
  "the snapshot is missing": (at) => {
    fs.rmSync(snapshot(at));
    return broken({ txid: 0 });
  },
  "nothing but the claim is there": (at) => {
    fs.rmSync(join(at.replica, "snapshots"), { recursive: true });
    fs.rmSync(join(at.replica, "wal"), { recursive: true });
    return broken({ txid: 0 });
  },
  "the claim is missing": (at) => {
    fs.rmSync(join(at.replica, "lineage.json"));
    return broken({ key: "lineage.json" });
  },
  "the claim is another history's": (at) => {
    const path = join(at.replica, "lineage.json");
    const claim = JSON.parse(fs.readFileSync(path, "utf8"));
    fs.writeFileSync(path, JSON.stringify({ ...claim, lineage: "0".repeat(32) }));
    return broken({ key: keyOf(at, segment(at, 7)) });
  },
  "the claim is no JSON": (at) => {
    fs.writeFileSync(join(at.replica, "lineage.json"), "{");
    return broken({ key: "lineage.json" });
  },
  "the claim is JSON of something else": (at) => {
    fs.writeFileSync(join(at.replica, "lineage.json"), '{"version":1,"lineage":"../.."}');
    return broken({ key: "lineage.json" });
  },
  "the claim was made after the last of all days, and there is nothing else": (at) => {
    const path = join(at.replica, "lineage.json");
    const claim = JSON.parse(fs.readFileSync(path, "utf8"));
    for (const folder of ["snapshots", "wal"]) fs.rmSync(join(at.replica, folder), { recursive: true });
    fs.writeFileSync(path, JSON.stringify({ ...claim, created: 8.64e15 + 1 }));
    return broken({ key: "lineage.json" });
  },
  "the claim is of 1 MiB": (at) => {
    fs.writeFileSync(join(at.replica, "lineage.json"), " ".repeat(1 << 20));
    return broken({ key: "lineage.json" });
  },
  "a segment is empty": (at) => {
    fs.truncateSync(segment(at, 4), 0);
    return corrupt(at, segment(at, 4), "size");
  },
  "the snapshot is cut by a byte": (at) => {
    fs.truncateSync(snapshot(at), fs.statSync(snapshot(at)).size - 1);
    return corrupt(at, snapshot(at));
  },
  "a segment is cut in half": (at) => {
    fs.truncateSync(segment(at, 6), fs.statSync(segment(at, 6)).size >> 1);
    return corrupt(at, segment(at, 6));
  },
  "a byte follows a segment": (at) => {
    fs.appendFileSync(segment(at, 6), "\0");
    return corrupt(at, segment(at, 6));
  },
  "a zstd frame claims 4 GiB": (at) => {
    const { blocks } = partsOf(fs.readFileSync(segment(at, 1)));
    expect(
      fs.readFileSync(segment(at, 1)).readUInt32LE(blocks + 5),
      "the frame states a size",
    ).toBeGreaterThan(200_000);
    flip(segment(at, 1), blocks + 5, 255, 255, 255, 255);
    return corrupt(at, segment(at, 1), "block");
  },
  "the snapshot is of a later format": (at) => {
    fs.writeFileSync(snapshot(at), asNewer(fs.readFileSync(snapshot(at))));
    return { error: { constructor: UnsupportedFormatError, key: keyOf(at, snapshot(at)) } };
  },
  "the format number of a segment was damaged": (at) => {
    const text = fs.readFileSync(segment(at, 6), "latin1").replace('"format":1', '"format":3');
    fs.writeFileSync(segment(at, 6), text, "latin1");
    return corrupt(at, segment(at, 6), "header");
  },
};
for (const part of ["header", "blocks", "index", "hashes", "blockTable", "trailer"] as const)
  for (const object of ["the first segment", "the last segment"])
    damages[`a bit of ${object} is flipped: ${part}`] = (at) => {
      const path = segment(at, object === "the first segment" ? 1 : 7);
      flip(path, partsOf(fs.readFileSync(path))[part] + (part === "blocks" ? 20 : 1));
      return corrupt(at, path);
    };

describe.each(Object.entries(damages))("broken: %s", (_, damage) => {
  test("restore() throws, names it, and touches nothing", async () => {
    const at = place();
    const expected = damage(at);
    const { outcome, before, after } = await restore(at);
    expect(outcome).toMatchObject(expected);
    expect(after).toEqual(before);
  });

  test("so does restore() over a database with a WAL, and start()", async () => {
    const at = place();
    const expected = damage(at);
    otherDatabase(at.dbPath);
    const { outcome, before, after } = await restore(at, { overwrite: true });
    expect(outcome).toMatchObject(expected);
    expect(after).toEqual(before);

    fs.rmSync(at.local, { recursive: true });
    fs.mkdirSync(at.local);
    const replicator = await createQuietly({ dbPath: at.dbPath, replica: `file://${at.replica}` });
    await expect(replicator.start()).rejects.toMatchObject(expected.error as object);
    await replicator.stop();
    expect(fs.statSync(at.dbPath, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
  });
});
