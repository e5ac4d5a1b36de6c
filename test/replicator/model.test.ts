import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { expect, test } from "vitest";
import { DirectoryStore, type ObjectStore, type SqliteReplicator } from "../../node/index.ts";
import { installNodeVfs } from "../../node/vfs.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { Random } from "./random.ts";
import {
  filePageHashes,
  pageHashes,
  quietModule,
  quietReplicator,
  restoredPages,
  temporaryFolder,
} from "./replica-fixture.ts";
import { createSchema, pageSizes, randomStep } from "./workload.ts";

/** SLUICE_ROUNDS: how many databases; SLUICE_SEED: the first one's seed, to repeat what failed. */
const rounds = Number(process.env.SLUICE_ROUNDS ?? 40);
const firstSeed = Number(process.env.SLUICE_SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
const MOST_CONNECTIONS = 3;

/**
 * The model is SQLite itself: whatever the statements, what is restored equals, page by page and byte by byte, what a new
 * connection to the live database reads at that moment. A replicator that could only keep up by a resync has failed.
 */
test(`${rounds} random databases, restored over and over`, { timeout: rounds * 20_000 }, async () => {
  const sqlite3 = await quietModule();
  const folder = temporaryFolder();
  for (let round = 0; round < rounds; round++) {
    const seed = (firstSeed + round) >>> 0;
    const model = new Model(sqlite3, join(folder, `${round}`), new Random(seed));
    try {
      await model.run();
    } catch (error) {
      const trace = model.trace.slice(-40).join(", ");
      throw new Error(`SLUICE_SEED=${seed} SLUICE_ROUNDS=1: ${error}\n${trace}`, { cause: error });
    } finally {
      rmSync(model.folder, { recursive: true, force: true });
    }
  }
});

class Model {
  readonly trace: string[] = [];
  readonly #sqlite3: Sqlite3Static;
  readonly #random: Random;
  readonly #pageSize: number;
  readonly #dbPath: string;
  /** A directory can be copied together with the database: a crash. */
  readonly #directory: string | null;
  readonly #store: ObjectStore;
  #replicator!: SqliteReplicator;
  #complaints: string[] = [];
  readonly #connections: Database[] = [];

  constructor(
    sqlite3: Sqlite3Static,
    readonly folder: string,
    random: Random,
  ) {
    this.#sqlite3 = sqlite3;
    this.#random = random;
    this.#pageSize = random.pick(pageSizes);
    mkdirSync(join(folder, "live"), { recursive: true });
    this.#dbPath = join(folder, "live", "data.db");
    this.#directory = random.chance(0.5) ? join(folder, "replica") : null;
    this.#store = this.#directory === null ? new MemoryStore() : storeAt(this.#directory);
  }

  async run(): Promise<void> {
    const random = this.#random;
    this.#prepare();
    await this.#start();
    const steps = 20 + random.below(80);
    for (let i = 0; i < steps; i++) {
      if (random.chance(0.85)) this.#sql();
      else await this.#replication();
      this.#check();
    }
    await this.#compare();
    await this.#stop();
    this.#check();
  }

  /** The database as somebody had it before. */
  #prepare(): void {
    const random = this.#random;
    const vfs = installNodeVfs(this.#sqlite3);
    const db = new this.#sqlite3.oo1.DB({ filename: this.#dbPath, flags: "c", vfs });
    db.exec(`PRAGMA page_size=${this.#pageSize}; PRAGMA auto_vacuum=${random.below(3)}`);
    createSchema(db);
    for (let i = random.below(20); i > 0; i--) this.#step(db);
    db.close();
  }

  #step(db: Database): void {
    const session = { sqlite3: this.#sqlite3, db, random: this.#random, pageSize: this.#pageSize };
    this.trace.push(`${this.#connections.indexOf(db)} ${randomStep(session)}`);
  }

  async #start(): Promise<void> {
    const random = this.#random;
    const { replicator, complaints } = await quietReplicator({
      dbPath: this.#dbPath,
      replica: this.#store,
      sqlite3: this.#sqlite3,
      checkpointPages: random.pick([1, 20, 1000]),
      ...(random.chance(0.3) && { syncIntervalMs: 1, uploadIntervalMs: 1 }),
    });
    this.#replicator = replicator;
    this.#complaints = complaints;
    await replicator.start();
  }

  #sql(): void {
    const random = this.#random;
    const connections = this.#connections;
    if (connections.length === 0 || (connections.length < MOST_CONNECTIONS && random.chance(0.1))) {
      connections.push(this.#replicator.openDatabase());
    } else if (random.chance(0.03)) {
      const [db] = connections.splice(random.below(connections.length), 1);
      db!.close();
    }
    if (connections.length > 0) this.#step(random.pick(connections));
  }

  async #replication(): Promise<void> {
    const random = this.#random;
    const what = random.pick([
      "flush",
      "flush",
      "flush",
      "compare",
      "compare",
      "snapshot",
      "turn",
      "restart",
      "crash",
    ]);
    this.trace.push(what.toUpperCase());
    switch (what) {
      case "flush":
        return this.#replicator.flush();
      case "compare":
        return this.#compare();
      case "snapshot":
        return this.#replicator.snapshot();
      case "turn":
        return setTimeout(random.below(5));
      case "restart":
        await this.#stop();
        return this.#start();
      case "crash":
        return this.#crash();
    }
  }

  async #compare(): Promise<void> {
    await this.#replicator.flush();
    const live = pagesOf(this.#sqlite3, this.#replicator);
    if (!this.#replicator.status().lastSnapshot) await this.#replicator.snapshot();
    await expectReplica(this.#sqlite3, this.#store, join(this.folder, "restored.db"), this.#pageSize, live);
  }

  async #stop(): Promise<void> {
    for (const db of this.#connections.splice(0)) db.close();
    expect(await this.#replicator.stop()).toEqual({ uploaded: true });
    expect(existsSync(`${this.#dbPath}-wal`)).toBe(false);
    expect(this.#complaints).toEqual([]);
    if (this.#replicator.status().lastSnapshot === null) return;
    const plain = filePageHashes(this.#dbPath, this.#pageSize);
    await expectReplica(this.#sqlite3, this.#store, join(this.folder, "restored.db"), this.#pageSize, plain);
  }

  /** What lies on the disk now is what a killed process leaves. Another one starts from it. */
  async #crash(): Promise<void> {
    if (this.#directory === null) return;
    const folder = join(this.folder, "crashed");
    mkdirSync(this.#directory, { recursive: true });
    // With times to the nanosecond, which the fingerprint of the main file tells apart.
    execFileSync("cp", ["-a", join(this.folder, "live"), folder]);
    execFileSync("cp", ["-a", this.#directory, join(folder, "replica")]);
    const store = storeAt(join(folder, "replica"));
    const config = { dbPath: join(folder, "data.db"), replica: store, sqlite3: this.#sqlite3 };
    const committed = pagesOf(this.#sqlite3, this.#replicator);
    const { replicator, complaints } = await quietReplicator(config);
    await replicator.start();
    expect(pagesOf(this.#sqlite3, replicator)).toEqual(committed);
    await replicator.snapshot();
    await replicator.flush();
    expect(await replicator.stop()).toEqual({ uploaded: true });
    expect(complaints).toEqual([]);
    await expectReplica(this.#sqlite3, store, join(folder, "restored.db"), this.#pageSize, committed);
    rmSync(folder, { recursive: true });
  }

  #check(): void {
    const { captured, cached, uploaded, state } = this.#replicator.status();
    expect(captured).toBeGreaterThanOrEqual(cached);
    expect(cached).toBeGreaterThanOrEqual(uploaded);
    expect(state).toMatch(/running|stopped/);
    expect(this.#complaints).toEqual([]);
  }
}

function storeAt(directory: string): DirectoryStore {
  return new DirectoryStore(pathToFileURL(directory));
}

/** What a new connection reads. */
function pagesOf(sqlite3: Sqlite3Static, replicator: SqliteReplicator): string[] {
  const db = replicator.openDatabase();
  try {
    return pageHashes(sqlite3, db);
  } finally {
    db.close();
  }
}

async function expectReplica(
  sqlite3: Sqlite3Static,
  store: ObjectStore,
  path: string,
  pageSize: number,
  live: string[],
): Promise<void> {
  const restored = await restoredPages(sqlite3, store, path, pageSize);
  const different = live.flatMap((hash, index) => (hash === restored[index] ? [] : [index + 1]));
  expect({ pageCount: restored.length, different }).toEqual({ pageCount: live.length, different: [] });
}
