import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle, SHORT_LIVED } from "./bundle.ts";
import type { Life } from "./crash-child.ts";

/** A folder for a test file's children: their script, bundled once since Node 20 runs no TypeScript, and their data. */
export class CrashSite {
  readonly folder = mkdtempSync(join(tmpdir(), "sluice-crash-"));
  readonly script = join(this.folder, "child.mjs");
  #histories = 0;

  async prepare(): Promise<void> {
    await bundle("test/faults/crash-child.ts", this.folder);
  }

  clear(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  history(seed: number): History {
    const folder = join(this.folder, `${++this.#histories}`);
    mkdirSync(folder);
    return new History(folder, this.script, seed);
  }

  /** Another history that begins where `history` stands. With all times of the files: Sluice knows the database by them. */
  copyOf(history: History): History {
    const folder = join(this.folder, `${++this.#histories}`);
    execFileSync("cp", ["-a", history.folder, folder]);
    return new History(folder, this.script, this.#histories * 1000, history);
  }
}

export interface Ending {
  readonly killed: boolean;
  readonly lines: readonly string[];
}

export interface Run extends Omit<Life, "folder" | "seed" | "lastRow" | "lastTxid"> {
  /** Kill it from outside when it has said this many lines. */
  readonly killAfterLines?: number;
}

/** One database and its replica through many lives of the process that writes to it. */
export class History {
  readonly folder: string;
  readonly path: string;
  readonly #script: string;
  #seed: number;
  #lastRow = 0;
  #lastTxid = 0;
  /** Segments and the claim: key, and what tells one version of the file from another. */
  #objects = new Map<string, string>();

  constructor(folder: string, script: string, seed: number, before?: History) {
    this.folder = folder;
    this.path = join(folder, "live.db");
    this.#script = script;
    this.#seed = seed;
    this.#lastRow = before ? before.#lastRow : 0;
    this.#lastTxid = before ? before.#lastTxid : 0;
  }

  /** A database that was there before Sluice was, in rollback mode. */
  createDatabase(pageSize: number): void {
    execFileSync("sqlite3", [this.path, `PRAGMA page_size=${pageSize}; CREATE TABLE old(a)`]);
  }

  /** Somebody else changes the database, while no life goes on. */
  changeDatabase(): void {
    execFileSync("sqlite3", [this.path, "CREATE TABLE foreigner(a); INSERT INTO foreigner VALUES(1)"]);
  }

  /** The cache is lost, and with it what it knew about the database. */
  loseCache(): void {
    rmSync(`${this.path}-sluice`, { recursive: true });
  }

  /** The machine is lost, or its disk; the cache may have been elsewhere. Only after a life that stopped. */
  loseDatabase(cacheToo: boolean): void {
    rmSync(this.path, { force: true });
    if (cacheToo) this.loseCache();
  }

  async live({ killAfterLines, ...run }: Run): Promise<Ending> {
    const life: Life = {
      ...run,
      folder: this.folder,
      seed: this.#seed++,
      lastRow: this.#lastRow,
      lastTxid: this.#lastTxid,
    };
    const child = spawn(process.execPath, [...SHORT_LIVED, this.#script, JSON.stringify(life)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const { lines, complaint, signal, code } = await listen(child, killAfterLines);
    for (const line of lines) this.#note(line);
    const killed = signal === "SIGKILL";
    if (!killed && (code !== 0 || lines.at(-1) !== "stopped"))
      throw new Error(
        `${JSON.stringify(life)} ended with ${code ?? signal}: ${lines.slice(-5)}\n${complaint}`,
      );
    this.#checkObjects(life);
    return { killed, lines };
  }

  #note(line: string): void {
    const [word, row, txid] = line.split(" ");
    if (word !== "committed") return;
    this.#lastRow = Number(row);
    this.#lastTxid = Number(txid);
  }

  /** What is in the store stays as it is, and what is new lies behind it. */
  #checkObjects(life: Life): void {
    const objects = listObjects(join(this.folder, "replica"));
    const last = [...this.#objects.keys()].sort().at(-1) ?? "";
    for (const [key, version] of this.#objects)
      if (objects.get(key) !== version) throw new Error(`${key} was changed in ${JSON.stringify(life)}`);
    for (const key of objects.keys())
      if (!this.#objects.has(key) && key < last)
        throw new Error(`${key} came after ${last} in ${JSON.stringify(life)}`);
    this.#objects = objects;
  }
}

function listObjects(replica: string): Map<string, string> {
  const objects = new Map<string, string>();
  if (!existsSync(replica)) return objects;
  const segments = join("wal", "0");
  const names = existsSync(join(replica, segments)) ? readdirSync(join(replica, segments)) : [];
  for (const key of ["lineage.json", ...names.map((name) => join(segments, name))]) {
    const stat = statSync(join(replica, key), { throwIfNoEntry: false });
    if (stat !== undefined) objects.set(key, `${stat.ino} ${stat.size} ${stat.mtimeMs}`);
  }
  return objects;
}

interface Heard {
  readonly lines: readonly string[];
  readonly complaint: string;
  readonly code: number | null;
  readonly signal: string | null;
}

/** Everything that a child says until its end, also what stood in the pipe when it was killed. */
function listen(child: ChildProcess, killAfterLines = Number.POSITIVE_INFINITY): Promise<Heard> {
  return new Promise((resolve, reject) => {
    let said = "";
    let complaint = "";
    let newLines = 0;
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      newLines += text.split("\n").length - 1;
      if (newLines >= killAfterLines) child.kill("SIGKILL");
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      complaint += text;
    });
    child.once("error", reject);
    child.once("close", (code, signal) => {
      // Only whole lines: the last one may have been cut.
      const lines = said.split("\n").slice(0, -1);
      resolve({ lines, complaint, code, signal });
    });
  });
}
