import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { ProgressLine } from "../progress.ts";
import type { WriterMessage, WriterOptions } from "./writer.ts";

/** Milliseconds into the large transaction at which the kill comes. */
const KILL_AFTER_MS = 150;

/** What a parent knows of its writer. All numbers are the workload's own transactions. */
export interface WriterOutcome {
  /** What the writer found when it started. */
  readonly found: number;
  /** The last commit that returned, and the last known to be in the replica, as told before the end. */
  readonly committed: number;
  readonly uploaded: number;
  /** The writer stopped by itself, with all of it in the replica. */
  readonly stopped: boolean;
}

/** Runs a writer in a process of its own; with `bulk` it is killed by SIGKILL in the middle of the large transaction. */
export function runWriterProcess(options: WriterOptions): Promise<WriterOutcome> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), ["writer", JSON.stringify(options)]);
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    const lines = new WatermarkLines(child);
    let outcome: WriterOutcome = { found: 0, committed: 0, uploaded: 0, stopped: false };
    child.on("message", (message: WriterMessage) => {
      lines.show(message);
      if (message.kind === "started") outcome = { ...outcome, found: message.committed };
      else if (message.kind === "progress") outcome = { ...outcome, ...numbersOf(message) };
      else outcome = { ...outcome, ...numbersOf(message), stopped: message.uploaded === message.committed };
    });
    child.on("error", reject);
    // The channel's end comes after its last message.
    child.on("exit", (code, signal) => {
      process.off("exit", end);
      lines.end();
      const asWanted = options.bulk ? signal === "SIGKILL" : code === 0 && outcome.stopped;
      const settle = () =>
        asWanted ? resolve(outcome) : reject(new Error(`the writer ended with ${code ?? signal}`));
      if (child.connected) child.once("disconnect", settle);
      else settle();
    });
  });
}

function numbersOf({ committed, uploaded }: { committed: number; uploaded: number }) {
  return { committed, uploaded };
}

/** The three watermarks, live. */
class WatermarkLines {
  readonly #child: ChildProcess;
  #phase: string | null = null;
  #line: ProgressLine | null = null;
  #text = "";

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  show(message: WriterMessage): void {
    if (message.kind !== "progress") return;
    const { phase, fraction, watermarks } = message;
    if (phase !== this.#phase) this.#begin(phase);
    const { captured, cached, uploaded } = watermarks;
    if (phase === "bulk") return;
    this.#text = `captured ${captured}  cached ${cached}  uploaded ${uploaded}`;
    this.#line?.update(fraction, this.#text);
  }

  end(): void {
    this.#line?.done(this.#text);
    this.#line = null;
  }

  #begin(phase: "load" | "work" | "bulk"): void {
    this.end();
    this.#phase = phase;
    const labels = { load: "Load", work: "Work", bulk: "Kill" };
    this.#line = new ProgressLine(labels[phase]);
    if (phase !== "bulk") return;
    this.#text = "SIGKILL in the middle of a large transaction";
    setTimeout(() => this.#child.kill("SIGKILL"), KILL_AFTER_MS);
  }
}
