import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { expect, test } from "vitest";
import {
  DirectoryStore,
  type ObjectStore,
  ReplicaFencedError,
  type ResyncEvent,
  type SqliteReplicator,
  type SqliteReplicatorConfig,
} from "../../node/index.ts";
import {
  CREATE,
  differing,
  type HistoryPlace,
  KNOWN,
  type Life,
  produce,
  UNKNOWN,
  unknownHistorySuite,
  update,
} from "../suites/unknown-history.ts";
import { next } from "./fixture.ts";
import { quietModule, quietReplicator, temporaryFolder } from "./replica-fixture.ts";

/** A database in a folder that replicates to another. */
class FolderPlace implements HistoryPlace {
  readonly folder: string;
  readonly store: ObjectStore;

  constructor(folder: string, store: ObjectStore) {
    this.folder = folder;
    this.store = store;
  }

  static production(): FolderPlace {
    const base = temporaryFolder();
    mkdirSync(join(base, "production"));
    return new FolderPlace(join(base, "production"), new DirectoryStore(`file://${base}/replica`));
  }

  async create(config: Partial<SqliteReplicatorConfig> = {}): Promise<SqliteReplicator> {
    const sqlite3 = await quietModule();
    const dbPath = join(this.folder, "data.db");
    return (await quietReplicator({ dbPath, replica: this.store, sqlite3, ...config })).replicator;
  }

  async open(config: Partial<SqliteReplicatorConfig> = {}): Promise<Life> {
    return lifeOf(await this.create(config));
  }

  /** The same folder as it is now, with all times. */
  copy(name: string, { cache }: { cache: boolean }): FolderPlace {
    const to = join(dirname(this.folder), name);
    execFileSync("cp", ["-a", this.folder, to]);
    const copy = new FolderPlace(to, this.store);
    if (!cache) copy.loseCache();
    return copy;
  }

  loseCache(): void {
    rmSync(join(this.folder, "data.db-sluice"), { recursive: true });
  }

  async local(): Promise<Uint8Array> {
    return readFileSync(join(this.folder, "data.db"));
  }

  async restored(store: ObjectStore): Promise<Uint8Array> {
    const folder = temporaryFolder();
    const replicator = await new FolderPlace(folder, store).create();
    await replicator.restore({ integrityCheck: "full" });
    await replicator.stop();
    return readFileSync(join(folder, "data.db"));
  }
}

function lifeOf(replicator: SqliteReplicator): Life {
  let db: Database | undefined;
  return {
    start: () => replicator.start(),
    async exec(sql) {
      db ??= replicator.openDatabase();
      db.exec(sql);
    },
    flush: () => replicator.flush(),
    waitUntilUploaded: () => replicator.waitUntilUploaded(),
    snapshot: () => replicator.snapshot(),
    async stop() {
      db?.close();
      await replicator.stop();
    },
    next: (event, fits = () => true) =>
      new Promise((resolve) =>
        replicator.addEventListener(event as "wal", ({ detail }) => {
          if (fits(detail as never)) resolve(detail as never);
        }),
      ),
  };
}

unknownHistorySuite({
  "the cache was lost, and with it what was not uploaded": {
    outcomes: UNKNOWN,
    async make() {
      const place = FolderPlace.production();
      await produce(place, CREATE);
      await produce(place, update(20), false);
      place.loseCache();
      return place;
    },
  },
  "an older copy, without its cache": {
    outcomes: UNKNOWN,
    async make() {
      const place = FolderPlace.production();
      await produce(place, CREATE);
      const older = place.copy("older", { cache: false });
      await produce(place, `${update(20)}; ${update(150)}`);
      return older;
    },
  },
  "an older volume, with its cache": {
    outcomes: KNOWN,
    async make() {
      const place = FolderPlace.production();
      await produce(place, CREATE);
      const older = place.copy("older", { cache: true });
      await produce(place, `${update(20)}; ${update(150)}`);
      return older;
    },
  },
  "production copied to staging without the cache, and both went on": {
    outcomes: UNKNOWN,
    async make() {
      const place = FolderPlace.production();
      await produce(place, CREATE);
      const staging = place.copy("staging", { cache: false });
      execFileSync("sqlite3", [join(staging.folder, "data.db"), update(10)]);
      await produce(place, update(20));
      return staging;
    },
  },
  "production copied to staging with the cache, and both went on": {
    outcomes: KNOWN,
    async make() {
      const place = FolderPlace.production();
      await produce(place, CREATE);
      const staging = place.copy("staging", { cache: true });
      execFileSync("sqlite3", [join(staging.folder, "data.db"), update(10)]);
      await produce(place, update(20));
      return staging;
    },
  },
});

test("a database that was put back to an older copy beside its record is said to be, and appended by what differs", async () => {
  const place = FolderPlace.production();
  await produce(place, CREATE);
  const older = place.copy("older", { cache: true });
  await produce(place, `${update(20)}; ${update(150)}`);
  const remote = await place.restored(place.store);
  cpSync(join(older.folder, "data.db"), join(place.folder, "data.db"));
  const life = await place.open();
  const phases: string[] = [];
  const done = life.next<ResyncEvent>("resync", ({ phase }) => phases.push(phase) > 0 && phase === "done");
  await life.start();
  await life.waitUntilUploaded();
  await life.stop();
  const local = await place.local();
  expect(phases).toEqual(["needed", "done"]);
  expect(await done).toMatchObject({ pages: differing(local, remote), whole: null });
  expect(Buffer.compare(await place.restored(place.store), local)).toBe(0);
});

test("production is told when staging was made to go on in its place", async () => {
  const place = FolderPlace.production();
  await produce(place, CREATE);
  const staging = place.copy("staging", { cache: true });
  const production = await place.create();
  await production.start();
  const db = production.openDatabase();
  db.exec(update(20));
  await production.waitUntilUploaded();
  const other = await staging.open({ onUnknownLocal: "adopt-local" });
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
