import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Measurements } from "./child.ts";
import { Watch } from "./watch.ts";

/** Runs one measurement in a process of its own. */
export async function measure<K extends keyof Measurements>(
  name: K,
  ...args: Parameters<Measurements[K]>
): Promise<Awaited<ReturnType<Measurements[K]>>> {
  const child = fileURLToPath(new URL("child.js", import.meta.url));
  const { output } = await run(process.execPath, [
    ...process.execArgv,
    "--expose-gc",
    child,
    name,
    JSON.stringify(args.filter((arg) => arg !== undefined)),
  ]);
  return JSON.parse(output.trim().split("\n").at(-1)!);
}

export interface Ended {
  readonly ms: number;
  readonly cpuMs: number;
  readonly peakRss: number;
  readonly output: string;
}

/** Runs a program to its end; throws where it fails. */
export async function run(program: string, args: readonly string[]): Promise<Ended> {
  const began = performance.now();
  const process = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const watch = process.pid === undefined ? null : new Watch(process.pid);
  let output = "";
  process.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    process.on("error", reject);
    process.on("close", resolve);
  });
  const ms = performance.now() - began;
  const used = watch?.end() ?? { cpuMs: 0, peakRss: 0 };
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}`);
  return { ms, ...used, output };
}
