import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import nodeFs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sqlite3InitModule, { type Database, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { onTestFinished } from "vitest";
import { installNodeVfs, type NodeVfsOptions } from "../../node/vfs.ts";

export const isRoot = process.geteuid?.() === 0;

export function temporaryFolder(): string {
  const folder = nodeFs.mkdtempSync(join(tmpdir(), "sluice-vfs-"));
  onTestFinished(() => nodeFs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Vfs {
  readonly sqlite3: Sqlite3Static;
  readonly vfs: string;
  /** Opens a database, which is closed when the test ends. */
  open(filename: string, flags?: string): Database;
}

export async function freshVfs(options: NodeVfsOptions = {}): Promise<Vfs> {
  const sqlite3 = await sqlite3InitModule();
  const vfs = installNodeVfs(sqlite3, options);
  return {
    sqlite3,
    vfs,
    open(filename, flags = "c") {
      const db = new sqlite3.oo1.DB({ filename, flags, vfs });
      onTestFinished(() => db.close());
      return db;
    },
  };
}

/** A node:fs whose functions a test may replace one by one. */
export function mutableFs(): { -readonly [K in keyof typeof nodeFs]: (typeof nodeFs)[K] } {
  return { ...nodeFs };
}

export function systemError(code: string, errno: number): Error {
  return Object.assign(new Error(`${code}: injected`), { code, errno: -errno });
}

/** What the call throws has this SQLite result code; with no call that throws, undefined. */
export function resultCodeOf(call: () => unknown): number | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as { resultCode?: number }).resultCode;
  }
}

/** The judge: Debian's sqlite3 in a process of its own. */
export function native(path: string, sql: string): string {
  return execFileSync("sqlite3", [path, sql], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
}

/** What native sqlite3 complains about, or "" if it does not. */
export function nativeComplaint(path: string, sql: string): string {
  try {
    native(path, sql);
    return "";
  } catch (error) {
    return String((error as { stderr: string }).stderr);
  }
}

/** A native sqlite3 that stays, to hold locks. */
export class NativeShell {
  readonly #child: ChildProcess;
  #output = "";
  #waiting: (() => void) | undefined;
  #questions = 0;

  constructor(path: string) {
    this.#child = spawn("sqlite3", ["-batch", path], { stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on("data", (chunk) => {
        this.#output += chunk;
        this.#waiting?.();
      });
    onTestFinished(() => void this.#child.kill("SIGKILL"));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Runs the statements and waits until they are done; answers everything that was printed. */
  async run(sql: string): Promise<string> {
    const end = `--done-${++this.#questions}--`;
    this.#output = "";
    this.write(`${sql}\nSELECT '${end}';\n`);
    while (!this.#output.includes(end)) await new Promise<void>((resolve) => (this.#waiting = resolve));
    return this.#output;
  }

  write(text: string): void {
    this.#child.stdin!.write(text);
  }
}

/** Runs a function exported by vfs-child.ts in another Node process; resolves when it has printed a line. */
export async function childProcess(exported: string, ...args: string[]): Promise<ChildProcess> {
  const script = new URL("./vfs-child.ts", import.meta.url).pathname;
  const loader = `import { runnerImport } from "vite";
    const { module } = await runnerImport(${JSON.stringify(script)});
    await module[${JSON.stringify(exported)}](...${JSON.stringify(args)});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", loader], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: new URL("../..", import.meta.url).pathname,
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await new Promise<void>((resolve, reject) => {
    let output = "";
    child.stdout!.on("data", (chunk) => {
      output += chunk;
      if (output.includes("\n")) resolve();
    });
    child.once("exit", () => reject(new Error("the child ended before it was ready")));
  });
  return child;
}

export async function killed(child: ChildProcess): Promise<void> {
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exit;
}
