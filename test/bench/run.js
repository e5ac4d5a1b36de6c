// Bundles the benchmarks with Vite (Node 20 does not run TypeScript) and runs them: `npm run bench -- --help`.
import { spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));
// Beside the dependencies, so that what stays external is found.
const bundle = join(root, "node_modules/.cache", `sluice-bench-${process.pid}`);
mkdirSync(bundle, { recursive: true });
try {
  await build({
    root,
    configFile: false,
    logLevel: "warn",
    build: {
      ssr: true,
      target: "es2022",
      minify: false,
      sourcemap: true,
      outDir: bundle,
      rolldownOptions: {
        input: {
          main: join(root, "test/bench/main.ts"),
          child: join(root, "test/bench/child.ts"),
          costs: join(root, "test/costs/main.ts"),
        },
        external: [/^node:/, /^@?[a-z]/],
        output: { entryFileNames: "[name].js" },
      },
    },
  });
  const main = spawn(
    process.execPath,
    [join(bundle, process.argv[2] === "costs" ? "costs.js" : "main.js"), ...process.argv.slice(2)],
    {
      stdio: "inherit",
    },
  );
  process.exitCode = await new Promise((resolve) => main.on("close", resolve));
} finally {
  rmSync(bundle, { recursive: true, force: true });
}
