/**
 * A database whose history nobody can know: every way to come by one, with each answer of onUnknownLocal. What holds for
 * all: nothing is written to the replica unless the application decided, and never is anything there changed or lost.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  DirectoryStore,
  ReplicaFencedError,
  type ResyncEvent,
  type SqliteReplicator,
  type SqliteReplicatorConfig,
  UnknownLocalHistoryError,
} from "../../node/index.ts";
import { next } from "./fixture.ts";
import { hashFolder } from "./history-fixture.ts";
import { quietModule, quietReplicator, temporaryFolder } from "./replica-fixture.ts";

const PAGE = 8192;

class Place {
  readonly folder = temporaryFolder();
  readonly replica = join(this.folder, "replica");
  readonly production = join(this.folder, "production");

  constructor() {
    mkdirSync(this.production);
  }

  async create(folder: string, config: Partial<SqliteReplicatorConfig> = {}): Promise<SqliteReplicator> {
    const sqlite3 = await quietModule();
    const replica = new DirectoryStore(`file://${this.replica}`);
    return (await quietReplicator({ dbPath: join(folder, "data.db"), replica, sqlite3, ...config }))
      .replicator;
  }

  /** Production runs, commits, uploads and stops. */
  async produce(sql: string, uploads = true): Promise<void> {
    const replicator = await this.create(this.production, uploads ? {} : { stopTimeoutMs: 0 });
    await replicator.start();
    if (uploads) await replicator.snapshot();
    const db = replicator.openDatabase();
    db.exec(sql);
    if (uploads) await replicator.waitUntilUploaded();
    db.close();
    await replicator.stop();
  }

  /** The same folder as it is now, with all times. */
  copy(name: string): string {
    const to = join(this.folder, name);
    execFileSync("cp", ["-a", this.production, to]);
    return to;
  }

  async restored(replica = this.replica): Promise<Buffer> {
    const folder = join(this.folder, "restored");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const replicator = await this.create(folder, { replica: `file://${replica}` });
    await replicator.restore({ integrityCheck: "full" });
    await replicator.stop();
    return readFileSync(join(folder, "data.db"));
  }
}

const CREATE =
  "CREATE TABLE t(id INTEGER PRIMARY KEY, v); " +
  "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t(v) SELECT hex(randomblob(2000)) FROM n";
const update = (id: number) => `UPDATE t SET v = hex(randomblob(2000)) WHERE id = ${id}`;

interface Situation {
  readonly place: Place;
  /** Where the database of unknown history lies. */
  readonly folder: string;
}

const situations: Record<string, { known: boolean; make(): Promise<Situation> }> = {
  "the cache was lost, and with it what was not uploaded": {
    known: false,
    async make() {
      const place = new Place();
      await place.produce(CREATE);
      await place.produce(update(20), false);
      rmSync(join(place.production, "data.db-sluice"), { recursive: true });
      return { place, folder: place.production };
    },
  },
  "an older copy, without its cache": {
    known: false,
    async make() {
      const place = new Place();
      await place.produce(CREATE);
      const folder = place.copy("older");
      rmSync(join(folder, "data.db-sluice"), { recursive: true });
      await place.produce(`${update(20)}; ${update(150)}`);
      return { place, folder };
    },
  },
  "an older volume, with its cache": {
    known: true,
    async make() {
      const place = new Place();
      await place.produce(CREATE);
      const folder = place.copy("older");
      await place.produce(`${update(20)}; ${update(150)}`);
      return { place, folder };
    },
  },
  "production copied to staging without the cache, and both went on": {
    known: false,
    async make() {
      const place = new Place();
      await place.produce(CREATE);
      const folder = place.copy("staging");
      rmSync(join(folder, "data.db-sluice"), { recursive: true });
      execFileSync("sqlite3", [join(folder, "data.db"), update(10)]);
      await place.produce(update(20));
      return { place, folder };
    },
  },
  "production copied to staging with the cache, and both went on": {
    known: true,
    async make() {
      const place = new Place();
      await place.produce(CREATE);
      const folder = place.copy("staging");
      execFileSync("sqlite3", [join(folder, "data.db"), update(10)]);
      await place.produce(update(20));
      return { place, folder };
    },
  },
};

