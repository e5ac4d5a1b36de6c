/** One life of a process that writes to a replicated database, and that the crash tests cut short. */
import { readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import {
  CacheError,
  DirectoryStore,
  SqliteReplicator,
  type SqliteReplicatorConfig,
  StoreError,
} from "../../node/index.ts";
import { armSelfKill, type SelfKill } from "./kill-self.ts";
import { checkLedger, requireThat, spillAndRollBack, transaction } from "./ledger.ts";
import { Random } from "./random.ts";

export interface Life {
  readonly folder: string;
  readonly seed: number;
  /** What lives before were told: the last row, and the last transaction. */
  readonly lastRow: number;
  readonly lastTxid: number;
  readonly transactions: number;
  readonly kill: SelfKill | null;
  readonly config?: Partial<SqliteReplicatorConfig>;
  /** The store cannot be written to while the transactions are made. */
  readonly offline?: boolean;
  /** What then waits for upload is damaged. */
  readonly damaged?: boolean;
}

/** A store whose connection can be cut. */
class CutStore extends DirectoryStore {
  connected = true;

  override async put(...args: Parameters<DirectoryStore["put"]>): Promise<void> {
    if (!this.connected) throw new StoreError("network", "the connection is cut");
    await super.put(...args);
  }
}

const life = JSON.parse(process.argv[2]!) as Life;
const random = new Random(life.seed);
const store = new CutStore(`file://${life.folder}/replica`);

/** Synchronous: what is said has been said when the process dies. */
function say(...words: (string | number)[]): void {
  writeSync(1, `${words.join(" ")}\n`);
}

function create(name: string): Promise<SqliteReplicator> {
  return SqliteReplicator.create({
    dbPath: join(life.folder, name),
    replica: store,
    snapshotIntervalSecs: 0,
    syncIntervalMs: random.pick([1, 5, 1000]),
    uploadIntervalMs: random.pick([0, 5, 1000]),
    checkpointPages: random.pick([1, 30, 1000]),
    stopTimeoutMs: 10_000,
    ...life.config,
  });
}

async function main(): Promise<void> {
  if (life.kill !== null) armSelfKill(life.kill);
  say("creating");
  const replicator = await create("live.db");
  watch(replicator);
  await replicator.start({ onProgress: ({ pages }) => say("restoring", pages) });
  say("started");
  const open = () => {
    const db = replicator.openDatabase();
    db.exec(`PRAGMA synchronous=${random.pick(["FULL", "NORMAL", "OFF"])}`);
    db.exec(`PRAGMA cache_size=${random.pick([5, 20, 500])}`);
    db.exec(`PRAGMA wal_autocheckpoint=${random.pick([0, 10, 100, 1000])}`);
    return db;
  };
  const writers = [open(), open()];
  const reader = open();
  checkLocal(replicator, writers[0]!);
  await replicator.flush();
  // Segments alone restore nothing, and the first snapshot may not have been taken yet.
  if (!(await hasSnapshot())) await replicator.snapshot();
  await checkReplica(writers[0]!);
  say("verified");
  store.connected = life.offline !== true;
  const overflow = new Promise<void>((resolve) => {
    replicator.addEventListener("cache-overflow", () => resolve(), { once: true });
  });
  await work(replicator, writers, reader);
  // The loop may not have had its turn while transactions followed each other.
  if (life.offline && !life.damaged) await overflow;
  if (life.damaged) damageHead();
  store.connected = true;
  // What failed meanwhile may wait longer than a stop does.
  if (life.damaged) replicator.wake();
  say("stopping");
  if (random.chance(0.8)) for (const db of [...writers, reader]) db.close();
  const { uploaded } = await replicator.stop();
  requireThat(uploaded, "stop() left something behind");
  say("stopped");
  process.exit(0);
}

/** A folder for snapshots may be there without one: the first may have been cut short. */
async function hasSnapshot(): Promise<boolean> {
  for await (const _ of store.list("snapshots/")) return true;
  return false;
}

/** Tells of every event; the watermarks are in order at each, and never go back. */
function watch(replicator: SqliteReplicator): void {
  let last = replicator.status();
  const check = () => {
    const now = replicator.status();
    const ordered = now.uploaded <= now.cached && now.cached <= now.captured;
    // What is cached goes back only where a backlog is dropped, for a resync.
    const forward =
      now.uploaded >= last.uploaded &&
      (now.cached >= last.cached || now.state === "resync") &&
      now.captured >= last.captured;
    requireThat(ordered && forward, `watermarks: ${JSON.stringify(last)} and then ${JSON.stringify(now)}`);
    last = now;
  };
  for (const type of ["wal", "upload", "snapshot", "snapshot-progress"] as const)
    replicator.addEventListener(type, () => {
      say(type);
      check();
    });
  replicator.addEventListener("resync", ({ detail }) => {
    say("resync", detail.phase, detail.reason);
    last = replicator.status(); // It counts on from where the replica ends.
  });
  for (const type of ["error", "fenced"] as const)
    replicator.addEventListener(type, ({ detail }) => {
      // Also heard of when the connection is there again.
      if (life.offline && detail instanceof StoreError && detail.kind === "network") return;
      if (life.damaged && detail instanceof CacheError) return;
      throw new Error(`${type} event`, { cause: detail });
    });
}

function damageHead(): void {
  const cache = join(life.folder, "live.db-sluice");
  const head = readdirSync(cache)
    .filter((name) => name.endsWith(".entry"))
    .sort()[0];
  if (head === undefined) return;
  const bytes = readFileSync(join(cache, head));
  bytes[100]! ^= 1;
  writeFileSync(join(cache, head), bytes);
}

function checkLocal(replicator: SqliteReplicator, db: Database): void {
  const { captured, state } = replicator.status();
  // A resync goes on from where the replica ends.
  requireThat(
    state === "resync" || captured >= life.lastTxid,
    `transaction ${captured}, acknowledged were ${life.lastTxid}`,
  );
  checkLedger(db, life.lastRow);
}

/** What the replica restores to is, byte for byte, what the connection reads. */
async function checkReplica(db: Database): Promise<void> {
  const path = join(life.folder, "copy.db");
  for (const suffix of ["", "-wal", "-sluice"]) rmSync(path + suffix, { recursive: true, force: true });
  const copy = await create("copy.db");
  const { restored } = await copy.restore();
  requireThat(restored, "there is a replica");
  await copy.stop();
  const bytes = readFileSync(path);
  const pages = db.selectValues("SELECT data FROM sqlite_dbpage") as Uint8Array[];
  const live = Buffer.concat(pages);
  requireThat(bytes.equals(live), `the replica differs: ${bytes.length} and ${live.length} bytes`);
}

async function work(
  replicator: SqliteReplicator,
  writers: readonly Database[],
  reader: Database,
): Promise<void> {
  let reading = false;
  for (let i = 0; i < life.transactions; i++) {
    const db = random.pick(writers);
    if (random.chance(0.1)) spillAndRollBack(db);
    const row = transaction(db, random);
    say("committed", row, replicator.status().captured);
    if (random.chance(0.2)) {
      reader.exec(reading ? "COMMIT" : "BEGIN; SELECT count(*) FROM t");
      reading = !reading;
    }
    if (random.chance(0.1))
      db.exec(`PRAGMA wal_checkpoint(${random.pick(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])})`);
    if (!reading && random.chance(0.02)) db.exec("VACUUM");
    if (random.chance(0.3)) await new Promise((resolve) => setImmediate(resolve));
    if (random.chance(0.05)) await new Promise((resolve) => setTimeout(resolve, 10));
    if (life.offline) {
      // Many segments, whatever else the machine has to do meanwhile.
      if (random.chance(0.3)) await replicator.flush().catch(() => undefined);
      continue;
    }
    if (random.chance(0.05)) await replicator.flush();
    if (random.chance(0.03)) await replicator.snapshot();
  }
  if (reading) reader.exec("COMMIT");
}

await main();
