import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "vite";

const root = new URL("../..", import.meta.url).pathname;

/** For Node, to run a child that is over in a second: to optimise what it runs of SQLite would be a third of its work. */
export const SHORT_LIVED = ["--liftoff-only"];

/**
 * Bundles a script of the tests into a folder, for child processes: Node 20 runs no TypeScript. `whole`: into one file, so
 * that what is loaded when it is needed is there at once.
 */
export async function bundle(
  script: string,
  folder: string,
  { whole = false, plugins = [] }: { readonly whole?: boolean; readonly plugins?: Plugin[] } = {},
): Promise<string> {
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  await build({
    root,
    configFile: false,
    logLevel: "error",
    plugins,
    build: {
      ssr: script,
      outDir: folder,
      emptyOutDir: false,
      rolldownOptions: {
        output: { entryFileNames: "child.mjs", ...(whole && { codeSplitting: false }) },
      },
    },
  });
  return join(folder, "child.mjs");
}
