import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import { afterAll, beforeAll, onTestFinished } from "vitest";

const root = new URL("../..", import.meta.url).pathname;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command as it is shipped, in a process of its own, without a terminal. It is built once for a test file. */
export function useSluice() {
  let folder: string;
  beforeAll(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), "sluice-cli-")));
    for (const name of ["node_modules", "package.json"]) symlinkSync(join(root, name), join(folder, name));
    await build({ root, logLevel: "error", build: { outDir: join(folder, "dist"), sourcemap: false } });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ran> {
      return run([join(folder, "dist/cli.js"), ...args], environment);
    },
    /** With what a shell has behind it: a redirection, a pipe. */
    shell(args: readonly string[], rest: string): Promise<Ran> {
      const words = [process.execPath, join(folder, "dist/cli.js"), ...args].map((word) => `'${word}'`);
      return run(["-o", "pipefail", "-c", `${words.join(" ")} ${rest}`], {}, "bash");
    },
    /** A command that goes on until it is stopped, by who started it. */
    start(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
      return spawn(process.execPath, [join(folder, "dist/cli.js"), ...args], {
        env: { ...process.env, ...environment },
        stdio: ["ignore", "pipe", "ignore"],
      });
    },
    /** The one JSON document that is all of standard output. */
    async json(args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
      const { code, stdout, stderr } = await this.run([...args, "--json"], environment);
      return { code, stderr, document: JSON.parse(stdout) as unknown };
    },
    /** A folder that is gone after the test. */
    folder(): string {
      const made = mkdtempSync(join(tmpdir(), "sluice-cli-"));
      onTestFinished(() => rmSync(made, { recursive: true, force: true }));
      mkdirSync(join(made, "tmp"));
      return made;
    },
  };
}

function run(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  program = process.execPath,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...environment };
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (data) => {
      stdout += data;
    });
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}
