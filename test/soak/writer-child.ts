/**
 * A process that writes to a replicated database until it is killed, and does what it is told on standard input: `still`
 * (says what the database is, once all is uploaded), `go`, `eio <chance>`,
 * `status`, `stop`.
 */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { type S3StoreConfig, SqliteReplicator } from "../../node/index.ts";
import { SluiceError, type StoreError } from "../../src/errors.ts";
import { checkLedger, spillAndRollBack, transaction } from "../faults/ledger.ts";
import { Random } from "../faults/random.ts";
import { BrokenDisk } from "./broken-disk.ts";

export interface WriterOptions {
  readonly dbPath: string;
  readonly s3: S3StoreConfig;
  readonly seed: number;
  /** The last row that lives before have told of. */
  readonly lastRow: number;
  /** Milliseconds between transactions, on the average. */
  readonly pauseMs: number;
}

const options = JSON.parse(process.argv[2]!) as WriterOptions;
const random = new Random(options.seed);
const disk = new BrokenDisk(random);

/** Synchronous: what is said has been said when the process dies. */
function say(...words: (string | number)[]): void {
  writeSync(1, `${words.join(" ")}\n`);
}

async function start(): Promise<SqliteReplicator> {
  const { bucket, prefix, ...s3 } = options.s3;
  const replicator = await SqliteReplicator.create({
    dbPath: options.dbPath,
    s3Bucket: bucket,
    s3Prefix: prefix!,
    s3,
    syncIntervalMs: random.pick([5, 200, 1000]),
    uploadIntervalMs: random.pick([0, 300]),
    checkpointPages: random.pick([30, 1000]),
    snapshotIntervalSecs: 20,
    stopTimeoutMs: 120_000,
  });
  replicator.addEventListener("error", ({ detail }) => {
    const { code = "?", kind = "" } = detail as Partial<StoreError>;
    say("error", code, kind);
  });
  replicator.addEventListener("audit", ({ detail }) => say("audit", detail.outcome));
  replicator.addEventListener("fenced", ({ detail }) => say("fenced", detail.message));
  replicator.addEventListener("resync", ({ detail }) => say("resync", detail.reason));
  await replicator.start();
  return replicator;
}

async function main(): Promise<void> {
  const replicator = await start().catch((error) => {
    // Only what Sluice says itself is an answer to what the disk or the store did.
    if (!(error instanceof SluiceError)) throw error;
    say("refused", error.code, error.message);
    process.exit(0);
  });
  const db = replicator.openDatabase();
  db.exec(`PRAGMA synchronous=${random.pick(["FULL", "NORMAL"])}`);
  checkLedger(db, options.lastRow);
  say("started");
  let writing = true;
  let stopping = false;
  /** `go` and the next `still` may come in one piece. */
  let asked = 0;
  const commands = createInterface({ input: process.stdin });
  commands.on("line", (line) => {
    const [word, value] = line.split(" ");
    if (word === "still") {
      writing = false;
      asked += 1;
    }
    if (word === "go") writing = true;
    if (word === "eio") disk.chance = Number(value);
    if (word === "stop") stopping = true;
    if (word === "status") say("status", JSON.stringify(replicator.status()));
  });
  while (!stopping) {
    const before = asked;
    if (writing) write(db, replicator);
    else await beStill(db, replicator, () => writing || stopping || asked > before);
    await sleep(random.next() * 2 * options.pauseMs);
  }
  commands.close();
  db.close();
  const { uploaded } = await replicator.stop();
  say("stopped", String(uploaded), disk.failed);
  process.exit(0);
}

function write(db: Database, replicator: SqliteReplicator): void {
  try {
    if (random.chance(0.05)) spillAndRollBack(db);
    const row = transaction(db, random);
    say("committed", row, replicator.status().captured);
  } catch (error) {
    say("failed", String(error).split("\n")[0]!);
    try {
      db.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back by itself.
    }
  }
}

async function beStill(db: Database, replicator: SqliteReplicator, over: () => boolean): Promise<void> {
  // Segments alone restore nothing, and the first snapshot may have been cut short.
  while (replicator.status().lastSnapshot === null) await replicator.snapshot().catch(() => sleep(200));
  await replicator.waitUntilUploaded();
  const hash = createHash("sha256");
  for (const page of db.selectValues("SELECT data FROM sqlite_dbpage")) hash.update(page as Uint8Array);
  const row = Number(db.selectValue("SELECT max(n) FROM t"));
  say("still", hash.digest("hex"), row, replicator.status().uploaded);
  while (!over()) await sleep(20);
}

await main();
