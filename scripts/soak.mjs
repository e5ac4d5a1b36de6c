// `npm run soak [-- --kills n] [-- --rounds n]`: what the tests do, for longer: thousands of kills, thousands of rounds of
// random SQL, and databases over 1 GiB. Needs 8 GB of disk and, with the defaults, about an hour.
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "3000" },
    rounds: { type: "string", default: "3000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
console.log(`Seed ${values.seed}: give --seed ${values.seed} to see the same again.`);
const vitest = spawn(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--project",
    "node",
    "test/soak",
    "test/faults/crash",
    "test/replicator/model",
  ],
  {
    stdio: "inherit",
    env: {
      ...process.env,
      SLUICE_SOAK: "1",
      SLUICE_KILLS: values.kills,
      SLUICE_ROUNDS: values.rounds,
      SLUICE_SEED: values.seed,
    },
  },
);
vitest.on("close", (code) => {
  process.exitCode = code ?? 1;
});
