import { SqliteReplicator } from "../index.ts";
import { readInput } from "./input.ts";
import { Workload } from "./workload.ts";

/** What the writing process tells its parent. */
export type WriterMessage =
  | { readonly kind: "started"; readonly committed: number }
  | {
      readonly kind: "progress";
      readonly phase: "load" | "work" | "bulk";
      /** From 0 to 1. */
      readonly fraction: number;
      /** The last transaction whose commit returned, and the last that is in the replica. */
      readonly committed: number;
      readonly uploaded: number;
      readonly watermarks: { readonly captured: number; readonly cached: number; readonly uploaded: number };
    }
  | { readonly kind: "stopped"; readonly committed: number; readonly uploaded: number };

export interface WriterOptions {
  readonly dbPath: string;
  readonly replica: string;
  /** Milliseconds of mixed work after the load. */
  readonly workMs: number;
  /** End in the middle of one large transaction, waiting to be killed. */
  readonly bulk: boolean;
}

/** Milliseconds between messages; of work before the event loop has a turn; and for which the application then idles. */
const REPORT_MS = 50;
const TURN_MS = 5;
const IDLE_MS = 5;
/** More than any machine writes before it is killed. */
const BULK_ROWS = 200_000;

/** The child process of the demo: an application that writes, and is replicated meanwhile. */
export async function runWriter({ dbPath, replica, workMs, bulk }: WriterOptions): Promise<void> {
  const replicator = await SqliteReplicator.create({
    dbPath,
    replica,
    syncIntervalMs: 250,
    uploadIntervalMs: 250,
  });
  await replicator.start();
  const db = replicator.openDatabase();
  const workload = new Workload(db);
  send({ kind: "started", committed: workload.n });
  const reporter = new Reporter(replicator, workload);
  if (workload.n === 0) await load(workload, reporter);
  await work(workload, reporter, workMs);
  if (bulk) workload.bulk(BULK_ROWS, () => reporter.report("bulk", 1));
  db.close();
  const { uploaded } = await replicator.stop();
  send({ kind: "stopped", committed: workload.n, uploaded: uploaded ? workload.n : 0 });
  process.disconnect();
}

async function load(workload: Workload, reporter: Reporter): Promise<void> {
  const files = readInput();
  let turn = Date.now();
  for (const [i, file] of files.entries()) {
    workload.addFile(file);
    if (Date.now() - turn < TURN_MS) continue;
    await reporter.pause("load", i / files.length);
    turn = Date.now();
  }
}

async function work(workload: Workload, reporter: Reporter, ms: number): Promise<void> {
  const begin = Date.now();
  for (let turn = begin; turn - begin < ms; turn = Date.now()) {
    while (Date.now() - turn < TURN_MS) workload.step();
    await reporter.pause("work", (turn - begin) / ms);
  }
}

/** Tells the parent how far things are, and which of the workload's numbers the watermarks stand for. */
class Reporter {
  readonly #replicator: SqliteReplicator;
  readonly #workload: Workload;
  readonly #notes: { captured: number; n: number }[] = [];
  #reported = 0;

  constructor(replicator: SqliteReplicator, workload: Workload) {
    this.#replicator = replicator;
    this.#workload = workload;
  }

  report(phase: "load" | "work" | "bulk", fraction: number): void {
    const { captured, cached, uploaded } = this.#replicator.status();
    const { n } = this.#workload;
    this.#notes.push({ captured, n });
    this.#reported = Date.now();
    send({
      kind: "progress",
      phase,
      fraction,
      committed: n,
      uploaded: this.#notes.findLast((note) => note.captured <= uploaded)?.n ?? 0,
      watermarks: { captured, cached, uploaded },
    });
  }

  /** Leaves the event loop to the replicator for a while, and reports when it is time. */
  async pause(phase: "load" | "work", fraction: number): Promise<void> {
    if (Date.now() - this.#reported >= REPORT_MS) this.report(phase, fraction);
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
}

function send(message: WriterMessage): void {
  process.send!(message);
}
