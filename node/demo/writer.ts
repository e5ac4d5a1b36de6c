// The writing process of the demo, an entry of its own: it is killed, and started again.
import { SqliteReplicator } from "../index.ts";
import { readInput } from "./input.ts";
import { type Network, networkTo } from "./network.ts";
import { Workload } from "./workload.ts";

/** load: the input goes in. work: transactions. offline: the same without a network. backlog: again with one. */
export type Phase = "load" | "work" | "offline" | "backlog" | "bulk";

/** What the writing process tells its parent. */
export type WriterMessage =
  | { readonly kind: "started"; readonly committed: number }
  | {
      readonly kind: "progress";
      readonly phase: Phase;
      /** From 0 to 1. */
      readonly fraction: number;
      /** The last transaction whose commit returned, and the last that is in the replica. */
      readonly committed: number;
      readonly uploaded: number;
      readonly watermarks: Watermarks;
    }
  | { readonly kind: "outage"; readonly outage: Outage }
  | { readonly kind: "stopped"; readonly committed: number; readonly uploaded: number }
  | { readonly kind: "failed"; readonly reason: string };

export interface Watermarks {
  readonly captured: number;
  readonly cached: number;
  readonly uploaded: number;
  /** What the write cache holds. */
  readonly segments: number;
  readonly bytes: number;
}

/** What came of cutting the network. */
export interface Outage {
  readonly ms: number;
  /** When it was cut, and when it was mended again. */
  readonly before: Watermarks;
  readonly after: Watermarks;
  /** From then on until all that had piled up was uploaded, while writing went on; null: not in time. */
  readonly drainMs: number | null;
}

export interface WriterOptions {
  readonly dbPath: string;
  readonly replica: string;
  /** Milliseconds of mixed work after the load. */
  readonly workMs: number;
  /** Milliseconds of work without a network after that; 0: none. */
  readonly offlineMs: number;
  /** End in the middle of one large transaction, waiting to be killed. */
  readonly bulk: boolean;
}

/** Milliseconds between messages; of work before the event loop has a turn; and for which the application then idles. */
const REPORT_MS = 50;
const TURN_MS = 5;
const IDLE_MS = 5;
/** Milliseconds for the backlog to drain: the next try can be some seconds away, and the machine be busy. */
const DRAIN_LIMIT_MS = 30_000;
/** More than any machine writes before it is killed. */
const BULK_ROWS = 200_000;

/** An application that writes, and is replicated meanwhile. */
async function runWriter(options: WriterOptions): Promise<void> {
  const { dbPath, replica, workMs, offlineMs, bulk } = options;
  const network = await networkTo(replica);
  const replicator = await SqliteReplicator.create({
    dbPath,
    replica: network.store,
    syncIntervalMs: 250,
    uploadIntervalMs: 250,
  });
  await replicator.start();
  const db = replicator.openDatabase();
  const workload = new Workload(db);
  send({ kind: "started", committed: workload.n });
  const reporter = new Reporter(replicator, workload);
  if (workload.n === 0) await load(workload, reporter);
  await work(workload, reporter, "work", workMs);
  if (offlineMs > 0) send({ kind: "outage", outage: await outage(network, workload, reporter, offlineMs) });
  if (bulk) workload.bulk(BULK_ROWS, () => reporter.report("bulk", 1));
  db.close();
  const { uploaded } = await replicator.stop();
  network.close();
  send({ kind: "stopped", committed: workload.n, uploaded: uploaded ? workload.n : 0 });
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

async function work(workload: Workload, reporter: Reporter, phase: Phase, ms: number): Promise<void> {
  const begin = Date.now();
  for (let turn = begin; turn - begin < ms; turn = Date.now()) {
    while (Date.now() - turn < TURN_MS) workload.step();
    await reporter.pause(phase, (turn - begin) / ms);
  }
}

/** Cuts the network, works on, mends it, and works on until what piled up is uploaded. */
async function outage(network: Network, workload: Workload, reporter: Reporter, ms: number): Promise<Outage> {
  const before = reporter.watermarks();
  network.cut();
  const cut = Date.now();
  await work(workload, reporter, "offline", ms);
  const after = reporter.watermarks();
  await network.mend();
  const mended = Date.now();
  const drained = () => reporter.watermarks().uploaded >= after.captured;
  while (!drained() && Date.now() - mended < DRAIN_LIMIT_MS) {
    workload.step();
    const { uploaded } = reporter.watermarks();
    await reporter.pause("backlog", (uploaded - before.uploaded) / (after.captured - before.uploaded));
  }
  reporter.report("backlog", 1);
  return { ms: mended - cut, before, after, drainMs: drained() ? Date.now() - mended : null };
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

  watermarks(): Watermarks {
    const { captured, cached, uploaded, pendingSegments, pendingBytes } = this.#replicator.status();
    return { captured, cached, uploaded, segments: pendingSegments, bytes: pendingBytes };
  }

  report(phase: Phase, fraction: number): void {
    const watermarks = this.watermarks();
    const { n } = this.#workload;
    this.#notes.push({ captured: watermarks.captured, n });
    this.#reported = Date.now();
    send({
      kind: "progress",
      phase,
      fraction,
      committed: n,
      uploaded: this.#notes.findLast(({ captured }) => captured <= watermarks.uploaded)?.n ?? 0,
      watermarks,
    });
  }

  /** Leaves the event loop to the replicator for a while, and reports when it is time. */
  async pause(phase: Phase, fraction: number): Promise<void> {
    if (Date.now() - this.#reported >= REPORT_MS) this.report(phase, fraction);
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
}

function send(message: WriterMessage): void {
  process.send!(message);
}

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
try {
  await runWriter(JSON.parse(process.argv[2]!));
} catch (error) {
  send({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
process.disconnect();
