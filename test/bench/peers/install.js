// What the benchmarks compare with, in a folder of its own: nobody who only installs or tests the project pays for it.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
if (!existsSync(`${folder}/node_modules/.package-lock.json`)) {
  console.log("Installing Litestream and better-sqlite3 (compiled where no binary fits: a minute or two)");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: folder,
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
}
