import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** What became of one seed. */
export interface SeedResult {
  readonly seed: number;
  readonly hash: string;
  readonly operations: number;
  readonly failure?: string;
}

/** Simulates `count` seeds from `from` in a process of its own, every `step`th. Calls back for each; `false` ends it. */
export async function simulateSeeds(
  script: string,
  { from, count, step = 1 }: { readonly from: number; readonly count: number; readonly step?: number },
  each: (result: SeedResult) => boolean,
): Promise<void> {
  const child = spawn(process.execPath, [script, `${from}`, `${count}`, `${step}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "close");
  let stopped = false;
  for await (const line of createInterface(child.stdout)) {
    if (each(JSON.parse(line) as SeedResult)) continue;
    stopped = true;
    child.kill();
    break;
  }
  const [code] = await ended;
  if (code !== 0 && !stopped) throw new Error(`the simulation from seed ${from} ended with ${code}`);
}