describe.each(Object.entries(situations))("%s", (_, { known, make }) => {
  test("is refused, and nothing is pushed", async () => {
    const { place, folder } = await make();
    const before = hashFolder(place.replica);
    const replicator = await place.create(folder);
    if (known) {
      const fenced = next(replicator, "fenced");
      await replicator.start();
      expect(await fenced).toBeInstanceOf(ReplicaFencedError);
      const db = replicator.openDatabase();
      db.exec(update(5)); // It works on, for itself.
      await expect(replicator.flush()).rejects.toBeInstanceOf(ReplicaFencedError);
      db.close();
    } else await expect(replicator.start()).rejects.toBeInstanceOf(UnknownLocalHistoryError);
    await replicator.stop();
    expect(hashFolder(place.replica)).toEqual(before);
  });

  test("adopt-local appends just what differs; the replica's history stays", async () => {
    const { place, folder } = await make();
    const before = hashFolder(place.replica);
    const remote = await place.restored();
    const replicator = await place.create(folder, { onUnknownLocal: "adopt-local" });
    const done = whenResynced(replicator);
    await replicator.start();
    await replicator.waitUntilUploaded();
    await replicator.stop();
    const local = readFileSync(join(folder, "data.db"));
    expect(await done).toMatchObject({ pages: differing(local, remote), whole: null });
    expect((await place.restored()).equals(local)).toBe(true);
    expect(hashFolder(place.replica)).toMatchObject(before);
    expect((await place.restored(withOnly(place, before))).equals(remote)).toBe(true);
  });

  test("adopt-remote takes the replica's state, and pushes nothing", async () => {
    const { place, folder } = await make();
    const before = hashFolder(place.replica);
    const replicator = await place.create(folder, { onUnknownLocal: "adopt-remote" });
    await replicator.start();
    await replicator.flush();
    await replicator.stop();
    expect(readFileSync(join(folder, "data.db")).equals(await place.restored())).toBe(true);
    expect(hashFolder(place.replica)).toEqual(before);
  });
});

test("a database that was put back to an older copy beside its record is said to be, and appended by what differs", async () => {
  const place = new Place();
  await place.produce(CREATE);
  const older = place.copy("older");
  await place.produce(`${update(20)}; ${update(150)}`);
  const before = hashFolder(place.replica);
  const remote = await place.restored();
  cpSync(join(older, "data.db"), join(place.production, "data.db"));
  const replicator = await place.create(place.production);
  const phases: string[] = [];
  replicator.addEventListener("resync", ({ detail }) => phases.push(detail.phase));
  const done = whenResynced(replicator);
  await replicator.start();
  await replicator.waitUntilUploaded();
  await replicator.stop();
  const local = readFileSync(join(place.production, "data.db"));
  expect(phases).toEqual(["needed", "done"]);
  expect(await done).toMatchObject({ pages: differing(local, remote), whole: null });
  expect((await place.restored()).equals(local)).toBe(true);
  expect((await place.restored(withOnly(place, before))).equals(remote)).toBe(true);
});

test("production is told when staging was made to go on in its place", async () => {
  const place = new Place();
  await place.produce(CREATE);
  const staging = place.copy("staging");
  const production = await place.create(place.production);
  await production.start();
  const db = production.openDatabase();
  db.exec(update(20));
  await production.waitUntilUploaded();
  const other = await place.create(staging, { onUnknownLocal: "adopt-local" });
  await other.start();
  await other.waitUntilUploaded();
  await other.stop();
  const fenced = next(production, "fenced");
  db.exec(update(30));
  await expect(production.waitUntilUploaded()).rejects.toBeInstanceOf(ReplicaFencedError);
  expect(await fenced).toBeInstanceOf(ReplicaFencedError);
  db.close();
  await production.stop();
});

function whenResynced(replicator: SqliteReplicator): Promise<ResyncEvent> {
  return new Promise((resolve) =>
    replicator.addEventListener("resync", ({ detail }) => detail.phase === "done" && resolve(detail)),
  );
}

/** Pages of `after` that are not the same in `before`. */
function differing(after: Buffer, before: Buffer): number {
  const hash = (bytes: Buffer) => createHash("sha1").update(bytes).digest("hex");
  let count = 0;
  for (let at = 0; at < after.length; at += PAGE)
    if (hash(after.subarray(at, at + PAGE)) !== hash(before.subarray(at, at + PAGE))) count += 1;
  return count;
}

/** The replica as it was. */
function withOnly(place: Place, before: Record<string, string>): string {
  const folder = join(place.folder, "earlier");
  for (const [key, kind] of Object.entries(before))
    if (kind !== "folder") cpSync(join(place.replica, key), join(folder, key));
  return folder;
}
