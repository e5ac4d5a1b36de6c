import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { DirectoryStore } from "../../node/directory-store.ts";
import { bundle } from "../faults/bundle.ts";
import { TestClock } from "./chain.ts";
import type { Tended } from "./tended.ts";

/** Instances that are processes, which work on a directory and die by SIGKILL. Ages are those of the files. */
export async function tendedByProcesses(base: string): Promise<Tended> {
  const program = join(base, "program");
  mkdirSync(program);
  const script = await bundle("test/compaction/tend-child.ts", program);
  const folder = join(base, "replica");
  const url = pathToFileURL(folder).href;
  const clock = new TestClock();
  return {
    clock,
    store: new DirectoryStore(url),
    async age(ms) {
      clock.time += ms;
      for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        const time = new Date(statSync(path).mtimeMs - ms);
        utimesSync(path, time, time);
      }
    },
    async tend(work) {
      const child = spawn(process.execPath, [script, JSON.stringify({ url, work })], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      let complaint = "";
      child.stderr.on("data", (chunk) => {
        complaint += chunk;
      });
      const [code, signal] = (await once(child, "close")) as [number | null, string | null];
      if (signal === "SIGKILL") return true;
      if (code !== 0) throw new Error(`${JSON.stringify(work)} ended with ${code ?? signal}: ${complaint}`);
      return false;
    },
  };
}
