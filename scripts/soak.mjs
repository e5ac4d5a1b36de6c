// `npm run soak [-- --minutes n] [-- --seed n]`: a writer over a real S3 server, and everything that can fail, for ten minutes:
// SIGKILL, SIGSTOP, a network that cuts, delays, throttles, resets and corrupts, the server stopped, a full and a read-only
// disk, EIO. Every half minute the replica is restored and compared byte for byte. Full and read-only disks need the
// right to mount a tmpfs.
//
// `--browser n` kills a browser n times as well. `--kills n` and `--rounds n` go on with what the tests do, for longer: kills at
// every call that changes a file, and rounds of random SQL. `--large` takes databases over 1 GiB, and 8 GB of disk.
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    browser: { type: "string" },
    kills: { type: "string" },
    rounds: { type: "string" },
    large: { type: "boolean", default: false },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
console.log(`Seed ${values.seed}: give --seed ${values.seed} to begin the same way again.`);
const parts = [
  ["test/s3/soak", { SLUICE_SOAK_MINUTES: values.minutes }],
  ...(values.browser ? [["test/stories/kill", { SLUICE_BROWSER_KILLS: values.browser }]] : []),
  ...(values.kills ? [["test/faults/crash", { SLUICE_KILLS: values.kills }]] : []),
  ...(values.rounds ? [["test/replicator/model", { SLUICE_ROUNDS: values.rounds }]] : []),
  ...(values.large ? [["test/soak", { SLUICE_SOAK: "1" }]] : []),
];
const vitest = spawn(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", ...parts.map(([file]) => file)],
  {
    stdio: "inherit",
    env: { ...process.env, SLUICE_SEED: values.seed, ...Object.assign({}, ...parts.map(([, env]) => env)) },
  },
);
vitest.on("close", (code) => {
  process.exitCode = code ?? 1;
});
