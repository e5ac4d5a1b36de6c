import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { build } from "vite";

const root = new URL("../..", import.meta.url).pathname;

/** Bundles a script of the tests into a folder, for child processes: Node 20 runs no TypeScript. */
export async function bundle(script: string, folder: string): Promise<string> {
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  await build({
    root,
    configFile: false,
    logLevel: "error",
    build: {
      ssr: script,
      outDir: folder,
      emptyOutDir: false,
      rolldownOptions: { output: { entryFileNames: "child.mjs" } },
    },
  });
  return join(folder, "child.mjs");
}
