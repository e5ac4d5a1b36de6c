import { type ChildProcess, execFile, spawn } from "node:child_process";
import { appendFileSync, openSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

/** How long one step of a server's start may take. */
export const STEP_TIMEOUT_MS = 60_000;

/** The kernel kills the child at our death, also when we are killed ourselves and no handler of ours runs. */
const DIE_WITH_US = ["--pdeathsig", "KILL", "--"];

/** Starts a server that ends when we do, however we end. */
export function startChild(folder: string, program: string, args: readonly string[]): ChildProcess {
  const log = openSync(join(folder, "log", "output.log"), "a");
  return spawn("setpriv", [...DIE_WITH_US, program, ...args], {
    cwd: folder,
    env: environment(folder),
    stdio: ["ignore", log, log],
  });
}

/** Runs a program to its end. Throws with its output when it fails or takes too long. */
export async function run(folder: string, program: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("setpriv", [...DIE_WITH_US, program, ...args], {
      cwd: folder,
      env: environment(folder),
      timeout: STEP_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    return stdout;
  } catch (error) {
    appendFileSync(join(folder, "log", "output.log"), `${program}: ${error}\n`);
    throw error;
  }
}

/** Ends a child for good, and waits until it is gone. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/** A TCP port of the loopback address that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function environment(folder: string): NodeJS.ProcessEnv {
  return { ...process.env, CEPH_CONF: join(folder, "ceph.conf") };
}
