import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { WriterOptions } from "./writer-child.ts";

/** A writing process, seen from outside. */
export class Writer {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #waiting: { word: string; resolve: (words: string[]) => void; reject: (error: Error) => void }[] =
    [];
  #complaint = "";
  /** What it said, by the first word. */
  readonly said = new Map<string, number>();
  /** The last row that it said was committed. */
  lastRow: number;
  readonly lastWords: string[] = [];
  readonly resyncs: string[] = [];
  /** What its snapshots found when they were compared with the replica. */
  readonly audits: string[] = [];

  constructor(script: string, options: WriterOptions) {
    this.lastRow = options.lastRow;
    this.#child = spawn(process.execPath, [script, JSON.stringify(options)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#ended = once(this.#child, "close");
    let rest = "";
    this.#child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#hear(line);
    });
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#complaint += text;
    });
    this.#child.stdin!.on("error", () => undefined);
    void this.#ended.then(() => {
      for (const { word, reject } of this.#waiting.splice(0))
        reject(new Error(`ended before it said "${word}": ${this.lastWords.join("; ")}\n${this.#complaint}`));
    });
  }

  #hear(line: string): void {
    const words = line.split(" ");
    const [word = ""] = words;
    this.said.set(word, (this.said.get(word) ?? 0) + 1);
    if (word === "committed") this.lastRow = Number(words[1]);
    else this.lastWords.push(line);
    if (word === "audit") this.audits.push(words[1]!);
    if (word === "resync") this.resyncs.push(words.slice(1).join(" "));
    if (this.lastWords.length > 10) this.lastWords.shift();
    const heard = this.#waiting.filter((each) => each.word === word);
    for (const each of heard) {
      this.#waiting.splice(this.#waiting.indexOf(each), 1);
      each.resolve(words);
    }
  }

  /** Resolves with the next line that begins so. */
  says(word: string): Promise<string[]> {
    return new Promise((resolve, reject) => this.#waiting.push({ word, resolve, reject }));
  }

  tell(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  pause(): void {
    this.#child.kill("SIGSTOP");
  }

  resume(): void {
    this.#child.kill("SIGCONT");
  }

  async ended(): Promise<void> {
    await this.#ended;
  }
}
