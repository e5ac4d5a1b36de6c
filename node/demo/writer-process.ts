import { type ChildProcess, fork } from "node:child_process";
import { SluiceError } from "../../src/errors.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import type { Outage, Phase, WriterMessage, WriterOptions } from "./writer.ts";

/** Milliseconds into the large transaction at which the kill comes. */
const KILL_AFTER_MS = 150;

/** The writing process ended otherwise than it should. Its own message says why. */
class DemoError extends SluiceError {
  readonly code = "SLUICE_DEMO";
  override get name() {
    return "DemoError";
  }
  constructor(reason: string) {
    super(`the demo's writing process failed: ${reason}`);
  }
}

/** What a parent knows of its writer. All numbers are the workload's own transactions. */
export interface WriterOutcome {
  /** What the writer found when it started. */
  readonly found: number;
  /** The last commit that returned, and the last known to be in the replica, as told before the end. */
  readonly committed: number;
  readonly uploaded: number;
  readonly outage: Outage | null;
  /** The writer stopped by itself, with all of it in the replica. */
  readonly stopped: boolean;
}

/** Runs a writer in a process of its own; with `bulk` it is killed by SIGKILL in the middle of the large transaction. */
export function runWriterProcess(script: string, options: WriterOptions): Promise<WriterOutcome> {
  return new Promise((resolve, reject) => {
    // Its standard output is not ours: that is for the result.
    const child = fork(script, [JSON.stringify(options)], { stdio: ["ignore", 2, 2, "ipc"] });
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    const lines = new WatermarkLines(child);
    let outcome: WriterOutcome = { found: 0, committed: 0, uploaded: 0, outage: null, stopped: false };
    let failure: string | null = null;
    child.on("message", (message: WriterMessage) => {
      lines.show(message);
      if (message.kind === "started") outcome = { ...outcome, found: message.committed };
      else if (message.kind === "outage") outcome = { ...outcome, outage: message.outage };
      else if (message.kind === "failed") failure = message.reason;
      else {
        const { kind, committed, uploaded } = message;
        outcome = { ...outcome, committed, uploaded, stopped: kind === "stopped" && uploaded === committed };
      }
    });
    child.on("error", reject);
    // The channel's end comes after its last message.
    child.on("exit", (code, signal) => {
      process.off("exit", end);
      const settle = () => {
        lines.end();
        const asWanted = options.bulk ? signal === "SIGKILL" : code === 0 && outcome.stopped;
        if (asWanted) resolve(outcome);
        else reject(new DemoError(failure ?? `it ended with ${code ?? signal}`));
      };
      if (child.connected) child.once("disconnect", settle);
      else settle();
    });
  });
}

const labels: Readonly<Record<Phase, string>> = {
  load: "Load",
  work: "Work",
  offline: "Offline",
  backlog: "Backlog",
  bulk: "Kill",
};

/** The three watermarks, live. */
class WatermarkLines {
  readonly #child: ChildProcess;
  #phase: Phase | null = null;
  #line: ProgressLine | null = null;
  #text = "";

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  show(message: WriterMessage): void {
    if (message.kind !== "progress") return;
    const { phase, fraction, watermarks } = message;
    if (phase !== this.#phase) this.#begin(phase);
    if (phase === "bulk") return;
    const { captured, cached, uploaded, segments, bytes } = watermarks;
    const backlog = segments > 1 ? `  waiting ${segments} segments, ${byteSize(bytes)}` : "";
    this.#text = `captured ${captured}  cached ${cached}  uploaded ${uploaded}${backlog}`;
    this.#line?.update(fraction, this.#text);
  }

  end(): void {
    this.#line?.done(this.#text);
    this.#line = null;
  }

  #begin(phase: Phase): void {
    this.end();
    this.#phase = phase;
    this.#line = new ProgressLine(labels[phase]);
    if (phase !== "bulk") return;
    this.#text = "SIGKILL in the middle of a large transaction";
    setTimeout(() => this.#child.kill("SIGKILL"), KILL_AFTER_MS);
  }
}
